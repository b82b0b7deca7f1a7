//! `metric:URL NAME{label="value",…} <= N`: a number of the app, in the text format of Prometheus.

use super::address;

/// What to write, for messages.
pub(super) const EXAMPLE: &str = "metric:http://127.0.0.1:9090/metrics jobs_running <= 0";

/// A condition on a metric: the sum of the series that match is at most a number.
#[derive(Clone, PartialEq, Debug)]
pub struct Metric {
    /// Where the app tells its metrics, with an address in numbers.
    pub url: String,
    name: String,
    /// A series has to have these labels; it may have others.
    labels: Vec<(String, String)>,
    most: f64,
}

// No part of it is NaN: `parse` refuses that.
impl Eq for Metric {}

/// One series of the text format, without its value.
struct Series<'a> {
    name: &'a str,
    labels: Vec<(String, String)>,
    /// What follows it.
    rest: &'a str,
}

impl Metric {
    /// Reads what follows `metric:`.
    ///
    /// # Errors
    /// What is wrong, and what to write instead.
    pub fn parse(text: &str) -> Result<Metric, String> {
        let text = text.trim();
        let (url, condition) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let url = address::address(url, EXAMPLE)?;
        if condition.trim().is_empty() {
            return Err(format!("the name of the metric is missing; write {EXAMPLE}"));
        }
        let Some(Series { name, labels, rest }) = series(condition.trim()) else {
            return Err(format!("not the name of a metric with its labels; write {EXAMPLE}"));
        };
        let Some(number) = rest.trim_start().strip_prefix("<=") else {
            return Err(format!("'<= NUMBER' is missing behind the name; write {EXAMPLE}"));
        };
        match number.trim().parse::<f64>() {
            Ok(most) if most.is_finite() => Ok(Metric { url, name: name.to_owned(), labels, most }),
            Ok(_) | Err(_) => {
                Err(format!("'{}' is not a number; write a number, as in {EXAMPLE}", number.trim()))
            }
        }
    }

    /// Checks the metrics of the app.
    ///
    /// # Errors
    /// The condition does not hold: what was found instead.
    pub fn check(&self, metrics: &str) -> Result<(), String> {
        let mut found = None;
        for line in metrics.lines().map(str::trim).filter(|line| line.starts_with(&self.name)) {
            let Some(series) = series(line).filter(|series| series.name == self.name) else {
                continue;
            };
            if !self.labels.iter().all(|label| series.labels.contains(label)) {
                continue;
            }
            // A time stamp may follow.
            let value = series.rest.split_whitespace().next().and_then(|value| value.parse().ok());
            let Some(value): Option<f64> = value else {
                return Err(format!("{}: the value is not a number: {line}", self.name));
            };
            found = Some(found.unwrap_or(0.0) + value);
        }
        match found {
            None => Err(format!("there is no metric {self}")),
            Some(sum) if sum <= self.most => Ok(()),
            Some(sum) => Err(format!("{self} = {sum}")),
        }
    }
}

impl std::fmt::Display for Metric {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.name)?;
        for (place, (name, value)) in self.labels.iter().enumerate() {
            let begin = if place == 0 { '{' } else { ',' };
            write!(out, "{begin}{name}={value:?}")?;
        }
        if self.labels.is_empty() { Ok(()) } else { out.write_str("}") }
    }
}

/// Reads `NAME{label="value",…}` (the text format 0.0.4 of Prometheus).
fn series(text: &str) -> Option<Series<'_>> {
    let is_name = |char: char| char.is_ascii_alphanumeric() || char == '_' || char == ':';
    let (name, mut rest) = text.split_at(text.find(|char| !is_name(char)).unwrap_or(text.len()));
    if name.is_empty() || name.starts_with(|char: char| char.is_ascii_digit()) {
        return None;
    }
    let mut labels = Vec::new();
    let Some(list) = rest.trim_start().strip_prefix('{') else {
        return Some(Series { name, labels, rest });
    };
    rest = list.trim_start();
    loop {
        if let Some(behind) = rest.strip_prefix('}') {
            return Some(Series { name, labels, rest: behind });
        }
        let (label, value) = rest.split_once('=')?;
        let (value, behind) = quoted(value.trim_start())?;
        labels.push((label.trim().to_owned(), value));
        rest = behind.trim_start();
        rest = match rest.strip_prefix(',') {
            Some(behind) => behind.trim_start(),
            None if rest.starts_with('}') => rest,
            None => return None,
        };
    }
}

/// Reads a value in quotes, with the escapes of the text format. Gives what follows it, too.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.strip_prefix('"')?.char_indices();
    while let Some((place, char)) = chars.next() {
        match char {
            // The opening quote is one more byte.
            '"' => return Some((value, text.get(place + 2..)?)),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = "\
# HELP jobs_running Jobs.
# TYPE jobs_running gauge
jobs_running{queue=\"a\",kind=\"x\"} 2
jobs_running{queue=\"b\", kind=\"x\",} 1.5e0 1700000000000
jobs_running_total 7
  vllm:num_requests_running{model_name=\"a } \\\"b\\\" \\\\n\",engine=\"0\"} 3.0
idle 0
nothing NaN
wrong x
";

    fn check(condition: &str) -> Result<(), String> {
        let text = format!("http://127.0.0.1:1/m {condition}");
        Metric::parse(&text).unwrap_or_else(|why| panic!("{condition}: {why}")).check(METRICS)
    }

    #[test]
    fn the_sum_of_the_series_that_match_is_compared() {
        for holds in [
            "idle <= 0",
            "idle<=0",
            "jobs_running <= 3.5",
            "jobs_running{queue=\"a\"} <= 2",
            "jobs_running{} <= 4",
            "jobs_running{kind=\"x\",queue=\"b\"} <= 1.5",
            "jobs_running_total <= 7",
            r#"vllm:num_requests_running{model_name="a } \"b\" \\n"} <= 3"#,
        ] {
            assert_eq!(check(holds), Ok(()), "{holds}");
        }
        for (fails, why) in [
            ("jobs_running <= 3", "jobs_running = 3.5"),
            ("jobs_running{queue=\"a\"} <= 1", "jobs_running{queue=\"a\"} = 2"),
            ("jobs_running{queue=\"c\"} <= 9", "there is no metric jobs_running{queue=\"c\"}"),
            ("jobs <= 9", "there is no metric jobs"),
            ("nothing <= 1", "nothing = NaN"),
            ("wrong <= 1", "wrong: the value is not a number: wrong x"),
        ] {
            assert_eq!(check(fails), Err(why.to_owned()), "{fails}");
        }
    }

    #[test]
    fn any_text_is_harmless() {
        let metric = Metric::parse("http://127.0.0.1:1/m a <= 0").expect("a condition");
        for text in ["a", "a{", "a{b", "a{b=", "a{b=\"", "a{b=\"\\", "a{b=\"\"", "a{b=\"\"x}", "a}"]
        {
            assert!(metric.check(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_condition_that_cannot_be_read_says_what_to_write() {
        for (text, why) in [
            ("", "not an http:// address; write "),
            ("http://127.0.0.1:1/m", "the name of the metric is missing; write "),
            ("http://127.0.0.1:1/m 1a <= 0", "not the name of a metric with its labels; write "),
            ("http://127.0.0.1:1/m a{b} <= 0", "not the name of a metric with its labels; write "),
            ("http://127.0.0.1:1/m a < 0", "'<= NUMBER' is missing behind the name; write "),
            ("http://127.0.0.1:1/m a", "'<= NUMBER' is missing behind the name; write "),
        ] {
            assert_eq!(Metric::parse(text), Err(format!("{why}{EXAMPLE}")), "{text}");
        }
        for number in ["", "x", "nan", "inf"] {
            let why = Metric::parse(&format!("http://127.0.0.1:1/m a <= {number}"));
            let why = why.expect_err("no number");
            assert!(why.starts_with(&format!("'{number}' is not a number; write ")), "{why}");
        }
    }
}
