//! Content negotiation (RFC 9110, section 12.5.1), as far as it decides between two formats.

use super::Form;

/// The versions of OpenMetrics that are written.
const OPEN_METRICS: [&str; 2] = ["1.0.0", "0.0.1"];
/// That of Prometheus' text format.
const TEXT: [&str; 1] = ["0.0.4"];

/// OpenMetrics if it is asked for by its name, and not less wanted than text.
pub(super) fn wanted(accept: &str) -> Form {
    let ranges: Vec<Range> = split(accept, ',').into_iter().map(Range::of).collect();
    let best = |kind: &str, versions: &[&str]| {
        let fits = ranges.iter().filter(|range| range.names(kind, versions));
        fits.map(|range| range.weight).max()
    };
    let Some(open) = best("application/openmetrics-text", &OPEN_METRICS) else {
        return Form::Text;
    };
    // The most specific range counts.
    let text =
        best("text/plain", &TEXT).or_else(|| best("text/*", &[])).or_else(|| best("*/*", &[]));
    match open > 0 && open >= text.unwrap_or(0) {
        true => Form::OpenMetrics,
        false => Form::Text,
    }
}

/// A media range with its parameters.
struct Range {
    kind: String,
    version: Option<String>,
    /// In thousandths, which is as fine as weights are.
    weight: u32,
}

impl Range {
    fn of(text: &str) -> Range {
        let mut parts = split(text, ';').into_iter();
        let kind = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
        let mut range = Range { kind, version: None, weight: 1000 };
        for part in parts {
            let Some((name, value)) = part.split_once('=') else { continue };
            let value = value.trim().trim_matches('"');
            match &*name.trim().to_ascii_lowercase() {
                "version" => range.version = Some(value.to_owned()),
                "q" => range.weight = weight(value),
                _ => {}
            }
        }
        range
    }

    fn names(&self, kind: &str, versions: &[&str]) -> bool {
        self.kind == kind
            && self.version.as_deref().is_none_or(|version| versions.contains(&version))
    }
}

/// What is no weight counts as none given.
fn weight(text: &str) -> u32 {
    let number = text.parse::<f64>().ok().filter(|number| (0.0..=1.0).contains(number));
    number.map_or(1000, |number| (number * 1000.0).round() as u32)
}

/// Splits where `at` does not stand between quotes.
fn split(text: &str, at: char) -> Vec<&str> {
    let mut quoted = false;
    text.split(|c| {
        quoted ^= c == '"';
        c == at && !quoted
    })
    .collect()
}
