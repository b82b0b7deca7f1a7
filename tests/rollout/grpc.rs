//! Unary calls of gRPC through Envoy: its client is a program of its own.

use std::process::Command;

use super::apps::{PYPI, Server};
use super::balancer::Kind;
use super::cases::CASES;
use super::update::roll_under;
use crate::support::client::Client;
use crate::support::{Fault, Outcome, Program, need};
use crate::{ensure, ensure_eq};

const CALLS: &str = include_str!("apps/calls.py");

/// How many calls failed, in words that the client prints.
fn calls(init: Program) -> Outcome<(u32, String)> {
    let case =
        CASES.iter().find(|case| case.name == "grpc").ok_or_else(|| Fault::new("no case"))?;
    let mut trial = case.trial(Server::Grpc, 0, init);
    (trial.rounds, trial.replaced) = (1, 1);
    let (line, _) = roll_under(&trial, |to, replace| {
        let mut client =
            Client::start(Command::new(PYPI).args(["-c", CALLS, "call", &to.to_string()]))?;
        client.out.until("steady")?;
        replace()?;
        client.say("stop")?;
        client.out.until("sent=")
    })?;
    let failed = line.get("failed").and_then(|count| count.parse().ok());
    Ok((failed.ok_or_else(|| Fault::new(format!("no count: {}", line.0)))?, line.0))
}

#[test]
fn slow_and_quick_calls_of_grpc_are_all_answered() -> Outcome {
    let needs = need::root()
        && need::pid_namespace()
        && need::program(&Kind::Envoy.program().display().to_string())
        && need::peer(Program::Tini);
    let library = needs && Command::new(PYPI).args(["-c", "import grpc"]).status()?.success();
    if !needs || !need::met(library, "grpcio of PyPI in target/python") {
        return Ok(());
    }
    let (failed, line) = calls(Program::Graceinit)?;
    ensure_eq!(failed, 0, "calls under graceinit: {line}");
    let (failed, line) = calls(Program::Tini)?;
    ensure!(failed > 0, "no call failed under tini either: {line}");
    Ok(())
}
