//! Whatever an account holds, the page is well-formed, of a bounded size, and made of our markup alone.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::document::*;
use super::super::time::{Span, Wall};
use super::super::value::Value;
use super::html::{self, Html};
use super::{Edition, SCRIPT, STYLE, render};

/// Every element that there may be, and whether it has no end tag.
const ELEMENTS: [(&str, bool); 46] = [
    ("html", false),
    ("head", false),
    ("meta", true),
    ("link", true),
    ("noscript", false),
    ("title", false),
    ("style", false),
    ("script", false),
    ("body", false),
    ("main", false),
    ("header", false),
    ("footer", false),
    ("section", false),
    ("div", false),
    ("p", false),
    ("span", false),
    ("b", false),
    ("i", false),
    ("code", false),
    ("pre", false),
    ("time", false),
    ("h1", false),
    ("h2", false),
    ("h3", false),
    ("dl", false),
    ("dt", false),
    ("dd", false),
    ("ul", false),
    ("li", false),
    ("details", false),
    ("summary", false),
    ("table", false),
    ("caption", false),
    ("thead", false),
    ("tbody", false),
    ("tr", false),
    ("th", false),
    ("td", false),
    ("svg", false),
    ("rect", false),
    ("line", false),
    ("path", false),
    ("polygon", false),
    ("text", false),
    ("!DOCTYPE", true),
    ("a", false),
];

/// Every attribute besides `data-…` and `aria-…`.
const ATTRIBUTES: &str = " lang charset http-equiv content name rel href id role hidden class title \
     scope colspan rowspan datetime open tabindex viewBox preserveAspectRatio points x y x1 x2 y1 y2 \
     width height d text-anchor html ";

/// Reads the page as a browser would that is not lenient at all.
fn well_formed(page: &str) -> Result<(), String> {
    let mut open: Vec<&str> = Vec::new();
    let mut ids: Vec<&str> = Vec::new();
    let mut rest = page;
    while let Some(at) = rest.find('<') {
        plain(&rest[..at])?;
        rest = &rest[at + 1..];
        if let Some(tail) = rest.strip_prefix('/') {
            let (name, tail) = tail.split_once('>').ok_or("an end tag without an end")?;
            if open.pop() != Some(name) {
                return Err(format!("</{name}> closes something else"));
            }
            rest = tail;
            continue;
        }
        let end = rest.find([' ', '>', '/', '\n']).ok_or("a tag without an end")?;
        let name = &rest[..end];
        let (_, void) = ELEMENTS
            .iter()
            .find(|(known, _)| *known == name)
            .ok_or_else(|| format!("an element <{}", rest.chars().take(30).collect::<String>()))?;
        rest = &rest[end..];
        let closed = attributes(&mut rest, &mut ids)?;
        let raw = match name {
            "style" => Some(STYLE),
            "script" => Some(SCRIPT),
            _ => None,
        };
        if let Some(raw) = raw {
            rest = rest.strip_prefix(raw).ok_or("another style or script than ours")?;
        }
        if !closed && !void {
            open.push(name);
        }
    }
    plain(rest)?;
    match open.is_empty() {
        true => Ok(()),
        false => Err(format!("not closed: {open:?}")),
    }
}

/// Reads the attributes up to the end of the tag; tells whether it ends with `/>`.
fn attributes<'a>(rest: &mut &'a str, ids: &mut Vec<&'a str>) -> Result<bool, String> {
    loop {
        *rest = rest.trim_start();
        if let Some(tail) = rest.strip_prefix("/>") {
            *rest = tail;
            return Ok(true);
        }
        if let Some(tail) = rest.strip_prefix('>') {
            *rest = tail;
            return Ok(false);
        }
        let end = rest.find(['=', ' ', '>', '/']).ok_or("an attribute without an end")?;
        let name = &rest[..end];
        let known = ATTRIBUTES.contains(&format!(" {name} "));
        if !known && !name.starts_with("data-") && !name.starts_with("aria-") {
            return Err(format!("an attribute {name}"));
        }
        *rest = &rest[end..];
        if let Some(tail) = rest.strip_prefix("=\"") {
            let (value, tail) = tail.split_once('"').ok_or("a value without an end")?;
            plain(value)?;
            if name == "id" {
                if ids.contains(&value) {
                    return Err(format!("two elements have the id {value}"));
                }
                ids.push(value);
            }
            *rest = tail;
        }
    }
}

/// Text without anything that could be markup.
fn plain(text: &str) -> Result<(), String> {
    if let Some(char) = text.chars().find(|char| matches!(char, '<' | '>' | '\0' | '\u{202e}')) {
        return Err(format!("{char:?} in {text:?}"));
    }
    for (at, _) in text.match_indices('&') {
        let known = ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"];
        if !known.iter().any(|entity| text[at..].starts_with(entity)) {
            return Err(format!("a bare & in {text:?}"));
        }
    }
    Ok(())
}

/// Gives its values again and again.
struct Source {
    texts: Vec<String>,
    numbers: Vec<u64>,
    next: usize,
}

impl Source {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.numbers[self.next % self.numbers.len()]
    }

    fn text(&mut self) -> String {
        self.next += 1;
        self.texts[self.next % self.texts.len()].clone()
    }

    fn span(&mut self) -> Span {
        Span(self.number())
    }

    fn word(&mut self, words: &[&str]) -> String {
        match self.number() as usize % (words.len() + 1) {
            index if index < words.len() => words[index].to_owned(),
            _ => self.text(),
        }
    }

    fn some<T>(&mut self, make: impl FnOnce(&mut Source) -> T) -> Option<T> {
        let given = self.number() % 3 != 0;
        given.then(|| make(self))
    }

    fn list<T>(&mut self, mut make: impl FnMut(&mut Source) -> T) -> Vec<T> {
        (0..self.number() % 5).map(|_| make(self)).collect()
    }

    fn counts(&mut self) -> BTreeMap<String, u64> {
        self.list(|source| (source.text(), source.number())).into_iter().collect()
    }

    fn phase(&mut self) -> String {
        let phases = [
            "starting",
            "running",
            "ready",
            "pre-stop",
            "drain",
            "on-stop",
            "stopping",
            "leftovers",
            "killed",
            "post-stop",
            "exit",
        ];
        self.word(&phases)
    }

    fn entry(&mut self) -> Entry {
        let mut fields = BTreeMap::new();
        for name in ["left", "signal"] {
            let value = match self.number() % 3 {
                0 => Value::Text(self.text().into()),
                1 => Value::Number(self.number() as i64),
                _ => Value::Span(std::time::Duration::from_micros(self.number())),
            };
            fields.insert(name.to_owned(), value);
        }
        fields.insert(self.text(), Value::Text(self.text().into()));
        let facts = ["stop-signal", "diagnosed", "extended", "stop-again"];
        Entry {
            at: self.span(),
            level: self.word(&["info", "warn", "error"]),
            fact: self.word(&facts),
            msg: self.text(),
            fields,
        }
    }

    fn hook(&mut self) -> Hook {
        let phases = ["pre-start", "on-ready", "on-reload", "pre-stop", "on-stop", "post-stop"];
        Hook {
            phase: self.word(&phases),
            name: self.text(),
            skipped: self.number() % 2 == 0,
            attempts: self.list(|source| Attempt {
                n: source.number() as u32,
                round: source.number() as u32,
                at: source.span(),
                limit: source.span(),
                took: source.some(Source::span),
                outcome: source.some(|source| {
                    source.word(&["done", "failed", "timed-out", "stop-again", "not-started"])
                }),
                status: source.some(Source::text),
            }),
            outcomes: self.counts(),
            took: Histogram { count: self.number(), sum: self.span(), buckets: Vec::new() },
            output: self.list(|source| Said {
                at: source.span(),
                stream: source.word(&["stdout", "stderr"]),
                text: source.text(),
            }),
        }
    }

    fn seen(&mut self) -> DrainSample {
        let [busy, owed, idle, new, queued] = [(); 5].map(|()| self.number() as u32);
        let [vanished, stalled, cut, uncertain] = [(); 4].map(|()| self.number() as u32);
        let at = self.span();
        DrainSample { at, busy, owed, idle, new, queued, vanished, stalled, cut, uncertain }
    }

    fn survivor(&mut self) -> Survivor {
        Survivor {
            pid: self.number() as i32,
            ppid: self.number() as i32,
            command: self.text(),
            state: self.word(&["S", "D", "R", "T", "Z"]),
            wchan: self.some(Source::text),
            age: self.span(),
            threads: self.number() as u32,
            connections: self.some(Source::number),
            unread: self.text(),
        }
    }

    fn account(&mut self) -> Account {
        Account {
            v: self.number() as u32,
            summary: self.word(&[""]),
            exit: self.some(|source| Exit {
                at: source.span(),
                code: source.number() as u8,
                reason: source.word(&["signal", "crash", "deadline"]),
                dead_man: source.number() % 2 == 0,
            }),
            stop: self.some(|source| Stop {
                at: source.span(),
                signal: source.text(),
                from: source.text(),
                budget: source.some(Source::span),
            }),
            app: App {
                command: self.text(),
                pid: self.some(|source| source.number() as i32),
                started: self.some(Source::span),
                ready_after: self.some(Source::span),
                ended: self.some(|source| Ended {
                    at: source.span(),
                    phase: source.phase(),
                    how: source.word(&["exited", "signalled", "not-started", "unkillable"]),
                    code: source.some(|source| source.number() as u8),
                    signal: source.some(Source::text),
                }),
                dumped_core: self.number() % 2 == 0,
                forwarded: self.some(Source::span),
            },
            killed: self.some(|source| Killed {
                at: source.span(),
                early: source.number() % 2 == 0,
                unseen: source.number() % 2 == 0,
                more: source.number(),
                unkillable: source.number() % 2 == 0,
            }),
            phase: self.phase(),
            ready: self.number() % 2 == 0,
            health: self.list(|source| Health {
                option: source.word(&["health", "live"]),
                check: source.text(),
                ok: source.some(|source| source.number() % 2 == 0),
                answer: source.text(),
                ago: source.some(Source::span),
            }),
            waiting: self.list(|source| Wait { condition: source.text(), answer: source.text() }),
            program: self.text(),
            began: Wall(self.number() % (1 << 50)),
            age: self.span(),
            trace_id: self.text(),
            phases: self.list(|source| Stretch {
                phase: source.phase(),
                at: source.span(),
                took: source.some(Source::span),
            }),
            survivors: self.list(Source::survivor),
            deaths: self.list(|source| Death {
                at: source.span(),
                pid: source.number() as i32,
                kind: source.word(&["app", "orphan", "hook"]),
                name: source.text(),
                by: source.word(&["oom", "elsewhere", "unknown"]),
                why: source.text(),
                limit: source.some(Source::number),
                peak: source.some(Source::number),
            }),
            hooks: self.list(Source::hook),
            drain: self.some(|source| Drain {
                at: source.span(),
                delay: source.span(),
                acks: source.some(|source| source.number() as u32),
                ended: source.some(Source::span),
                why: source.word(&["quiet", "moment", "delay", "budget", "max", ""]),
                looks: source.number(),
                last: source.some(Source::seen),
                series: source.list(Source::seen),
                held: source.list(|source| Held {
                    peer: source.text(),
                    port: source.number() as u16,
                    verdict: source.word(&["owed", "unread", "unacknowledged", "recent", "x"]),
                    held: source.span(),
                    silent: source.span(),
                    bytes_in: source.number(),
                    bytes_out: source.number(),
                    option: source.text(),
                }),
                words: source.list(|source| Word {
                    condition: source.text(),
                    said: source.text(),
                    held: source.number() % 2 == 0,
                }),
            }),
            troubles: self.list(Source::entry),
            counts: Counts {
                stop_requests: self.counts(),
                forwarded: self.counts(),
                reaped: self.counts(),
                kills: self.number(),
                oom_kills: self.number(),
                lines_dropped: self.number(),
            },
            timeline: self.list(Source::entry),
            settings: self.list(|source| Setting {
                name: source.text(),
                value: source.text(),
                source: source.text(),
            }),
            processes: self.list(|source| Process {
                pid: source.number() as i32 % 8,
                ppid: source.number() as i32 % 8,
                name: source.text(),
                state: source.text(),
                age: source.span(),
                threads: source.number() as u32,
                rss: source.number(),
            }),
            cut: self.counts(),
        }
    }
}

fn text() -> impl Strategy<Value = String> {
    let hostile = [
        "<script>alert(1)</script>",
        "\" onmouseover=\"alert(1)",
        "' autofocus onfocus=alert(1) '",
        "</style></pre></title></svg><img src=x onerror=alert(1)>",
        "<!--",
        "]]>",
        "&lt;b&gt; &amp; &#60;",
        "\0\u{7f}\u{202e}\u{fffe}\u{fdd0}",
        "javascript:alert(1)",
    ];
    prop_oneof![
        any::<String>(),
        proptest::sample::select(hostile.map(str::to_owned).to_vec()),
        "[a-z/ -]{0,12}",
    ]
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), 0..20u64, 0..100_000_000u64, Just(u64::MAX)]
}

proptest! {
    #[test]
    fn no_account_yields_markup(
        texts in prop::collection::vec(text(), 1..12),
        numbers in prop::collection::vec(number(), 1..60),
    ) {
        let account = Source { texts, numbers, next: 0 }.account();
        for shown in [Edition::Live, Edition::Saved] {
            let page = render(&account, shown);
            prop_assert_eq!(well_formed(&page), Ok(()));
        }
    }
}

/// The checker itself would notice.
#[test]
fn what_is_not_well_formed_is_found() {
    for (page, want) in [
        ("<p>a</p>", None),
        ("<p title=\"a &amp; b\">&lt;</p>", None),
        ("<p>", Some("not closed")),
        ("<p><b></p></b>", Some("closes something else")),
        ("<img src=\"x\">", Some("an element")),
        ("<p onclick=\"x\"></p>", Some("an attribute onclick")),
        ("<p>a > b</p>", Some("'>' in")),
        ("<p>a & b</p>", Some("a bare &")),
        ("<script>alert(1)</script>", Some("another style or script")),
        ("<p id=\"a\"></p><p id=\"a\"></p>", Some("two elements")),
    ] {
        let found = well_formed(page);
        match want {
            None => assert_eq!(found, Ok(()), "{page}"),
            Some(want) => assert!(found.as_ref().is_err_and(|why| why.contains(want)), "{found:?}"),
        }
    }
}

#[test]
fn text_is_escaped_everywhere() {
    let mut out = Html::default();
    out.raw("<p").attr("title", "\"<>'&").raw(">").text("a\0<b>\u{202e}&amp;").raw("</p>");
    let want = "<p title=\"&quot;&lt;&gt;&#39;&amp;\">a\u{fffd}&lt;b&gt;\u{fffd}&amp;amp;</p>";
    assert_eq!(out.done(), want);
}

#[test]
fn an_empty_account_is_a_page() {
    for shown in [Edition::Live, Edition::Saved] {
        let page = render(&Account::default(), shown);
        assert_eq!(well_formed(&page), Ok(()));
        assert!(page.contains("<h1>Starting: the app was not started yet.</h1>"), "{page}");
        for section in ["time", "hooks", "drain", "survivors", "processes", "troubles", "cut"] {
            assert!(!page.contains(&format!("id=\"{section}\"")), "{section} is empty");
        }
    }
}

#[test]
fn a_saved_page_has_no_script_and_a_live_one_refreshes_itself() {
    let account = Account::default();
    let (live, saved) = (render(&account, Edition::Live), render(&account, Edition::Saved));
    assert!(live.contains("<script>") && live.contains("http-equiv=\"refresh\""));
    assert!(!saved.contains("<script") && !saved.contains("http-equiv=\"refresh\""));
    assert!(saved.contains("default-src 'none'"), "a page in a file brings its own policy");
}

/// What a file of a mebibyte can hold at most.
#[test]
fn the_page_of_a_forged_account_is_bounded() {
    let seconds = |count: usize| Span(count as u64 * 1_000_000);
    let attempt = Attempt { outcome: Some("failed".to_owned()), ..Attempt::default() };
    let hook = |phase: &str| Hook {
        phase: phase.to_owned(),
        attempts: vec![attempt.clone(); 50],
        output: vec![Said::default(); 50],
        outcomes: (0..50).map(|index| (format!("{index}"), 1)).collect(),
        ..Hook::default()
    };
    let phases = ["pre-stop", "on-stop", "post-stop"];
    let fields = (0..50).map(|index| (format!("{index}"), Value::Number(index))).collect();
    let entry = Entry { msg: "m".repeat(1 << 16), fields, ..Entry::default() };
    let account = Account {
        stop: Some(Stop::default()),
        phases: (0..9000)
            .map(|index| Stretch {
                phase: phases[index % 3].to_owned(),
                at: seconds(index),
                took: None,
            })
            .collect(),
        hooks: (0..900).map(|index| hook(phases[index % 3])).collect(),
        drain: Some(Drain { series: vec![DrainSample::default(); 20_000], ..Drain::default() }),
        killed: Some(Killed::default()),
        survivors: vec![Survivor::default(); 20_000],
        processes: (1..20_000)
            .map(|pid| Process { pid, ppid: pid - 1, ..Process::default() })
            .collect(),
        troubles: vec![entry.clone(); 600],
        timeline: vec![entry; 600],
        settings: vec![Setting::default(); 20_000],
        summary: "s".repeat(1 << 20),
        ..Account::default()
    };
    let page = render(&account, Edition::Saved);
    assert!(page.len() < 48 << 20, "{} bytes", page.len());
    assert!(page.contains("19499 more processes are not shown"));
    assert_eq!(well_formed(&page), Ok(()));
}

#[test]
fn times_are_for_people() {
    let texts = |micros: u64| (html::span(Span(micros)), html::clock(Span(micros)));
    for (micros, span, clock) in [
        (0, "0 s", "0.000"),
        (7, "< 1 ms", "0.000"),
        (512_345, "512 ms", "0.512"),
        (2_345_678, "2.34 s", "2.345"),
        (12_345_678, "12.3 s", "12.345"),
        (60_000_000, "1 min", "1:00.000"),
        (192_000_000, "3 min 12 s", "3:12.000"),
        (7_262_000_000, "2 h 1 min", "2:01:02.000"),
        (7_202_000_000, "2 h", "2:00:02.000"),
        (90_000_000_000, "1 d 1 h", "25:00:00.000"),
    ] {
        assert_eq!(texts(micros), (span.to_owned(), clock.to_owned()), "{micros}");
    }
    assert_eq!(html::round(Span(30_000_000)), "30 s");
    assert_eq!(html::round(Span(2_500_000)), "2.5 s");
    assert_eq!(html::round(Span(250_000)), "250 ms");
    assert_eq!(html::bytes(3 << 19), "1.5 MiB");
}
