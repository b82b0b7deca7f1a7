//! Is the work saved, is the app asked once? Entry scripts and servers of all shapes, stopped as a platform stops a
//! container: TERM, and SIGKILL 7 s later. Each is an entry of data; the same code makes the short tests here and the
//! long table of `cargo bench --bench shapes`.

#![allow(dead_code, reason = "the tests and the long form take different parts of it")]

mod beside;
mod leftovers;
mod pipes;
pub(crate) mod run;
mod servers;
pub(crate) mod shape;
pub(crate) mod table;
mod traps;
mod wrappers;

#[cfg(test)]
mod short;

use shape::Shape;

/// What lies in the directory of every shape.
const APPS: &[(&str, &str)] = &[
    ("app.py", include_str!("apps/app.py")),
    ("app.js", include_str!("apps/app.js")),
    ("App.java", include_str!("apps/App.java")),
    ("parent.py", include_str!("apps/parent.py")),
    ("pool.py", include_str!("apps/pool.py")),
    ("tasks.py", include_str!("apps/tasks.py")),
    ("tunnel.py", include_str!("apps/tunnel.py")),
    ("web.py", include_str!("apps/web.py")),
];

/// The one shape that cannot be told from another by /proc: one of the two loses. `--scope main` is its cure.
pub(crate) const UNTOLD: &str = "supervisor_with_a_long_drain";

/// All shapes, in the order of the table.
pub(crate) fn all() -> impl Iterator<Item = &'static Shape> {
    [
        traps::SHAPES,
        pipes::SHAPES,
        leftovers::SHAPES,
        beside::SHAPES,
        wrappers::SHAPES,
        servers::SHAPES,
    ]
    .into_iter()
    .flatten()
}
