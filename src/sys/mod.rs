//! Everything unsafe, and every call into the kernel, behind safe functions and newtypes. Knows
//! nothing of phases, hooks or options. Raw integers stay in here.
#![allow(unsafe_code)]

pub mod aside;
mod child;
pub mod clock;
pub mod deadman;
pub mod early;
pub mod fd;
pub mod listen;
pub mod notify;
pub mod poll;
pub mod process;
pub mod proctree;
mod raw;
pub mod reap;
pub mod signals;
pub mod sockdiag;
pub mod spawn;
pub mod stderr;
pub mod tree;
pub mod tty;
pub mod will;
