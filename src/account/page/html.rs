//! Writes HTML. Only literals of this program become markup; everything else is text, and escaped.

use std::fmt::{self, Display, Write};

use super::super::time::Span;

/// The longest text, in characters. No account that graceinit writes has a longer one.
const LONGEST: usize = 1000;

/// A piece of HTML that grows.
#[derive(Default)]
pub(super) struct Html(String);

impl Html {
    /// Markup, or text of this program.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Html {
        self.0.push_str(markup);
        self
    }

    /// Text, or the value of an attribute in quotes.
    pub(super) fn text(&mut self, text: impl Display) -> &mut Html {
        // Writing to a String cannot fail.
        let _ = write!(Escaped(&mut self.0, LONGEST), "{text}");
        self
    }

    /// An attribute.
    pub(super) fn attr(&mut self, name: &'static str, value: impl Display) -> &mut Html {
        self.raw(" ").raw(name).raw("=\"").text(value).raw("\"")
    }

    /// `<tag>text</tag>`
    pub(super) fn tag(&mut self, tag: &'static str, text: impl Display) -> &mut Html {
        self.raw("<").raw(tag).raw(">").text(text).raw("</").raw(tag).raw(">")
    }

    /// Other HTML.
    pub(super) fn add(&mut self, other: Html) -> &mut Html {
        self.0.push_str(&other.0);
        self
    }

    pub(super) fn done(self) -> String {
        self.0
    }
}

/// Escapes what is written to it, up to a number of characters.
struct Escaped<'a>(&'a mut String, usize);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for char in text.chars() {
            if self.1 == 0 {
                return Ok(());
            }
            self.1 -= 1;
            if self.1 == 0 {
                self.0.push('…');
                return Ok(());
            }
            match char {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // HTML does not allow control characters; bidirectional controls would show a line in another
                // order than it is written.
                '\n' | '\t' => self.0.push(char),
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => self.0.push('\u{fffd}'),
                '\u{fdd0}'..='\u{fdef}' => self.0.push('\u{fffd}'),
                _ if char.is_control() || u32::from(char) & 0xfffe == 0xfffe => {
                    self.0.push('\u{fffd}');
                }
                _ => self.0.push(char),
            }
        }
        Ok(())
    }
}

/// A time span for people: three significant digits, or two units.
pub(super) fn span(span: Span) -> String {
    let millis = span.0 / 1000;
    let seconds = millis / 1000;
    match millis {
        0 if span.0 == 0 => "0 s".to_owned(),
        0 => "< 1 ms".to_owned(),
        1..1000 => format!("{millis} ms"),
        1000..10_000 => format!("{}.{:02} s", seconds, millis % 1000 / 10),
        10_000..60_000 => format!("{}.{} s", seconds, millis % 1000 / 100),
        _ => {
            let units = [
                ("d", seconds / 86_400),
                ("h", seconds / 3600 % 24),
                ("min", seconds / 60 % 60),
                ("s", seconds % 60),
            ];
            let begun = units.iter().skip_while(|(_, count)| *count == 0).take(2);
            let shown = begun.filter(|(_, count)| *count > 0);
            shown.map(|(unit, count)| format!("{count} {unit}")).collect::<Vec<_>>().join(" ")
        }
    }
}

/// A whole number of seconds without digits behind the point, for limits: `30 s`, `2.5 s`.
pub(super) fn round(of: Span) -> String {
    match of.0 {
        1_000_000..60_000_000 if of.0 % 1_000_000 == 0 => format!("{} s", of.0 / 1_000_000),
        1_000_000..60_000_000 if of.0 % 100_000 == 0 => {
            format!("{}.{} s", of.0 / 1_000_000, of.0 % 1_000_000 / 100_000)
        }
        _ => span(of),
    }
}

/// A point in time as `1:02:03.456` or `2.345`.
pub(super) fn clock(span: Span) -> String {
    let (seconds, millis) = (span.0 / 1_000_000, span.0 % 1_000_000 / 1000);
    match seconds {
        0..60 => format!("{seconds}.{millis:03}"),
        60..3600 => format!("{}:{:02}.{millis:03}", seconds / 60, seconds % 60),
        _ => format!("{}:{:02}:{:02}.{millis:03}", seconds / 3600, seconds / 60 % 60, seconds % 60),
    }
}

/// Bytes for people.
pub(super) fn bytes(count: u64) -> String {
    match count {
        0..1024 => format!("{count} B"),
        1024..1_048_576 => format!("{} KiB", count / 1024),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", count as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", count as f64 / 1_073_741_824.0),
    }
}

/// `1 attempt`, `2 attempts`
pub(super) fn counted(count: u64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}
