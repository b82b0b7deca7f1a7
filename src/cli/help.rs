//! What `-h` and `--help` print: both come from the table of options.

use super::options::{Group, Kind, OPTIONS, Opt};
use crate::sys::{process, tty};

/// The width where there is no terminal.
const USUAL_WIDTH: usize = 80;
/// Wider lines are hard to read.
const MOST_WIDTH: usize = 120;
/// In a narrower terminal the lines are left to the terminal to break.
const LEAST_WIDTH: usize = 40;
const STDOUT: i32 = 1;

/// What the program is, in one sentence.
pub const ABOUT: &str = "Runs one app as PID 1 (or as a child subreaper) and stops it gracefully.";

/// What applies to several options.
pub const NOTES: [&str; 5] = [
    "Durations: 250ms, 10s, 1m 30s; a bare number is seconds. Signals: TERM, SIGTERM, 15, RTMIN+3.",
    "Every setting has a variable (in brackets) and a key in the file of --config. A flag counts more than its \
     variable, then come the file, the profile and the default. In the variable of an option that can be repeated, \
     each line is one value.",
    "Hooks without a program: sleep:5s, http:POST http://127.0.0.1:9000/drain, signal:TSTP, touch:PATH, rm:PATH, \
     write:PATH TEXT.",
    "Exit status: the app's; 128+n if signal n killed it; 124 not ready in time, or watchdog missed; 125 an error of \
     graceinit; 126 not executable; 127 not found.",
    "Pages in docs/ of the sources and of the packages: quickstart.md, options.md, shutdown.md, drain.md, kubernetes.md, \
     debugging.md; README.md lists all.",
];

/// The columns of the terminal: COLUMNS counts more, as in ps(1) and git.
pub(super) fn width() -> usize {
    let variable = process::variable("COLUMNS").and_then(|text| std::str::from_utf8(text).ok());
    let columns = variable.and_then(|text| text.trim().parse().ok()).filter(|columns| *columns > 0);
    let columns = columns.or_else(|| tty::columns(STDOUT)).unwrap_or(USUAL_WIDTH);
    columns.clamp(LEAST_WIDTH, MOST_WIDTH)
}

/// The text of `--help`: every option, with its variable.
pub(super) fn long(name: &str, width: usize) -> String {
    let mut text = begin(name);
    for group in Group::ALL {
        text.push_str(&format!("\n{}:\n", group.heading()));
        for opt in OPTIONS.iter().filter(|opt| opt.group == group) {
            text.push_str(&format!("  {}\n", spelling(opt)));
            let variable = opt.variable.map(|name| format!(" [{name}]")).unwrap_or_default();
            wrap(&mut text, &format!("{}{variable}", opt.help), 10, width);
        }
    }
    text.push_str("  -h, --help\n");
    wrap(&mut text, "Print help: -h the options used most, --help all", 10, width);
    text.push_str("  -V, --version\n");
    wrap(&mut text, "Print the version", 10, width);
    for note in NOTES {
        text.push('\n');
        wrap(&mut text, note, 0, width);
    }
    text
}

/// The text of `-h`: the options used most, one line each.
pub(super) fn short(name: &str) -> String {
    let mut text = begin(name);
    text.push('\n');
    for opt in OPTIONS {
        if let Some(summary) = opt.summary {
            // A list of words is too long for the column.
            let spelling = spelling(opt);
            let shown = match spelling.split_once('|') {
                Some((first, _)) if spelling.len() > 32 => format!("{first}|..."),
                _ => spelling,
            };
            text.push_str(&format!("  {shown:32} {summary}\n"));
        }
    }
    text.push_str(&format!("  {:32} print the version\n", "-V, --version"));
    text.push_str(&format!("  {:32} print all {} options\n", "    --help", OPTIONS.len() + 2));
    text
}

fn begin(name: &str) -> String {
    format!("{ABOUT}\n\nUsage: {name} [OPTIONS] [--] COMMAND [ARG]...\n")
}

/// `-t, --grace DUR`; a long name without a letter is indented as if it had one.
fn spelling(opt: &Opt) -> String {
    let letter = opt.short.map_or("    ".to_owned(), |letter| format!("-{letter}"));
    let comma = if opt.short.is_some() && opt.long { ", " } else { "" };
    let long = if opt.long { format!("--{}", opt.name) } else { String::new() };
    let value = match opt.kind {
        Kind::Flag => String::new(),
        Kind::Count => "...".to_owned(),
        Kind::Optional(value) => format!("[={}]", value.name),
        Kind::One(value) | Kind::List(value) | Kind::Many(value) => format!(" {}", value.name),
    };
    format!("{letter}{comma}{long}{value}")
}

impl Group {
    /// In the order of `--help`.
    pub const ALL: [Group; 8] = [
        Group::Stop,
        Group::Hooks,
        Group::Ready,
        Group::Drain,
        Group::Watch,
        Group::Process,
        Group::Tools,
        Group::Rehearsal,
    ];

    /// The heading in `--help`.
    pub fn heading(self) -> &'static str {
        match self {
            Group::Stop => "Stop",
            Group::Hooks => "Hooks (external commands, split into words as a shell would)",
            Group::Ready => "Ready",
            Group::Drain => "Drain",
            Group::Watch => "Watch",
            Group::Process => "Process",
            Group::Tools => "Tools",
            Group::Rehearsal => "Rehearsal (a stop under load, before production)",
        }
    }
}

/// Appends a paragraph, indented, with lines that are at most `width` wide unless a single word is wider.
fn wrap(text: &mut String, paragraph: &str, indent: usize, width: usize) {
    let mut column = 0;
    for word in paragraph.split(' ') {
        let letters = word.chars().count();
        if column > 0 && column + 1 + letters > width {
            text.push('\n');
            column = 0;
        }
        if column == 0 {
            text.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        } else {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += letters;
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_long_help_fit_the_width_and_lose_no_word() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let whole = words(&long("graceinit", 1000));
        for width in [LEAST_WIDTH, USUAL_WIDTH, MOST_WIDTH] {
            let text = long("graceinit", width);
            assert_eq!(words(&text), whole, "{width}");
            // A heading and the spelling of an option are one line each; a word may be wider than the line.
            let wide = text.lines().filter(|line| line.starts_with("          "));
            let wide = wide.filter(|line| line.len() > width && line.trim().contains(' '));
            assert_eq!(wide.collect::<Vec<_>>(), [""; 0], "{width}");
        }
    }

    #[test]
    fn the_short_help_has_one_line_of_80_columns_for_each_option() {
        let text = short("graceinit");
        let common = OPTIONS.iter().filter(|opt| opt.summary.is_some()).count();
        assert!((15..=25).contains(&common), "{common} options");
        assert_eq!(text.lines().filter(|line| line.starts_with("  ")).count(), common + 2);
        for line in text.lines() {
            assert!(line.len() <= USUAL_WIDTH, "{line}");
        }
        assert!(text.contains("--help"), "{text}");
    }
}
