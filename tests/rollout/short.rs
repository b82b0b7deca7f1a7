//! The short form: one round, a rate that any machine bears. What counts is the number of drops, never a time.

use std::process::Command;

use super::apps::{PYPI, Server};
use super::balancer::Kind;
use super::cases::{CASES, Case};
use super::update::{Report, roll};
use crate::support::{Fault, Outcome, Program, Status, need};
use crate::{ensure, ensure_eq};

fn needs(server: Server, balancer: Kind) -> bool {
    need::root()
        && need::pid_namespace()
        && need::program(&balancer.program().display().to_string())
        && need::program(&server.program())
        && need::peer(Program::Tini)
}

fn find(name: &str) -> Outcome<&'static Case> {
    CASES.iter().find(|case| case.name == name).ok_or_else(|| Fault::new("no such case"))
}

fn one_round(case: &Case, server: Server, rate: u32, init: Program) -> Outcome<Report> {
    let mut trial = case.trial(server, rate, init);
    trial.rounds = 1;
    // Stops that take long are long enough as one.
    trial.replaced = if case.bar > 10.0 { 1 } else { trial.replaced };
    roll(&trial)
}

/// Under graceinit nothing is dropped, no replica is killed, and each ends with this code. Under tini, all
/// else being the same, something is: else the test would prove nothing.
fn nothing_is_lost(case: &str, server: Server, rate: u32, code: i32) -> Outcome {
    let case = find(case)?;
    if !needs(server, case.balancer) {
        return Ok(());
    }
    all_is_answered(case, server, rate, code)?;
    let control = one_round(case, server, rate, Program::Tini)?;
    ensure!(control.tally.drops() > 0, "tini drops nothing either, of {}", control.tally.sent);
    Ok(())
}

fn all_is_answered(case: &Case, server: Server, rate: u32, code: i32) -> Outcome {
    let report = one_round(case, server, rate, Program::Graceinit)?;
    ensure_eq!(report.tally.drops(), 0, "drops under graceinit: {}", report.tally.drops_by_class());
    ensure_eq!(report.kills(), 0, "replicas that were killed");
    for stop in &report.stops {
        ensure_eq!(stop.status, Status::Code(code), "the end of a replica");
    }
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

#[test]
fn node_loses_nothing_with_every_default() -> Outcome {
    nothing_is_lost("defaults", Server::Node, 200, 0)
}

#[test]
fn python_loses_nothing_behind_envoy() -> Outcome {
    nothing_is_lost("envoy", Server::Python, 200, 143)
}

#[test]
fn python_loses_nothing_behind_caddy() -> Outcome {
    nothing_is_lost("caddy", Server::Python, 100, 143)
}

#[test]
fn node_loses_no_quick_and_no_slow_request_over_http2_behind_envoy() -> Outcome {
    nothing_is_lost("h2", Server::NodeHttp2, 100, 0)
}

#[test]
fn slow_and_quick_calls_of_grpc_are_all_answered() -> Outcome {
    let python = need::program(PYPI);
    let library = python && Command::new(PYPI).args(["-c", "import grpc"]).status()?.success();
    if !need::met(library, "grpcio of PyPI in target/python") {
        return Ok(());
    }
    nothing_is_lost("grpc", Server::Grpc, 40, 143)
}

#[test]
fn node_loses_no_slow_first_request_over_tls() -> Outcome {
    nothing_is_lost("tls", Server::NodeTls, 50, 0)
}

#[test]
fn python_loses_no_slow_first_request_over_tls() -> Outcome {
    nothing_is_lost("tls", Server::PythonTls, 30, 143)
}

#[test]
fn node_loses_no_answer_with_pauses_of_three_seconds() -> Outcome {
    nothing_is_lost("tokens", Server::Node, 50, 0)
}

#[test]
fn php_fpm_on_a_socket_loses_nothing_behind_nginx() -> Outcome {
    nothing_is_lost("unix", Server::Fpm, 60, 0)
}

#[test]
fn uwsgi_on_a_socket_loses_nothing_behind_nginx() -> Outcome {
    nothing_is_lost("unix", Server::Uwsgi, 40, 0)
}

#[test]
fn gunicorn_on_a_socket_loses_nothing_behind_nginx() -> Outcome {
    nothing_is_lost("unix", Server::GunicornSync, 40, 0)
}
