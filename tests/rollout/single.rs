//! A service with a single replica, replaced: Kubernetes sends to a pod that ends as long as it is serving and no other
//! is ready (KEP-1669). The model: the new pod is a server, the old one its backup, and a probe decides of each.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use graceinit::tools::rehearse::tally::Tally;

use super::Slot;
use super::apps::{Server, Site};
use super::balancer::{Balancer, HAPROXY};
use super::load::{Mix, Plan, start};
use super::replica::{Replica, Setup};
use crate::support::port::free_port;
use crate::support::{Outcome, Program, need, proc};
use crate::{ensure, ensure_eq};

const RATE: u32 = 100;
const TIMEOUT: Duration = Duration::from_secs(30);

/// Replaces the replica. `probe`: the path that the kubelet asks, which is what kube-proxy knows.
fn replace(probe: &str) -> Outcome<Tally> {
    let server = Server::Node;
    let site = Site::new(server)?;
    let ip = Ipv4Addr::LOCALHOST;
    let slot = || -> Outcome<Slot> { Ok(Slot { ip, port: free_port()?, check: free_port()? }) };
    let (old, new) = (slot()?, slot()?);
    let setup = |more: &str| Setup {
        init: Program::Graceinit,
        path: None,
        server,
        options: format!(
            "--grace 25s --drain {{port}} --drain-idle 1s --listen {{ip}}:{{check}} {more}"
        ),
        profile: true,
        unprivileged: false,
    };
    let check = |slot: &Slot| {
        format!("{} check port {} inter 200ms fall 1 rise 1", slot.address(), slot.check)
    };
    let address = SocketAddrV4::new(ip, free_port()?);
    let text = format!(
        "http-reuse always\nfrontend front\n bind {address}\n default_backend back\n\
         backend back\n option httpchk GET {probe}\n http-check expect status 200\n\
         server r0 {} backup\n server r1 {}\n",
        check(&old),
        check(&new)
    );
    let ends = Replica::start(&setup(""), &site, old)?;
    let balancer = Balancer::haproxy_with(&site.place, address, &text)?;
    let uses = |slot: usize, used: bool| {
        proc::poll("the check", || balancer.uses(slot).is_ok_and(|now| now == used).then_some(()))
    };
    uses(0, true)?;
    uses(1, false)?;
    let (rate, mix) = (RATE, Mix::Short);
    let load = start(Plan {
        to: address,
        rate,
        mix,
        method: "GET",
        timeout: TIMEOUT,
        limit: u64::MAX,
        keep_alive: false,
    })?;
    let some_more = || {
        let goal = load.sent() + u64::from(RATE);
        proc::poll_within(TIMEOUT, "requests", || (load.sent() >= goal).then_some(()))
    };
    some_more()?;
    // The new one is ready half a second after the stop signal of the old one.
    let mut begins = None;
    ends.stop(Duration::ZERO, TIMEOUT, || {
        begins = Some(Replica::start(&setup("--ready after:500ms"), &site, new)?);
        uses(1, true)
    })?;
    some_more()?;
    let tally = load.stop()?;
    drop(begins);
    Ok(tally)
}

#[test]
fn a_single_replica_is_replaced_without_a_gap_if_the_probe_asks_servez() -> Outcome {
    if !need::root()
        || !need::pid_namespace()
        || !need::program(HAPROXY)
        || !need::program(&Server::Node.program())
    {
        return Ok(());
    }
    let tally = replace("/servez")?;
    ensure_eq!(tally.drops(), 0, "drops with /servez: {}", tally.drops_by_class());
    // What is not ready is sent nothing, and there is no other.
    let control = replace("/readyz")?;
    ensure!(control.drops() > 0, "nothing was dropped with /readyz, of {}", control.sent);
    Ok(())
}
