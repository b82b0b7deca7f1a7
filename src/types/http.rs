//! The status line and the lengths of an answer (RFC 9112), for all who read one.

/// The status of a status line, and the line behind the version: 200 and `200 OK`. `None`: it is no status line.
pub fn status(line: &str) -> Option<(u16, &str)> {
    // HTTP/1.1 200 OK
    let (_, reason) = line.trim_end().strip_prefix("HTTP/1.")?.split_once(' ')?;
    let digits = reason.split(' ').next().filter(|digits| digits.len() == 3)?;
    Some((u16::try_from(number(digits, 10)?).ok()?, reason))
}

/// A number of digits alone: `str::parse` takes a sign as well.
pub fn number(digits: &str, base: u32) -> Option<u64> {
    let valid = digits.chars().all(|digit| digit.is_digit(base));
    valid.then(|| u64::from_str_radix(digits, base).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_has_three_digits() {
        assert_eq!(status("HTTP/1.1 200 OK\r"), Some((200, "200 OK")));
        assert_eq!(status("HTTP/1.0 503 "), Some((503, "503")));
        for other in
            ["", "HTTP/1.1", "HTTP/1.1 ", "HTTP/1.1 +20 OK", "HTTP/1.1 20", "HTTP/1.1 2000 OK"]
        {
            assert_eq!(status(other), None, "{other}");
        }
        assert_eq!((status("HTTP/1.1 -12"), status("HTTP/2 200")), (None, None));
    }

    #[test]
    fn a_number_has_no_sign() {
        assert_eq!((number("10", 10), number("fF", 16)), (Some(10), Some(255)));
        for other in ["", "+1", "-1", " 1", "1 ", "18446744073709551616"] {
            assert_eq!(number(other, 10), None, "{other}");
        }
    }
}
