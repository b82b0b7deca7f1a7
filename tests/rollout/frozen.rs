//! An app that hangs after its start is not ready: with `--health` a balancer that asks graceinit learns what the app
//! itself would tell it. The app of one of three replicas is stopped by SIGSTOP, and goes on later.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::apps::{Server, Site};
use super::balancer::{Balancer, Front, Kind, Notice};
use super::load::{Mix, Plan, start};
use super::replica::{Replica, Setup};
use super::{REPLICAS, SLOTS, Slot};
use crate::support::port::free_port;
use crate::support::{Outcome, Program, need, proc, sys};
use crate::{ensure, ensure_eq};

const OPTIONS: &str =
    "--listen {ip}:{check} --health http://{ip}:{port}/sleep/0/0 --health-timeout 500ms";
const RATE: u32 = 50;
/// An answer is shared for 1 s, the balancer asks every 0.5 s, the app has 0.5 s to answer; and as much again for a busy
/// machine.
const NOTICED: Duration = Duration::from_secs(4);
const TIMEOUT: Duration = Duration::from_secs(30);

/// How often PID 1 has waited until now.
fn waits(replicas: &[Replica]) -> Vec<Option<String>> {
    replicas.iter().map(|one| proc::status_field(one.init, "voluntary_ctxt_switches")).collect()
}

fn traffic_leaves_a_frozen_app_and_comes_back(kind: Kind) -> Outcome {
    let server = Server::Node;
    if !need::root()
        || !need::pid_namespace()
        || !need::program(&kind.program().display().to_string())
        || !need::program(&server.program())
    {
        return Ok(());
    }
    let site = Site::new(server)?;
    let ip = Ipv4Addr::LOCALHOST;
    let mut slots = [Slot { ip, port: 0, check: 0 }; SLOTS];
    for slot in &mut slots {
        *slot = Slot { ip, port: free_port()?, check: free_port()? };
    }
    let setup = Setup {
        init: Program::Graceinit,
        path: None,
        server,
        options: OPTIONS.to_owned(),
        profile: true,
        unprivileged: false,
    };
    let replicas: Vec<Replica> = slots[..REPLICAS]
        .iter()
        .map(|slot| Replica::start(&setup, &site, *slot))
        .collect::<Outcome<_>>()?;
    let front = Front {
        site: &site,
        slots: &slots,
        notice: Notice::Checks,
        check: "/readyz",
        pool: true,
        idle: Duration::from_secs(60),
        interval: Duration::from_millis(500),
        wire: server.wire(),
    };
    let balancer = Balancer::start(kind, &front)?;
    let until = |slot: usize, used: bool| {
        proc::poll_within(NOTICED, &format!("used={used} of slot {slot}"), || {
            balancer.uses(slot).is_ok_and(|now| now == used).then_some(())
        })
    };
    for slot in 0..SLOTS {
        until(slot, slot < REPLICAS)?;
    }
    let plan = Plan {
        to: balancer.address,
        rate: RATE,
        mix: Mix::Short,
        method: "GET",
        timeout: TIMEOUT,
        limit: u64::MAX,
        keep_alive: false,
    };
    let load = start(plan)?;
    let some_more = || {
        let goal = load.answered() + 2 * u64::from(RATE);
        proc::poll_within(TIMEOUT, "answers", || (load.answered() >= goal).then_some(()))
    };
    some_more()?;
    // The balancer asks all the time, and PID 1 has nothing to do with that.
    let before = waits(&replicas);
    ensure!(before.iter().all(Option::is_some), "no counts");
    some_more()?;
    ensure_eq!(waits(&replicas), before, "how often PID 1 has woken up");
    let app =
        proc::children(replicas[0].init).into_iter().find(|child| child.comm.starts_with("node"));
    let Some(app) = app else { return Err(crate::support::Fault::new("no app")) };
    sys::kill(app.pid, libc::SIGSTOP)?;
    let frozen = Instant::now();
    until(0, false)?;
    let left = frozen.elapsed();
    ensure!(left <= NOTICED, "traffic left after {left:?}");
    for slot in 1..REPLICAS {
        ensure!(balancer.uses(slot)?, "slot {slot} has left too");
    }
    some_more()?;
    sys::kill(app.pid, libc::SIGCONT)?;
    until(0, true)?;
    some_more()?;
    // What the frozen app had been sent before traffic left it was answered later.
    let tally = load.stop()?;
    ensure_eq!(tally.drops(), 0, "drops: {}", tally.drops_by_class());
    Ok(())
}

#[test]
fn haproxy_learns_of_an_app_that_hangs() -> Outcome {
    traffic_leaves_a_frozen_app_and_comes_back(Kind::Haproxy)
}

#[test]
fn envoy_learns_of_an_app_that_hangs() -> Outcome {
    traffic_leaves_a_frozen_app_and_comes_back(Kind::Envoy)
}
