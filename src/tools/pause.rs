//! `-P`: the pause process of a pod, which holds its namespaces and reaps the orphans in them. The same as `catatonit
//! -P`, which podman runs as a pod's infra container and, without a container, as the process that keeps a user's
//! namespaces.

use std::os::fd::AsFd;

use crate::reaper::{Finding, Reaper};
use crate::sys::signals::{self, Disposition, Source};
use crate::sys::{clock, fd, poll, process, reap};
use crate::types::Signal;

/// Waits for TERM or INT; every other signal is ignored.
///
/// # Errors
/// The reason why it cannot, and what to do.
pub fn run() -> Result<(), String> {
    fd::reserve_stdio();
    let source = Source::open().map_err(|error| {
        format!("unable to open a signalfd: {error}; raise the limit of open files (ulimit -n)")
    })?;
    // With SIGCHLD inherited as ignored, none would be sent.
    signals::set_disposition(Signal::CHLD, Disposition::Default);
    if !process::is_first() {
        process::become_subreaper().map_err(|error| {
            format!("unable to become a child subreaper: {error}; orphans would not be reaped")
        })?;
    }
    // The file system that it was started in can be unmounted.
    process::leave_directory();
    fd::close_inherited(&[source.as_fd()]);
    let mut reaper = Reaper::default();
    let mut incoming = Vec::new();
    // There may be zombies already.
    reaper.ask();
    loop {
        while let Some(finding) = reaper.next(clock::now()) {
            match finding {
                Finding::Ended(pid) => {
                    if reap::reap(pid).is_some() {
                        reaper.reaped(pid);
                    }
                }
                Finding::NoChild => {}
            }
        }
        poll::wait(&[source.as_fd()], reaper.due(), clock::now());
        incoming.clear();
        source.read(&mut incoming, true);
        for signal in &incoming {
            match signal.signal {
                Signal::TERM | Signal::INT => return Ok(()),
                Signal::CHLD => {
                    // Reaping by pid costs the same however many children there are.
                    if signal.pid.0 > 0 {
                        reap::reap(signal.pid);
                    }
                    reaper.ask();
                }
                _ => {}
            }
        }
    }
}
