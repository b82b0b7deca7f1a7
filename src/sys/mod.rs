//! All unsafe code and all system calls, behind safe functions and newtypes. Raw integers stay in this room. It uses
//! the vocabulary of `types`, and the grammar of sd_notify in `notify`, and no other room.
#![allow(unsafe_code)]

pub mod cgroup;
pub mod clock;
pub mod deadman;
pub mod deputy;
pub mod dial;
pub mod epoll;
pub mod fd;
pub mod heap;
pub mod helper;
pub mod last_report;
pub mod launch;
pub mod listen;
pub mod mounts;
pub mod nested;
pub mod notify;
pub mod poll;
pub mod process;
pub mod proctree;
mod raw;
pub mod reap;
pub mod room;
pub mod safe_path;
pub mod sharing;
pub mod signals;
pub mod sockdiag;
pub mod stat;
pub mod stderr;
pub mod tree;
pub mod tty;
