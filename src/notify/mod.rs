//! The grammar of sd_notify(3): the messages of the app, the rule for who may send them, and the messages to the
//! service manager that started graceinit. Pure: no socket, no clock, no log.

use std::fmt;
use std::time::Duration;

use crate::types::text::is_harmful;
use crate::types::{Pid, Time};

/// The length of the longest status, in characters. The status appears in log lines and pages.
const STATUS_MAX: usize = 200;

/// One notice of the app.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Notice {
    /// The app is ready, at the start or after a reload.
    Ready,
    /// The app has begun to stop.
    Stopping,
    /// The app reloads its configuration, until [`Notice::Ready`].
    Reloading,
    /// What the app is doing, in one line; may be empty.
    Status(String),
    /// EXTEND_TIMEOUT_USEC: the app needs this much time from now on.
    MoreTime(Duration),
    /// The app is alive.
    Watchdog,
    /// The app wants to be treated as if it had missed its watchdog.
    WatchdogTrigger,
    /// From now on the app sends [`Notice::Watchdog`] at this interval. Never zero.
    WatchdogInterval(Duration),
    /// Another process is the main process now. The number is positive, but not checked otherwise.
    MainPid(i32),
    /// The app failed with this errno.
    Errno(i32),
    /// The sender waits until all earlier messages are handled.
    Barrier,
}

/// Parses a datagram into notices, in the order in which they have to be handled. The rules are those of systemd's
/// manager: the last of READY, STOPPING and RELOADING counts, and the first of every other variable; unknown
/// variables and values that are not as documented are ignored.
pub fn parse(datagram: &[u8]) -> Vec<Notice> {
    // A C program may send the NUL at the end of its string. Any other NUL is against the protocol.
    let text = datagram.strip_suffix(b"\0").unwrap_or(datagram);
    if text.contains(&0) {
        return Vec::new();
    }
    let lines = || text.split(|byte| matches!(byte, b'\n' | b'\r')).filter(|line| !line.is_empty());
    if lines().any(|line| line == b"BARRIER=1") {
        // A barrier has to be alone (sd_notify(3)).
        return if lines().count() == 1 { vec![Notice::Barrier] } else { Vec::new() };
    }
    let mut state = lines().filter_map(|line| match line {
        b"READY=1" => Some(Notice::Ready),
        b"STOPPING=1" => Some(Notice::Stopping),
        b"RELOADING=1" => Some(Notice::Reloading),
        _ => None,
    });
    let value = |name: &[u8]| {
        lines().find_map(|line| line.strip_prefix(name).and_then(|rest| rest.strip_prefix(b"=")))
    };
    let span = |name: &[u8]| value(name).and_then(number).map(Duration::from_micros);
    let small = |name: &[u8]| value(name).and_then(number).and_then(|n| i32::try_from(n).ok());
    let watchdog = match value(b"WATCHDOG") {
        Some(b"1") => Some(Notice::Watchdog),
        Some(b"trigger") => Some(Notice::WatchdogTrigger),
        _ => None,
    };
    // The main process comes first, because the other notices may concern it. The interval comes before the notice that
    // it applies to.
    [
        small(b"MAINPID").filter(|pid| *pid > 0).map(Notice::MainPid),
        state.next_back(),
        value(b"STATUS").map(|text| Notice::Status(status(text))),
        small(b"ERRNO").map(Notice::Errno),
        span(b"EXTEND_TIMEOUT_USEC").map(Notice::MoreTime),
        span(b"WATCHDOG_USEC").filter(|span| !span.is_zero()).map(Notice::WatchdogInterval),
        watchdog,
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A number of decimal digits only.
fn number(text: &[u8]) -> Option<u64> {
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The text of a status: one short line of visible characters, so that it can be shown anywhere.
fn status(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.chars().take(STATUS_MAX).map(|c| if is_plain(c) { c } else { '\u{fffd}' }).collect()
}

/// Whether this changes neither how other text is shown nor the columns of a table.
fn is_plain(c: char) -> bool {
    c != '\t' && !is_harmful(c)
}

// ---- who may send ---------------------------------------------------------------------------------

/// The sender of a datagram, as the kernel tells it (SCM_CREDENTIALS of unix(7)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sender {
    /// Its pid at the time of sending; 0 for a process outside of this pid namespace.
    pub pid: Pid,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// The processes and users that graceinit knows.
#[derive(Clone, Copy, Debug)]
pub struct Family<'a> {
    /// graceinit itself.
    pub own: Pid,
    /// The app, while it is not reaped.
    pub app: Option<Pid>,
    /// Hooks and other helpers. They and their descendants may not send for the app.
    pub helpers: &'a [Pid],
    /// The user that graceinit runs as.
    pub own_uid: u32,
    /// The user that the app was started as.
    pub app_uid: u32,
}

/// Why a sender is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// It is outside of this pid namespace.
    Outside,
    /// It is a hook or a descendant of a hook.
    Helper,
    /// It is no descendant of graceinit.
    Stranger,
    /// It has ended, so its parents are not known, and its user is not the app's.
    OtherUser,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::Outside => "it is outside of this pid namespace",
            Refusal::Helper => "it belongs to a hook",
            Refusal::Stranger => "it is no process of the app",
            Refusal::OtherUser => "it has ended, and its user is not the app's",
        })
    }
}

/// What a process belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kinship {
    /// The app, one of its descendants, or an orphan that graceinit has adopted.
    App,
    /// A helper or one of its descendants.
    Helper,
    /// Neither.
    Stranger,
    /// It has ended, one of its parents has ended meanwhile, or there is no /proc.
    Unknown,
}

/// The most generations that are followed. Pids that were used again meanwhile can form a circle.
const GENERATIONS: usize = 1000;

impl Family<'_> {
    /// What `pid` belongs to. `parent_of` gives the parent of a process, 0 if the parent is outside of the pid
    /// namespace, and `None` if there is no such process or its parent is not known.
    pub fn kinship(&self, pid: Pid, mut parent_of: impl FnMut(Pid) -> Option<Pid>) -> Kinship {
        let mut at = pid;
        for _ in 0..GENERATIONS {
            if self.helpers.contains(&at) {
                return Kinship::Helper;
            }
            if Some(at) == self.app || at == self.own {
                return Kinship::App;
            }
            // A child of another PID 1. Orphans of graceinit's tree are adopted by graceinit.
            if at.0 <= 1 {
                return Kinship::Stranger;
            }
            match parent_of(at) {
                Some(parent) => at = parent,
                None => return Kinship::Unknown,
            }
        }
        Kinship::Unknown
    }

    /// Whether a sender may send for the app: any process of the app's tree may, like `NotifyAccess=all` of systemd.
    ///
    /// A sender that has ended cannot be looked up (a shell script that calls a small program to send READY). Then
    /// its user decides: a process of the app's user, of graceinit's user or of root could also kill the app.
    ///
    /// # Errors
    /// The reason to refuse it.
    pub fn hear(
        &self,
        sender: Sender,
        parent_of: impl FnMut(Pid) -> Option<Pid>,
    ) -> Result<(), Refusal> {
        if sender.pid.0 <= 0 {
            return Err(Refusal::Outside);
        }
        match self.kinship(sender.pid, parent_of) {
            Kinship::App => Ok(()),
            Kinship::Helper => Err(Refusal::Helper),
            Kinship::Stranger => Err(Refusal::Stranger),
            Kinship::Unknown if [0, self.own_uid, self.app_uid].contains(&sender.uid) => Ok(()),
            Kinship::Unknown => Err(Refusal::OtherUser),
        }
    }

    /// Whether `pid` can be the main process from now on ([`Notice::MainPid`]): a live process of the app's tree can.
    pub fn may_be_main(&self, pid: Pid, mut parent_of: impl FnMut(Pid) -> Option<Pid>) -> bool {
        pid != self.own && parent_of(pid).is_some() && self.kinship(pid, parent_of) == Kinship::App
    }
}

// ---- to the service manager -----------------------------------------------------------------------

/// A message to the service manager that started graceinit.
///
/// There is no MAINPID: a manager outside of the container knows graceinit by another number, and any other one knows
/// its child already.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// The app is ready.
    Ready,
    /// A stop has begun.
    Stopping,
    /// The app reloads its configuration, since this time.
    Reloading(Time),
    /// The status of the app.
    Status(String),
    /// The stop ends after this time at the latest.
    MoreTime(Duration),
    /// The app is alive.
    Watchdog,
    /// The interval at which [`Message::Watchdog`] will be sent.
    WatchdogInterval(Duration),
}

impl Message {
    /// Writes the datagram.
    pub fn compose(&self) -> Vec<u8> {
        match self {
            // Alone and first: runc reads only the beginning of a datagram.
            Message::Ready => "READY=1".to_owned(),
            Message::Stopping => "STOPPING=1".to_owned(),
            // systemd's Type=notify-reload compares this time with that of its request.
            Message::Reloading(since) => {
                format!("RELOADING=1\nMONOTONIC_USEC={}", since.0 / 1000)
            }
            Message::Status(text) => format!("STATUS={}", status(text.as_bytes())),
            Message::MoreTime(span) => format!("EXTEND_TIMEOUT_USEC={}", micros(*span)),
            Message::Watchdog => "WATCHDOG=1".to_owned(),
            Message::WatchdogInterval(span) => format!("WATCHDOG_USEC={}", micros(*span)),
        }
        .into_bytes()
    }

    /// Whether the message is about a state that lasts. Then it is sent again if it could not be sent.
    pub fn lasts(&self) -> bool {
        match self {
            Message::Ready | Message::Stopping | Message::Reloading(_) => true,
            Message::Status(_)
            | Message::MoreTime(_)
            | Message::Watchdog
            | Message::WatchdogInterval(_) => false,
        }
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// The interval of the watchdog that the service manager has asked graceinit for, by the values of WATCHDOG_USEC and
/// WATCHDOG_PID (sd_watchdog_enabled(3)).
pub fn watchdog(usec: Option<&[u8]>, pid: Option<&[u8]>, own: Pid) -> Option<Duration> {
    let for_us = pid.is_none_or(|pid| number(pid) == u64::try_from(own.0).ok());
    let usec = usec.and_then(number).filter(|usec| (1..u64::MAX).contains(usec))?;
    for_us.then(|| Duration::from_micros(usec))
}

#[cfg(test)]
mod tests;
