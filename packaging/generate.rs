//! Prints the man page or a shell's completions, made from the table of options.
//!
//! `cargo run --example generate -- man|bash|zsh|fish`

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it prints")]

use std::fmt::Write as _;
use std::process::ExitCode;

use graceinit::cli::{self, Group, Kind, OPTIONS, Opt};

fn main() -> ExitCode {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let text = match &*wanted {
        "man" => man(),
        "bash" => bash(),
        "zsh" => zsh(),
        "fish" => fish(),
        _ => {
            eprintln!("usage: generate man|bash|zsh|fish");
            return ExitCode::from(2);
        }
    };
    print!("{text}");
    ExitCode::SUCCESS
}

// ---- the man page -----------------------------------------------------------------------------

/// Text for troff: `\` and `-` are characters here, and no line begins a request.
fn troff(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-");
    let starts = escaped.starts_with(['.', '\'']);
    format!("{}{escaped}", if starts { "\\&" } else { "" })
}

fn man() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(out, ".TH GRACEINIT 1 \"\" \"graceinit {version}\" \"User Commands\"");
    out.push_str(".SH NAME\ngraceinit \\- container init that stops any server gracefully\n");
    out.push_str(
        ".SH SYNOPSIS\n.B graceinit\n[\\fIOPTIONS\\fR] [\\-\\-] \\fICOMMAND\\fR [\\fIARG\\fR]...\n",
    );
    out.push_str(".SH DESCRIPTION\n");
    let _ = writeln!(out, "{}", troff(cli::ABOUT));
    for note in cli::NOTES {
        let _ = writeln!(out, ".PP\n{}", troff(note));
    }
    for group in Group::ALL {
        let heading = group.heading().to_uppercase();
        let _ = writeln!(
            out,
            ".SH \"{} OPTIONS\"",
            troff(heading.split(" (").next().unwrap_or(&heading))
        );
        for opt in OPTIONS.iter().filter(|opt| opt.group == group) {
            let _ = writeln!(out, ".TP\n{}\n{}", troff_spelling(opt), troff(opt.help));
            if let Some(variable) = opt.variable {
                let _ = writeln!(out, ".br\nVariable: \\fB{}\\fR", troff(variable));
            }
        }
    }
    out.push_str(".SH \"OTHER OPTIONS\"\n");
    out.push_str(".TP\n\\fB\\-h\\fR, \\fB\\-\\-help\\fR\nPrint help: \\-h the options used most, \\-\\-help all\n");
    out.push_str(".TP\n\\fB\\-V\\fR, \\fB\\-\\-version\\fR\nPrint the version\n");
    out.push_str(".SH EXAMPLES\n.TP\nLet a web server on port 8080 finish its requests before it is stopped:\n");
    out.push_str("graceinit \\-\\-drain 8080 \\-\\- ./app\n");
    out.push_str(".TP\nDraw the stop that these settings lead to, without starting anything:\n");
    out.push_str("graceinit \\-\\-check \\-\\-drain 8080 \\-\\-grace 30s \\-\\- ./app\n");
    out.push_str(".SH \"SEE ALSO\"\n.BR signal (7),\n.BR pid_namespaces (7),\n.BR tini (1)\n");
    out
}

/// `\fB-t\fR, \fB--grace\fR \fIDUR\fR`
fn troff_spelling(opt: &Opt) -> String {
    let letter = opt.short.map(|letter| format!("\\fB\\-{letter}\\fR"));
    let long = opt.long.then(|| format!("\\fB\\-\\-{}\\fR", troff(opt.name)));
    let names: Vec<String> = letter.into_iter().chain(long).collect();
    let value = match opt.kind {
        Kind::Flag | Kind::Count => String::new(),
        Kind::Optional(value) => format!("[=\\fI{}\\fR]", troff(value.name)),
        Kind::One(value) | Kind::List(value) | Kind::Many(value) => {
            format!(" \\fI{}\\fR", troff(value.name))
        }
    };
    names.join(", ") + &value
}

// ---- completions ------------------------------------------------------------------------------

/// What a shell can offer as a value.
enum Offer {
    /// One of these words.
    Words(Vec<&'static str>),
    /// A file.
    File,
    /// A command.
    Command,
    /// Anything.
    Any,
}

fn offer(opt: &Opt) -> Option<Offer> {
    let name = opt.kind.value()?.name;
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
    };
    Some(match name {
        "CMD" => Offer::Command,
        _ if name.contains("PATH") || name.contains("FILE") => Offer::File,
        _ if name.contains('|') && name.split('|').all(is_word) => {
            Offer::Words(name.split('|').collect())
        }
        _ => Offer::Any,
    })
}

/// Every spelling of an option, without a value.
fn names(opt: &Opt) -> Vec<String> {
    let letter = opt.short.map(|letter| format!("-{letter}"));
    letter.into_iter().chain(opt.long.then(|| format!("--{}", opt.name))).collect()
}

/// An option whose value is a word of its own.
fn takes_word(opt: &Opt) -> bool {
    matches!(opt.kind, Kind::One(_) | Kind::List(_) | Kind::Many(_))
}

fn bash() -> String {
    let mut cases = String::new();
    let (mut all, mut with_value) = (Vec::new(), Vec::new());
    for opt in OPTIONS {
        all.extend(names(opt));
        if !takes_word(opt) {
            continue;
        }
        with_value.extend(names(opt));
        let pattern = names(opt).join("|");
        let reply = match offer(opt) {
            Some(Offer::Words(words)) => {
                format!("mapfile -t COMPREPLY < <(compgen -W '{}' -- \"$cur\")", words.join(" "))
            }
            Some(Offer::File) => "mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")".to_owned(),
            Some(Offer::Command) => "mapfile -t COMPREPLY < <(compgen -c -- \"$cur\")".to_owned(),
            Some(Offer::Any) | None => "COMPREPLY=()".to_owned(),
        };
        let _ = writeln!(cases, "        {pattern})\n            {reply}\n            return ;;");
    }
    all.extend(["-h", "--help", "-V", "--version"].map(str::to_owned));
    format!(
        "# bash completion for graceinit: made from its table of options.\n\
         _graceinit() {{\n\
         \x20   local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} at\n\
         \x20   # The app's own words come after the first word that is no option.\n\
         \x20   for ((at = 1; at < COMP_CWORD; at++)); do\n\
         \x20       case ${{COMP_WORDS[at]}} in\n\
         \x20           --)\n\
         \x20               _graceinit_app $((at + 1))\n\
         \x20               return ;;\n\
         \x20           {with_value}) ((at++)) ;;\n\
         \x20           -*) ;;\n\
         \x20           *)\n\
         \x20               _graceinit_app \"$at\"\n\
         \x20               return ;;\n\
         \x20       esac\n\
         \x20   done\n\
         \x20   case $prev in\n{cases}\
         \x20   esac\n\
         \x20   case $cur in\n\
         \x20       -*) mapfile -t COMPREPLY < <(compgen -W '{all}' -- \"$cur\") ;;\n\
         \x20       *) mapfile -t COMPREPLY < <(compgen -c -- \"$cur\") ;;\n\
         \x20   esac\n\
         }}\n\
         _graceinit_app() {{\n\
         \x20   if declare -F _command_offset >/dev/null; then\n\
         \x20       _command_offset \"$1\"\n\
         \x20   elif ((COMP_CWORD == $1)); then\n\
         \x20       mapfile -t COMPREPLY < <(compgen -c -- \"${{COMP_WORDS[COMP_CWORD]}}\")\n\
         \x20   else\n\
         \x20       mapfile -t COMPREPLY < <(compgen -f -- \"${{COMP_WORDS[COMP_CWORD]}}\")\n\
         \x20   fi\n\
         }}\n\
         complete -o filenames -F _graceinit graceinit\n",
        with_value = with_value.join("|"),
        all = all.join(" "),
    )
}

/// The help up to its first sentence or bracket: what fits beside an option.
fn short_help(opt: &Opt) -> String {
    let help = opt.summary.unwrap_or(opt.help);
    let end = [". ", ": ", "; ", " [", " ("].iter().filter_map(|mark| help.find(mark)).min();
    help[..end.unwrap_or(help.len())].to_owned()
}

fn zsh() -> String {
    let mut out = String::from(
        "#compdef graceinit\n# Made from graceinit's table of options.\n_arguments -s -S -A '-*' \\\n",
    );
    for opt in OPTIONS {
        let quoted = |text: &str| {
            text.replace('\\', "\\\\")
                .replace('[', "\\[")
                .replace(']', "\\]")
                .replace(':', "\\:")
                .replace('\'', "'\\''")
        };
        let help = quoted(&short_help(opt));
        let value = match (opt.kind, offer(opt)) {
            (Kind::Flag | Kind::Count, _) | (_, None) => String::new(),
            (kind, Some(offer)) => {
                let name = quoted(kind.value().map_or("", |value| value.name));
                let action = match offer {
                    Offer::Words(words) => format!("({})", words.join(" ")),
                    Offer::File => "_files".to_owned(),
                    Offer::Command => "_command_names -e".to_owned(),
                    Offer::Any => " ".to_owned(),
                };
                let colon = if matches!(kind, Kind::Optional(_)) { "::" } else { ":" };
                format!("{colon}{name}:{action}")
            }
        };
        let repeats = matches!(opt.kind, Kind::Many(_) | Kind::Count);
        let star = if repeats { "*" } else { "" };
        for name in names(opt) {
            let joint = match opt.kind {
                Kind::Optional(_) => "=-",
                Kind::One(_) | Kind::List(_) | Kind::Many(_) if name.starts_with("--") => "=",
                _ => "",
            };
            let _ = writeln!(out, "  '{star}{name}{joint}[{help}]{value}' \\");
        }
    }
    out.push_str(
        "  '(- *)'{-h,--help}'[print help]' \\\n  '(- *)'{-V,--version}'[print the version]' \\\n",
    );
    out.push_str("  '(-):command: _command_names -e' \\\n  '*::arguments: _normal'\n");
    out
}

fn fish() -> String {
    let mut out =
        String::from("# fish completion for graceinit: made from its table of options.\n");
    // After the app's name its own completions are right.
    out.push_str(
        "complete -c graceinit -f -n __fish_is_first_token -a '(__fish_complete_command)'\n",
    );
    for opt in OPTIONS {
        out.push_str("complete -c graceinit");
        if let Some(letter) = opt.short {
            let _ = write!(out, " -s {letter}");
        }
        if opt.long {
            let _ = write!(out, " -l {}", opt.name);
        }
        if takes_word(opt) {
            match offer(opt) {
                Some(Offer::Words(words)) => {
                    let _ = write!(out, " -x -a '{}'", words.join(" "));
                }
                Some(Offer::File) => out.push_str(" -r -F"),
                Some(Offer::Command) => out.push_str(" -x -a '(__fish_complete_command)'"),
                Some(Offer::Any) | None => out.push_str(" -x"),
            }
        }
        let _ =
            writeln!(out, " -d '{}'", short_help(opt).replace('\\', "\\\\").replace('\'', "\\'"));
    }
    out.push_str("complete -c graceinit -s h -l help -d 'print help'\n");
    out.push_str("complete -c graceinit -s V -l version -d 'print the version'\n");
    out
}
