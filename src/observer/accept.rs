//! Content negotiation (RFC 9110, section 12.5.1), as far as it decides between two types.

/// How specific the range is that counts, the highest first, and how much it wants the type, from 0 to 1000.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Wanted {
    /// 3: the type itself, 2: `text/*`, 1: `*/*`, 0: no range.
    pub specific: u8,
    /// The weight: `q` in thousandths.
    pub weight: u32,
}

/// How much `accept` wants this type. `versions`: the accepted values of the parameter `version`; none: any.
pub fn wanted(accept: &str, media_type: &str, versions: &[&str]) -> Wanted {
    let kind = media_type.split('/').next();
    let ranges = split(accept, ',').filter_map(|range| {
        let mut parts = split(range, ';');
        let name = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
        let (mut version, mut weight) = (None, None);
        for (key, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim().trim_matches('"');
            match &*key.trim().to_ascii_lowercase() {
                "version" => version = Some(value),
                "q" => weight = Some(value),
                _ => {}
            }
        }
        let fits = version.is_none_or(|one| versions.is_empty() || versions.contains(&one));
        let specific = match name.strip_suffix("/*") {
            None if name == media_type && fits => 3,
            Some("*") => 1,
            Some(range) if Some(range) == kind => 2,
            _ => return None,
        };
        let weight = weight.and_then(|text| text.parse::<f64>().ok());
        let weight = weight.filter(|weight| (0.0..=1.0).contains(weight));
        // A weight that is wrong counts as none.
        Some(Wanted { specific, weight: (weight.unwrap_or(1.0) * 1000.0).round() as u32 })
    });
    ranges.max().unwrap_or_default()
}

/// Splits at a separator that is not in quotes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c| {
        quoted ^= c == '"';
        c == separator && !quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_range_counts() {
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        for (accept, html, json) in [
            ("", 0, 0),
            ("*/*", 1000, 1000),
            (browser, 1000, 800),
            ("application/json, TEXT/HTML; Q=0.5", 500, 1000),
            ("text/html;q=0, text/*, */*;q=0.1", 0, 100),
            ("*/*, text/*;level=1;q=0.3", 300, 1000),
            ("text/html;q=nonsense, text", 1000, 0),
            ("text/html;q=7, ;;,/,", 1000, 0),
        ] {
            let weight = |media_type| wanted(accept, media_type, &[]).weight;
            assert_eq!((weight("text/html"), weight("application/json")), (html, json), "{accept}");
        }
    }
}
