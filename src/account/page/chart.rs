//! Draws to scale: rows of bars and moments below one axis. A drawing is as wide as the page, so every place in it is a
//! share of the width; text keeps its size.

use std::fmt;

use super::super::time::Span;
use super::html::{self, Html};

/// The most ticks: more would overlap on a phone.
const TICKS: u64 = 6;

/// The part of a life that a drawing shows.
#[derive(Clone, Copy)]
pub(super) struct Window {
    from: Span,
    to: Span,
}

/// A place in the drawing, in hundredths of the width.
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug)]
pub(super) struct Share(pub f64);

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}%", self.0)
    }
}

impl Window {
    /// At least a millisecond long.
    pub(super) fn new(from: Span, to: Span) -> Window {
        Window { from, to: to.max(later(from, Span(1000))) }
    }

    pub(super) fn end(&self) -> Span {
        self.to
    }

    /// The place of a moment; one outside is at the edge.
    pub(super) fn place(&self, at: Span) -> Share {
        let whole = self.to.since(self.from).0.max(1);
        let part = at.since(self.from).0.min(whole);
        Share(part as f64 * 100.0 / whole as f64)
    }

    /// Whether a moment is inside.
    pub(super) fn shows(&self, at: Span) -> bool {
        (self.from..=self.to).contains(&at)
    }

    /// Round times at equal distances, from its beginning on.
    pub(super) fn ticks(&self) -> Vec<Span> {
        const SECOND: u64 = 1_000_000;
        const DAY: u64 = 86_400 * SECOND;
        const STEPS: [u64; 25] = [
            1_000,
            2_000,
            5_000,
            10_000,
            20_000,
            50_000,
            100_000,
            200_000,
            500_000,
            SECOND,
            2 * SECOND,
            5 * SECOND,
            10 * SECOND,
            20 * SECOND,
            60 * SECOND,
            120 * SECOND,
            300 * SECOND,
            600 * SECOND,
            1_200 * SECOND,
            3_600 * SECOND,
            2 * 3_600 * SECOND,
            4 * 3_600 * SECOND,
            12 * 3_600 * SECOND,
            DAY,
            2 * DAY,
        ];
        let whole = self.to.since(self.from).0;
        let fits = |step: &u64| whole / step <= TICKS;
        let days = || (whole / DAY / TICKS + 1).saturating_mul(DAY);
        let step = STEPS.into_iter().find(fits).unwrap_or_else(days);
        (0..=whole / step).map(|count| Span(count * step)).collect()
    }
}

/// `at` + `more`.
pub(super) fn later(at: Span, more: Span) -> Span {
    Span(at.0.saturating_add(more.0))
}

/// A bar or a moment in a row.
pub(super) struct Mark {
    /// Its class in the style sheet.
    pub ink: &'static str,
    /// When it begins.
    pub from: Span,
    /// When it ends; `None`: a moment.
    pub to: Option<Span>,
    /// Its title.
    pub title: String,
}

/// A row.
pub(super) struct Row {
    /// Its class in the style sheet.
    pub class: &'static str,
    /// The text on the left.
    pub label: String,
    /// What is drawn.
    pub marks: Vec<Mark>,
    /// The text on the right.
    pub note: Html,
}

impl Row {
    pub(super) fn new(class: &'static str, label: impl Into<String>) -> Row {
        Row { class, label: label.into(), marks: Vec::new(), note: Html::default() }
    }

    pub(super) fn bar(
        &mut self,
        ink: &'static str,
        (from, to): (Span, Span),
        title: impl Into<String>,
    ) -> &mut Row {
        self.marks.push(Mark { ink, from, to: Some(to), title: title.into() });
        self
    }

    pub(super) fn moment(&mut self, ink: &'static str, at: Span, title: impl Into<String>) {
        self.marks.push(Mark { ink, from: at, to: None, title: title.into() });
    }
}

/// A vertical line through all rows.
pub(super) struct Marker {
    /// Its class in the style sheet.
    pub ink: &'static str,
    /// When.
    pub at: Span,
}

/// Draws the rows below an axis.
pub(super) fn draw(out: &mut Html, window: Window, name: &str, rows: Vec<Row>, markers: &[Marker]) {
    begin(out, window, name, markers);
    for row in rows {
        draw_row(out, window, row);
    }
    out.raw("</ul>\n");
}

/// Begins a drawing: its axis and its markers.
pub(super) fn begin(out: &mut Html, window: Window, name: &str, markers: &[Marker]) {
    out.raw("<ul class=\"chart\"").attr("aria-label", name).raw(">\n");
    axis(out, window, markers);
}

fn axis(out: &mut Html, window: Window, markers: &[Marker]) {
    let ticks = window.ticks();
    out.raw("<li class=\"axis\" aria-hidden=\"true\"><svg class=\"ticks\">");
    for tick in &ticks {
        let place = window.place(later(window.from, *tick));
        // Centred text would be cut off at the edges.
        let anchor = match place.0 {
            0.0..3.0 => "start",
            97.0.. => "end",
            _ => "middle",
        };
        let text = if tick.0 == 0 { "0".to_owned() } else { html::round(*tick) };
        out.raw("<text y=\"12\"").attr("x", place).attr("text-anchor", anchor).raw(">");
        out.text(text).raw("</text>");
    }
    out.raw("</svg><svg class=\"grid\">");
    for tick in &ticks {
        line(out, "tick", window.place(later(window.from, *tick)));
    }
    for marker in markers.iter().filter(|marker| window.shows(marker.at)) {
        line(out, marker.ink, window.place(marker.at));
    }
    out.raw("</svg></li>\n");
}

fn line(out: &mut Html, ink: &'static str, at: Share) {
    out.raw("<line y1=\"0\" y2=\"100%\"").attr("x1", at).attr("x2", at);
    out.attr("class", ink).raw("/>");
}

fn draw_row(out: &mut Html, window: Window, row: Row) {
    let names: Vec<&str> = row.marks.iter().map(|mark| mark.title.as_str()).collect();
    out.raw("<li").attr("class", row.class).raw("><span class=\"label\">").text(&row.label);
    out.raw("</span><svg class=\"bars\" role=\"img\"").attr("aria-label", names.join("; "));
    out.raw(">");
    for mark in &row.marks {
        let from = window.place(mark.from);
        match mark.to {
            Some(to) => {
                // Wide enough to be visible.
                let width = (window.place(to).0 - from.0).max(0.25);
                let left = from.0.min(100.0 - width);
                out.raw("<rect y=\"0\" height=\"100%\"").attr("x", Share(left));
                out.attr("width", Share(width)).attr("class", mark.ink).raw(">");
                out.tag("title", &mark.title).raw("</rect>");
            }
            None => {
                out.raw("<svg y=\"50%\" class=\"moment\"").attr("x", from).raw("><path");
                out.attr("class", mark.ink).raw(" d=\"M0-6 5 0 0 6-5 0z\">");
                out.tag("title", &mark.title).raw("</path></svg>");
            }
        }
    }
    out.raw("</svg><span class=\"note\">").add(row.note).raw("</span></li>\n");
}

/// Shows that the part between these places of the drawing above fills the one below, with this name.
pub(super) fn magnify(out: &mut Html, (from, to): (Share, Share), name: &'static str, note: Html) {
    out.raw("<div class=\"zoom\"><h3>").raw(name).raw("</h3><svg class=\"lens\" ");
    out.raw("viewBox=\"0 0 100 10\" preserveAspectRatio=\"none\" aria-hidden=\"true\">");
    out.raw("<polygon points=\"");
    out.text(format_args!("{:.3},0 {:.3},0 100,10 0,10", from.0, to.0.max(from.0 + 0.25)));
    out.raw("\"/></svg><span class=\"note\">").add(note).raw("</span></div>\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000;

    #[test]
    fn places_are_to_scale_and_never_outside() {
        let window = Window::new(Span(10 * S), Span(20 * S));
        for (at, share) in [(0, 0.0), (10, 0.0), (15, 50.0), (20, 100.0), (1 << 40, 100.0)] {
            assert_eq!(window.place(Span(at * S)), Share(share), "{at}");
        }
        assert!(window.shows(Span(20 * S)) && !window.shows(Span(20 * S + 1)));
        let nothing = Window::new(Span(u64::MAX), Span(0));
        assert_eq!(nothing.place(Span(u64::MAX)), Share(0.0));
    }

    #[test]
    fn ticks_are_few_and_round() {
        let ticks = |span: u64| Window::new(Span(S), Span(S + span)).ticks();
        assert_eq!(ticks(10 * S).len(), 6, "every two seconds");
        assert_eq!(ticks(10 * S)[1], Span(2 * S));
        assert_eq!(ticks(3 * 3600 * S)[1], Span(3600 * S));
        for span in [0, 1, 999, 1000, 7 * S, 61 * S, 86_400 * S, 400 * 86_400 * S, u64::MAX - S] {
            let ticks = ticks(span);
            assert!((1..=7).contains(&ticks.len()), "{span}: {ticks:?}");
            assert_eq!(ticks[0], Span(0));
        }
    }
}
