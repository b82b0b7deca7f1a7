//! The short form: one round, a rate that any machine bears. What counts is the number of drops, never a time.

use super::apps::Server;
use super::balancer::HAPROXY;
use super::cases::CASES;
use super::update::{Report, roll};
use crate::support::{Fault, Outcome, Program, Status, need};
use crate::{ensure, ensure_eq};

fn needs(server: Server) -> bool {
    need::root()
        && need::pid_namespace()
        && need::program(HAPROXY)
        && need::program(server.program())
        && need::peer(Program::Tini)
}

fn one_round(case: &str, server: Server, rate: u32, init: Program) -> Outcome<Report> {
    let case = CASES.iter().find(|known| known.name == case);
    let case = case.ok_or_else(|| Fault::new("no such case"))?;
    let mut trial = case.trial(server, rate, init);
    trial.rounds = 1;
    roll(&trial)
}

/// Under graceinit nothing is dropped, no replica is killed, and each ends with this code. Under tini, all
/// else being the same, something is: else the test would prove nothing.
fn nothing_is_lost(case: &str, server: Server, rate: u32, code: i32) -> Outcome {
    if !needs(server) {
        return Ok(());
    }
    let report = one_round(case, server, rate, Program::Graceinit)?;
    ensure_eq!(report.tally.drops(), 0, "drops under graceinit: {}", report.tally.drops_by_class());
    ensure_eq!(report.kills(), 0, "replicas that were killed");
    for stop in &report.stops {
        ensure_eq!(stop.status, Status::Code(code), "the end of a replica");
    }
    let control = one_round(case, server, rate, Program::Tini)?;
    ensure!(control.tally.drops() > 0, "tini drops nothing either, of {}", control.tally.sent);
    Ok(())
}

#[test]
fn python_loses_nothing_while_the_balancer_is_told_late() -> Outcome {
    nothing_is_lost("late", Server::Python, 200, 143)
}

#[test]
fn nginx_loses_nothing_while_the_balancer_is_told_late() -> Outcome {
    nothing_is_lost("late", Server::Nginx, 300, 0)
}

#[test]
fn python_loses_nothing_while_the_balancer_asks_itself() -> Outcome {
    nothing_is_lost("checks", Server::Python, 200, 143)
}

#[test]
fn python_without_privileges_loses_nothing() -> Outcome {
    nothing_is_lost("uid", Server::Python, 200, 143)
}
