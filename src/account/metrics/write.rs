//! Writes the two text formats: Prometheus' [0.0.4] and OpenMetrics [1.0.0]. They differ in the names of counters in
//! `# HELP` and `# TYPE`, in `# UNIT` and in `# EOF`.
//!
//! [0.0.4]: https://prometheus.io/docs/instrumenting/exposition_formats/
//! [1.0.0]: https://prometheus.io/docs/specs/om/open_metrics_spec/

use std::fmt::{Display, Write};

use super::Form;
use crate::account::document::{BUCKETS, Histogram};
use crate::account::time::Span;

const PREFIX: &str = "graceinit_";

/// The type of a family.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Writes one family after the other.
pub(super) struct Writer {
    form: Form,
    text: String,
}

/// The samples of a family.
pub(super) struct Family<'a> {
    name: String,
    text: &'a mut String,
}

impl Writer {
    pub(super) fn new(form: Form) -> Writer {
        Writer { form, text: String::new() }
    }

    /// Writes a family; `name` is the part between `graceinit_` and `_total`. A family without samples is left out.
    pub(super) fn family(
        &mut self,
        name: &str,
        kind: Kind,
        help: &str,
        samples: impl FnOnce(&mut Family<'_>),
    ) {
        let begin = self.text.len();
        let base = format!("{PREFIX}{name}");
        let sample = match kind {
            Kind::Counter => format!("{base}_total"),
            Kind::Gauge | Kind::Histogram => base.clone(),
        };
        let word = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let family = match self.form {
            Form::Text => &sample,
            // There the name of the family has no `_total`.
            Form::OpenMetrics => &base,
        };
        push(&mut self.text, format_args!("# HELP {family} {help}\n"));
        push(&mut self.text, format_args!("# TYPE {family} {word}\n"));
        if self.form == Form::OpenMetrics && base.ends_with("_seconds") {
            push(&mut self.text, format_args!("# UNIT {family} seconds\n"));
        }
        let head = self.text.len();
        samples(&mut Family { name: sample, text: &mut self.text });
        if self.text.len() == head {
            self.text.truncate(begin);
        }
    }

    /// The whole text.
    pub(super) fn end(mut self) -> String {
        if self.form == Form::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

impl Family<'_> {
    /// One sample. An empty label is the same as a missing one, so it is left out.
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.line("", labels, value);
    }

    /// A histogram: its buckets, each including all smaller ones, its sum and its count.
    pub(super) fn histogram(&mut self, labels: &[(&str, &str)], histogram: &Histogram) {
        let mut total = 0_u64;
        let mut bounds = BUCKETS.iter().map(|bound| seconds(bound * 1000));
        // The last bucket has no bound.
        let mut counts = histogram.buckets.iter();
        let with = |le: &'_ str, this: &mut Self, count: u64| {
            let mut all = labels.to_vec();
            all.push(("le", le));
            this.line("_bucket", &all, count);
        };
        for bound in &mut bounds {
            total = total.saturating_add(*counts.next().unwrap_or(&0));
            with(&bound, self, total);
        }
        total = counts.fold(total, |sum, count| sum.saturating_add(*count));
        with("+Inf", self, total);
        self.line("_sum", labels, seconds(histogram.sum.0));
        self.line("_count", labels, total);
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        push(self.text, format_args!("{}{suffix}", self.name));
        let mut before = '{';
        for (name, label) in labels.iter().filter(|(_, label)| !label.is_empty()) {
            push(self.text, format_args!("{before}{name}=\""));
            escape(label, self.text);
            self.text.push('"');
            before = ',';
        }
        push(self.text, format_args!("{} {value}\n", if before == ',' { "}" } else { "" }));
    }
}

fn push(text: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = text.write_fmt(what);
}

/// Escapes the value of a label, for both formats.
pub(super) fn escape(value: &str, text: &mut String) {
    for c in value.chars() {
        match c {
            '\\' => text.push_str(r"\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str(r"\n"),
            c => text.push(c),
        }
    }
}

/// Microseconds as seconds, exactly, as the canonical form of a float: `0.005`, `1.0`. OpenMetrics requires it of the
/// label `le`, and Prometheus 3 converts every `le` to it.
pub(super) fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    let short = text.trim_end_matches('0');
    match short.ends_with('.') {
        true => format!("{short}0"),
        false => short.to_owned(),
    }
}

/// The sum of two histograms.
pub(super) fn together(one: &Histogram, other: &Histogram) -> Histogram {
    let of = |all: &Histogram, place: usize| *all.buckets.get(place).unwrap_or(&0);
    let places = one.buckets.len().max(other.buckets.len());
    Histogram {
        count: one.count + other.count,
        sum: Span(one.sum.0.saturating_add(other.sum.0)),
        buckets: (0..places).map(|place| of(one, place) + of(other, place)).collect(),
    }
}
