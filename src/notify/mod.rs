//! sd_notify(3): what the app says of itself, who may say it, and what is said upwards. Pure: no
//! socket, no clock, no log.

use std::fmt;
use std::time::Duration;

use crate::types::{Pid, Time};

/// As long as a status may be, in characters. It goes into log lines and pages.
const STATUS_MAX: usize = 200;

/// One thing that the app says.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Notice {
    /// It is up, or up again after a reload.
    Ready,
    /// It has begun to stop by itself.
    Stopping,
    /// It reloads its configuration; [`Notice::Ready`] ends that.
    Reloading,
    /// What it is doing, on one line; empty: nothing worth a word.
    Status(String),
    /// EXTEND_TIMEOUT_USEC: it needs this much from now on.
    MoreTime(Duration),
    /// It is alive.
    Watchdog,
    /// Treat it as if it had missed its watchdog.
    WatchdogTrigger,
    /// From now on it says that it is alive this often. Never zero.
    WatchdogInterval(Duration),
    /// Another process is the main one now. Positive, but nobody has checked yet who that is.
    MainPid(i32),
    /// It failed with this errno.
    Errno(i32),
    /// Whoever sent this waits until all that was sent before is dealt with.
    Barrier,
}

/// What a datagram says, in the order in which it has to be dealt with. Judged as systemd's manager
/// does: the last of READY, STOPPING and RELOADING counts, of every other variable the first; values
/// that are not as documented, and all other variables, say nothing.
pub fn parse(datagram: &[u8]) -> Vec<Notice> {
    // A C program may send the end of its string along. Any other NUL is not the protocol.
    let text = datagram.strip_suffix(b"\0").unwrap_or(datagram);
    if text.contains(&0) {
        return Vec::new();
    }
    let lines = || text.split(|byte| matches!(byte, b'\n' | b'\r')).filter(|line| !line.is_empty());
    if lines().any(|line| line == b"BARRIER=1") {
        // Nothing else may come with it (sd_notify(3)).
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
    // The main process before all else: what follows may be about it. The interval before the sign of
    // life that is to be judged by it.
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

/// A number in decimal digits, and nothing else.
fn number(text: &[u8]) -> Option<u64> {
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The text of a status as it may be shown anywhere: one short line of visible characters.
fn status(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.chars().take(STATUS_MAX).map(|c| if is_plain(c) { c } else { '\u{fffd}' }).collect()
}

/// No control character, and none of those that break or turn a line round for whoever reads it.
fn is_plain(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

// ---- who may speak --------------------------------------------------------------------------------

/// Who sent a datagram (SCM_CREDENTIALS of unix(7)): vouched for by the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sender {
    /// Its process at the time of sending; 0 for one outside of our pid namespace.
    pub pid: Pid,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// What graceinit knows of its own.
#[derive(Clone, Copy, Debug)]
pub struct Family<'a> {
    /// graceinit itself.
    pub own: Pid,
    /// The app, while it is not reaped.
    pub app: Option<Pid>,
    /// Hooks and other helpers. What they run may not speak for the app.
    pub helpers: &'a [Pid],
    /// The user that graceinit runs as.
    pub own_uid: u32,
    /// The user that the app was started as.
    pub app_uid: u32,
}

/// Why somebody may not speak.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// It lives outside of this pid namespace.
    Outside,
    /// It is a hook, or was started by one.
    Helper,
    /// It is no descendant of graceinit.
    Stranger,
    /// It has gone, so nobody can say whose it was, and its user is not the app's.
    OtherUser,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::Outside => "it lives outside of this pid namespace",
            Refusal::Helper => "it belongs to a hook",
            Refusal::Stranger => "it is no process of the app",
            Refusal::OtherUser => "it has ended, and its user is not the app's",
        })
    }
}

/// Whose a process is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kinship {
    /// The app, or below it, or an orphan that came to graceinit.
    App,
    /// A helper, or below one.
    Helper,
    /// Neither.
    Stranger,
    /// It has gone, or one of its parents went while we looked, or there is no /proc.
    Unknown,
}

/// More generations than that are no family, but pids that were reused while we looked.
const GENERATIONS: usize = 1000;

impl Family<'_> {
    /// Whose `pid` is. `parent_of` says who the parent of a process is, 0 for one whose parent is
    /// outside; `None` if there is no such process or nobody knows.
    pub fn kinship(&self, pid: Pid, mut parent_of: impl FnMut(Pid) -> Option<Pid>) -> Kinship {
        let mut at = pid;
        for _ in 0..GENERATIONS {
            if self.helpers.contains(&at) {
                return Kinship::Helper;
            }
            if Some(at) == self.app || at == self.own {
                return Kinship::App;
            }
            // Whoever came to PID 1 of the whole system is not ours: orphans of ours come to us.
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

    /// Whether a sender may speak for the app: any process of the app's tree, like
    /// `NotifyAccess=all` of systemd.
    ///
    /// One that has ended already cannot be looked up (a shell script that calls a small program to
    /// say READY). Its user decides then: whoever is the app's user, graceinit's or root could as well
    /// end the app.
    ///
    /// # Errors
    /// Why not.
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

    /// Whether `pid` can be the main process from now on ([`Notice::MainPid`]): a living one of the
    /// app's tree.
    pub fn may_be_main(&self, pid: Pid, mut parent_of: impl FnMut(Pid) -> Option<Pid>) -> bool {
        pid != self.own && parent_of(pid).is_some() && self.kinship(pid, parent_of) == Kinship::App
    }
}

// ---- upwards --------------------------------------------------------------------------------------

/// What graceinit tells the service manager that it was started by itself.
///
/// Never MAINPID: a manager outside of the container knows our pid by another number, and one that
/// started us knows it already.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// The app is ready.
    Ready,
    /// A stop has begun.
    Stopping,
    /// The app reloads its configuration, since this moment.
    Reloading(Time),
    /// What the app said of itself.
    Status(String),
    /// The end of the stop is this far from now.
    MoreTime(Duration),
    /// The app is alive.
    Watchdog,
    /// The app will say so this often.
    WatchdogInterval(Duration),
}

impl Message {
    /// The datagram.
    pub fn compose(&self) -> Vec<u8> {
        match self {
            // Alone and first: runc looks at nothing but how a datagram begins.
            Message::Ready => "READY=1".to_owned(),
            Message::Stopping => "STOPPING=1".to_owned(),
            // Type=notify-reload of systemd compares the moment with that of its own request.
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

    /// A state, not a passing word: when it could not be sent, it is worth another try.
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

/// How often the app has to say that it is alive, if whoever started graceinit wants that of us: the
/// values of WATCHDOG_USEC and WATCHDOG_PID (sd_watchdog_enabled(3)).
pub fn watchdog(usec: Option<&[u8]>, pid: Option<&[u8]>, own: Pid) -> Option<Duration> {
    let for_us = pid.is_none_or(|pid| number(pid) == u64::try_from(own.0).ok());
    let usec = usec.and_then(number).filter(|usec| (1..u64::MAX).contains(usec))?;
    for_us.then(|| Duration::from_micros(usec))
}

#[cfg(test)]
mod tests;
