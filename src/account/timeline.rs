//! Draws a time line for the terminal to scale: a bar for each time span, a mark for each moment.

use std::fmt::Write;
use std::time::Duration;

/// A row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// The text on the left.
    pub label: String,
    /// Begin and end of each bar. A moment begins where it ends.
    pub spans: Vec<(Duration, Duration)>,
    /// The character of its bars.
    pub ink: char,
    /// The text on the right.
    pub note: String,
}

/// A vertical line through all rows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Marker {
    /// When.
    pub at: Duration,
    /// Its text.
    pub name: String,
}

const LABEL: usize = 24;
const NARROWEST: usize = 20;

/// Draws the rows. `columns` is the width of the whole.
pub fn draw(rows: &[Row], marker: Option<&Marker>, columns: usize) -> String {
    let ends = rows.iter().flat_map(|row| row.spans.iter().map(|(_, end)| *end));
    let end = ends.chain(marker.map(|marker| marker.at)).max().unwrap_or_default();
    let notes = rows.iter().map(|row| row.note.chars().count()).max().unwrap_or(0);
    let width = columns.saturating_sub(LABEL + 4 + notes).max(NARROWEST);
    let scale = Scale { end: end.max(Duration::from_millis(1)), width };
    let mut text = scale.axis();
    for row in rows {
        let mut line = vec![' '; width];
        if let Some(marker) = marker {
            line[scale.column(marker.at)] = ':';
        }
        for (begin, end) in &row.spans {
            let (begin, end) = (scale.column(*begin), scale.edge(*end));
            // At least one cell, so that it is visible.
            for cell in &mut line[begin..end.max(begin + 1)] {
                *cell = row.ink;
            }
        }
        let line: String = line.into_iter().collect();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{} |{line}| {}", fit(&row.label), row.note);
    }
    if let Some(marker) = marker {
        let column = scale.column(marker.at);
        let name = format!("{}: {}", seconds(marker.at), marker.name);
        let before = LABEL + 2 + column;
        // On the side with more room.
        let _ = if column > width / 2 && name.len() < before {
            writeln!(text, "{name:>0$} ^", before - 1)
        } else {
            writeln!(text, "{:before$}^ {name}", "")
        };
    }
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Cut or padded to the width of the labels.
fn fit(label: &str) -> String {
    if label.chars().count() <= LABEL {
        return format!("{label:LABEL$}");
    }
    let cut: String = label.chars().take(LABEL - 2).collect();
    format!("{cut}..")
}

/// `7s`, `1.5s`, `250ms`, `2m 30s`.
pub fn seconds(span: Duration) -> String {
    let millis = span.as_millis();
    match millis {
        0 => "0s".to_owned(),
        1..1000 => format!("{millis}ms"),
        1000..60_000 if millis % 1000 == 0 => format!("{}s", millis / 1000),
        1000..60_000 => {
            let text = format!("{:.2}", span.as_secs_f64());
            format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => humantime::format_duration(Duration::from_secs(span.as_secs())).to_string(),
    }
}

struct Scale {
    end: Duration,
    width: usize,
}

impl Scale {
    /// The column of a moment.
    fn column(&self, at: Duration) -> usize {
        self.edge(at).min(self.width - 1)
    }

    /// The column behind a bar that ends then.
    fn edge(&self, at: Duration) -> usize {
        let share = at.as_nanos() * (self.width as u128) / self.end.as_nanos();
        usize::try_from(share).unwrap_or(usize::MAX).min(self.width)
    }

    /// A line of times and a line of ticks, at round distances with room for the times.
    fn axis(&self) -> String {
        const STEPS: [u64; 16] = [
            10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 300_000,
            600_000, 1_800_000, 3_600_000,
        ];
        let fits = |step: &u64| self.column(Duration::from_millis(*step)) >= 9;
        let step = STEPS.into_iter().find(fits).map_or(self.end, Duration::from_millis);
        let (mut times, mut ticks) = (String::new(), vec!['-'; self.width]);
        let mut at = Duration::ZERO;
        while at < self.end {
            let column = self.column(at);
            let time = seconds(at);
            if times.len() <= column && column + time.len() <= self.width {
                times = format!("{times:column$}{time}");
                ticks[column] = '|';
            }
            at += step;
        }
        let ticks: String = ticks.into_iter().collect();
        format!("{:LABEL$}  {times}\n{:LABEL$}  {ticks}\n", "", "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn row(label: &str, spans: &[(u32, u32)]) -> Row {
        let spans = spans.iter().map(|(begin, end)| (S * *begin, S * *end)).collect();
        Row { label: label.to_owned(), spans, ink: '#', note: String::new() }
    }

    #[test]
    fn bars_are_to_scale_and_moments_are_seen() {
        let rows = [row("all", &[(0, 20)]), row("half", &[(10, 20)]), row("moment", &[(5, 5)])];
        let drawn = draw(&rows, None, LABEL + 4 + 40);
        let bars: Vec<&str> =
            drawn.lines().skip(2).filter_map(|line| line.split('|').nth(1)).collect();
        assert_eq!(bars[0], "#".repeat(40));
        assert_eq!(bars[1], format!("{}{}", " ".repeat(20), "#".repeat(20)));
        assert_eq!(bars[2], format!("{}#{}", " ".repeat(10), " ".repeat(29)));
        assert!(drawn.starts_with(&format!("{}  0s", " ".repeat(LABEL))), "{drawn}");
        assert!(drawn.contains("10s"), "{drawn}");
    }

    #[test]
    fn a_marker_runs_through_all_rows_and_belongs_to_the_scale() {
        let marker = Marker { at: S * 10, name: "the end".to_owned() };
        let drawn = draw(&[row("a", &[(0, 5)]), row("b", &[])], Some(&marker), 80);
        assert_eq!(drawn.matches(':').count(), 3, "{drawn}");
        assert!(drawn.ends_with("10s: the end ^\n"), "{drawn}");
        let mark = |line: &str| line.find([':', '^']);
        let columns: Vec<_> = drawn.lines().skip(2).take(2).map(mark).collect();
        assert_eq!(columns, [drawn.lines().last().and_then(|line| line.find('^')); 2], "{drawn}");
        let early = Marker { at: S, name: "the end".to_owned() };
        let drawn = draw(&[row("a", &[(0, 50)])], Some(&early), 80);
        assert!(drawn.ends_with("^ 1s: the end\n"), "{drawn}");
    }

    #[test]
    fn nothing_overflows() {
        for columns in [0, 1, 40, 200] {
            let rows = [row("a very long label that has to be cut", &[(0, 0), (3, 3)])];
            let drawn = draw(&rows, None, columns);
            assert!(drawn.contains("a very long label that.."), "{drawn}");
        }
        assert!(draw(&[], None, 80).lines().count() == 2);
    }

    #[test]
    fn times_are_short() {
        for (millis, want) in [
            (0, "0s"),
            (250, "250ms"),
            (1000, "1s"),
            (1500, "1.5s"),
            (11_250, "11.25s"),
            (90_000, "1m 30s"),
        ] {
            assert_eq!(seconds(Duration::from_millis(millis)), want);
        }
    }
}
