//! Unary calls of gRPC through Envoy: the client is a program of its own.

use std::process::Command;
use std::time::Duration;

use graceinit::sys::clock;
use graceinit::tools::rehearse::answer::Class;
use graceinit::tools::rehearse::tally::{Dropped, Tally};

use super::apps::PYPI;
use super::load::Mix;
use super::replica::Stop;
use super::update::{Trial, roll_under};
use crate::support::client::Client;
use crate::support::{Fault, Outcome};

const CALLS: &str = include_str!("apps/calls.py");

/// Rolls the service over under calls.
pub(super) fn roll(trial: &Trial) -> Outcome<(Tally, Vec<Stop>)> {
    let slow = u8::from(trial.mix == Mix::Slow);
    let (line, stops) = roll_under(trial, |to, replace| {
        let mut client = Client::start(Command::new(PYPI).args(["-c", CALLS, "call"]).args([
            to.to_string(),
            trial.rate.to_string(),
            slow.to_string(),
        ]))?;
        client.out.until("steady")?;
        replace()?;
        client.say("stop")?;
        client.out.until("calls=")
    })?;
    let calls = line.get("calls").ok_or_else(|| Fault::new("no calls"))?;
    let mut tally = Tally::default();
    for (number, call) in calls.split(',').enumerate() {
        take(&mut tally, number, call).ok_or_else(|| Fault::new(format!("a call is {call:?}")))?;
    }
    Ok((tally, stops))
}

/// Counts one call: what it was to take in milliseconds, the microseconds that it took, its status in gRPC.
fn take(tally: &mut Tally, number: usize, call: &str) -> Option<()> {
    let mut parts = call.split(':').map(|part| part.parse::<u64>().ok());
    let (own, took, status) = (parts.next()??, parts.next()??, parts.next()??);
    tally.sent += 1;
    match u16::try_from(status).ok()? {
        0 => tally.answered(Duration::from_micros(took), Duration::from_millis(own)),
        status => tally.dropped(Dropped {
            at: clock::now(),
            path: format!("call {number}, {own} ms"),
            class: Class::Status(status),
        }),
    }
    Some(())
}
