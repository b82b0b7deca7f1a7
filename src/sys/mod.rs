//! Everything unsafe, and every call into the kernel, behind safe functions and newtypes. Knows
//! nothing of phases, hooks or options. Raw integers stay in here.
#![allow(unsafe_code)]

pub mod clock;
pub mod deadman;
pub mod fd;
pub mod helper;
pub mod last_report;
pub mod launch;
pub mod listen;
pub mod notify;
pub mod poll;
pub mod process;
mod raw;
pub mod reap;
pub mod signals;
pub mod sockdiag;
pub mod stat;
pub mod stderr;
pub mod tree;
pub mod tty;
