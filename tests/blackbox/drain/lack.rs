//! Where the kernel does not tell of connections: requests that come until the balancer is told are answered all the same,
//! and the connections that the balancer keeps do not cost the whole budget.

use std::process::Command;
use std::sync::OnceLock;

use super::{PYTHON, WITHOUT_SOCK_DIAG};
use crate::support::{Outcome, Program, need};
use crate::{ensure, ensure_eq};

/// nginx behind HAProxy; its head says what is done.
const STOP: &str = include_str!("lack.py");
/// Half a second of work is in progress when the delay of one second is over.
const FLAGS: &str =
    "-v --platform none --grace 30s --drain {port} --drain-delay 1s --drain-idle 1s";
/// gVisor's program. Its other platforms need KVM, or a newer one.
const GVISOR: [&str; 5] =
    ["runsc", "--platform=ptrace", "--network=none", "--ignore-cgroups", "do"];

fn needs() -> bool {
    need::root() && ["/usr/sbin/haproxy", "/usr/sbin/nginx", PYTHON].into_iter().all(need::program)
}

/// What was printed, and how many requests were dropped.
fn stop(before: &[&str], init: &str, flags: &str) -> Outcome<(String, u32)> {
    let mut command = Command::new("/usr/bin/setpriv");
    command.args(["--pdeathsig", "KILL"]).args(before).args([PYTHON, "-IS", "-c", STOP, init]);
    let output = command.args(flags.split_whitespace()).output()?;
    let text = String::from_utf8_lossy(&[output.stderr, output.stdout].concat()).into_owned();
    let dropped = text.lines().find_map(|line| {
        line.strip_prefix("sent=")?.split_once(" dropped=")?.1.split(' ').next()?.parse().ok()
    });
    ensure!(output.status.success() && dropped.is_some(), "no end: {text}");
    Ok((text, dropped.unwrap_or_default()))
}

fn nothing_is_dropped(before: &[&str]) -> Outcome {
    let init = Program::Graceinit.path();
    let (log, dropped) = stop(before, &init.display().to_string(), FLAGS)?;
    ensure_eq!(dropped, 0, "dropped requests: {log}");
    let warnings = log.matches("unable to ask the kernel for connections (sock_diag)").count();
    ensure_eq!(warnings, 1, "warnings: {log}");
    let drained = log
        .lines()
        .find_map(|line| line.split_once("graceinit: info: drained ")?.1.split_once("after="));
    let after = drained.and_then(|(_, after)| after.strip_suffix('s')?.parse::<f64>().ok());
    // The delay, the idle time, and as much again for a busy machine.
    ensure!(after.is_some_and(|after| after <= 4.0), "the drain took {after:?}: {log}");
    Ok(())
}

#[test]
fn a_pool_behind_haproxy_without_sock_diag() -> Outcome {
    if !need::x86_64() || !needs() {
        return Ok(());
    }
    nothing_is_dropped(&[PYTHON, "-IS", "-c", WITHOUT_SOCK_DIAG])
}

/// gVisor has no sock_diag, and its /proc/net/tcp shows no queues.
#[test]
fn a_pool_behind_haproxy_in_gvisor() -> Outcome {
    static RUNS: OnceLock<bool> = OnceLock::new();
    if !needs() || !need::program("/usr/bin/runsc") {
        return Ok(());
    }
    let [program, arguments @ ..] = GVISOR;
    let runs = RUNS.get_or_init(|| {
        let tried = Command::new(program).args(arguments).arg("/bin/true").output();
        tried.is_ok_and(|output| output.status.success())
    });
    if !need::met(*runs, "gVisor (runsc do)") {
        return Ok(());
    }
    nothing_is_dropped(&GVISOR)
}

/// Else the others would prove nothing.
#[test]
fn the_same_stop_under_tini_drops_requests() -> Outcome {
    if !needs() || !need::peer(Program::Tini) {
        return Ok(());
    }
    let (log, dropped) = stop(&[], &Program::Tini.path().display().to_string(), "")?;
    ensure!(dropped > 0, "nothing was dropped: {log}");
    Ok(())
}
