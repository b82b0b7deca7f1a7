//! The table: a row per shape, a column per init, as Markdown.

use std::time::Duration;

use super::run::{Cell, Runner};
use super::shape::Shape;

pub(crate) fn head(inits: &[Runner]) -> String {
    let names: String = inits.iter().map(|init| format!(" {} |", init.name())).collect();
    format!("| shape |{names}\n|---|{}", "---|".repeat(inits.len()))
}

pub(crate) fn row(shape: &Shape, cells: &[Option<Cell>]) -> String {
    let cells: String =
        cells.iter().map(|cell| format!(" {} |", cell.map_or("–".to_owned(), text))).collect();
    format!("| {} |{cells}", shape.name)
}

/// `saved`, `LOST`; `2×` for an app that was asked twice; K for SIGKILL; seconds.
pub(crate) fn text(cell: Cell) -> String {
    let mut words = vec![if cell.saved { "saved" } else { "**LOST**" }.to_owned()];
    match cell.asked {
        Some(0) => words.push("0×".into()),
        Some(count) if count > 1 => words.push(format!("**{count}×**")),
        _ => {}
    }
    if cell.killed {
        words.push("K".into());
    }
    words.push(format!("{:.1}", cell.took.as_secs_f64()));
    words.join(" ")
}

/// Who saved the work, or asked once, where graceinit as it is did not.
pub(crate) fn worse(inits: &[Runner], row: &[Option<Cell>]) -> Option<&'static str> {
    let place = inits.iter().position(|init| *init == Runner::Graceinit)?;
    let ours = row.get(place).copied().flatten()?;
    let better =
        |(_, cell): &(&Runner, &Option<Cell>)| cell.is_some_and(|cell| cell.rank() < ours.rank());
    inits.iter().zip(row).find(better).map(|(init, _)| init.name())
}

/// How many seconds graceinit took longer than the quickest that saved the work and asked once.
pub(crate) fn slower(runners: &[Runner], row: &[Option<Cell>]) -> Option<f64> {
    let place = runners.iter().position(|runner| *runner == Runner::Graceinit)?;
    let ours = row.get(place).copied().flatten()?;
    let good = |cell: &&Cell| cell.rank() == (false, false) && !cell.killed;
    let quickest = row.iter().flatten().filter(good).map(|cell| cell.took).min()?;
    let longer = ours.took.saturating_sub(quickest);
    (longer > TOLERATED).then_some(longer.as_secs_f64())
}

/// What graceinit may take longer than the quickest without being mentioned.
const TOLERATED: Duration = Duration::from_millis(500);

/// What the cells say.
pub(crate) const LEGEND: &str = "\
Cells: was the work saved or lost, how often the app was asked where it was not once (and where that can be seen), K if the
container was killed 7 s after the stop signal, seconds from the signal to the end.";
