//! Whom a stop asks. `rows` has the shapes that users run, as stories with a fixed order of events;
//! `explore` walks through every order in small trees (`world`, `shapes`), and `planted` shows that a
//! bug would be seen. `state` tests what is remembered of a stop, `handling` what a process does with
//! a signal. `scene` builds trees.

mod explore;
mod handling;
mod planted;
mod rows;
mod scene;
mod shapes;
mod state;
mod world;
