//! The table: a row per shape, a column per init, as Markdown.

use super::run::{Cell, Init};
use super::shape::Shape;

pub(crate) fn head(inits: &[Init]) -> String {
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
pub(crate) fn worse(inits: &[Init], row: &[Option<Cell>]) -> Option<&'static str> {
    let place = inits.iter().position(|init| *init == Init::Graceinit)?;
    let ours = row.get(place).copied().flatten()?;
    let better =
        |(_, cell): &(&Init, &Option<Cell>)| cell.is_some_and(|cell| cell.rank() < ours.rank());
    inits.iter().zip(row).find(better).map(|(init, _)| init.name())
}

/// What the cells say.
pub(crate) const LEGEND: &str = "\
Cells: was the work saved or lost, how often the app was asked where it was not once (and where that can be seen), K if the
container was killed 7 s after the stop signal, seconds from the signal to the end.";
