//! The length of texts that the account keeps.

/// The longest text that the account keeps, in bytes.
const LONGEST: usize = 300;

/// The text, cut to the length that the account keeps.
pub fn cut(text: &str) -> String {
    cut_to(text, LONGEST)
}

/// The text, cut to about `longest` bytes.
pub(super) fn cut_to(text: &str, longest: usize) -> String {
    if text.len() <= longest {
        return text.to_owned();
    }
    let end = (0..=longest).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{} ...", &text[..end])
}
