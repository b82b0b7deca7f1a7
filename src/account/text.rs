//! The length of texts that the account keeps.

/// The longest text that the account keeps, in bytes.
const LONGEST: usize = 300;

/// The text, cut to the length that the account keeps.
pub fn cut(text: &str) -> String {
    cut_to(text, LONGEST)
}

/// A number of bytes for people: `512 MiB`, `1.5 GiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let (mut unit, mut tenths) = (0, u128::from(bytes) * 10 / 1024);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        (unit, tenths) = (unit + 1, tenths / 1024);
    }
    match tenths % 10 {
        0 => format!("{} {}", tenths / 10, UNITS[unit]),
        rest => format!("{}.{rest} {}", tenths / 10, UNITS[unit]),
    }
}

/// The text, cut to about `longest` bytes.
pub(super) fn cut_to(text: &str, longest: usize) -> String {
    if text.len() <= longest {
        return text.to_owned();
    }
    let end = (0..=longest).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{} ...", &text[..end])
}
