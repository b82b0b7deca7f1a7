//! In real containers, `FROM scratch`: the image holds graceinit, the puppet and the test server, all
//! static, and nothing else.

#![allow(unreachable_pub, reason = "a tool box for the cases below")]

mod container;
mod drain;
mod dropin;
mod engine;
mod lack;
mod life;
mod oom;
mod plain;
mod podman;
mod rehearse;
mod release;
mod stop;
mod swarm;
mod traffic;
mod unread;

use crate::support::account::Line;

/// One option for each variable.
fn variables<'a>(pairs: &[&'a str]) -> Vec<&'a str> {
    pairs.iter().flat_map(|pair| ["--env", *pair]).collect()
}

/// The names of the phases that graceinit logged, in order.
fn phases(log: &[String]) -> Vec<&str> {
    let names = log.iter().filter_map(|line| line.split_once("phase=")?.1.split(' ').next());
    names.collect()
}

/// What graceinit wrote about those whom it had to kill.
fn survivors(log: &[String]) -> Vec<Line> {
    let of_one = |line: &&String| line.starts_with("graceinit: warn: still there pid=");
    log.iter().filter(of_one).cloned().map(Line).collect()
}
