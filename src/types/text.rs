//! Text that comes from outside (a path, an argument, the output of a hook), made safe to show. A terminal obeys
//! control characters, and the controls of Unicode's bidirectional algorithm show a text in another order than it has.

use std::borrow::Cow;

/// Whether a character changes how other text is shown: C0 and C1 controls, line and paragraph separators, and the
/// controls of the bidirectional algorithm (Unicode Standard Annex 9). A tab is plain text.
pub fn is_harmful(c: char) -> bool {
    (c.is_control() && c != '\t')
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2066}'..='\u{2069}')
}

/// The text in one line, with every harmful character escaped as in Rust: `\n`, `\u{1b}`.
pub fn in_one_line(text: &str) -> Cow<'_, str> {
    escape(text, is_harmful)
}

/// The same for a text that has lines of its own.
pub fn in_lines(text: &str) -> Cow<'_, str> {
    escape(text, |c| is_harmful(c) && c != '\n')
}

/// Foreign bytes as text in one line.
pub fn printable(bytes: &[u8]) -> String {
    in_one_line(&String::from_utf8_lossy(bytes)).into_owned()
}

fn escape(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_escaped) {
        return text.into();
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match is_escaped(c) {
            true => safe.extend(c.escape_default()),
            false => safe.push(c),
        }
    }
    safe.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_change_other_text_are_escaped() {
        for (text, want) in [
            (
                "plain text, caf\u{e9} \u{65e5}\u{672c} \u{5d0}",
                "plain text, caf\u{e9} \u{65e5}\u{672c} \u{5d0}",
            ),
            ("a\tb", "a\tb"),
            ("a\r\nb\0", r"a\r\nb\u{0}"),
            ("\u{1b}[2J\u{7f}", r"\u{1b}[2J\u{7f}"),
            ("\u{85}\u{9b}31m", r"\u{85}\u{9b}31m"),
            ("\u{202e}\u{2066}\u{2069}\u{200f}\u{61c}", r"\u{202e}\u{2066}\u{2069}\u{200f}\u{61c}"),
            ("\u{2028}\u{2029}", r"\u{2028}\u{2029}"),
        ] {
            assert_eq!(in_one_line(text), want);
        }
        assert_eq!(in_lines("a\n\u{1b}\n"), "a\n\\u{1b}\n");
        assert_eq!(printable(b"a\xffb\n"), "a\u{fffd}b\\n");
    }
}
