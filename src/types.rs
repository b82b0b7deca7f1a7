//! The vocabulary that every room shares: signals, pids, statuses, points in time. Plain values, no I/O.

pub mod http;
pub mod process;
pub mod text;

use std::fmt;
use std::time::Duration;

/// A signal number from 1 to 64, real-time ones included (which is why it is not `nix::Signal`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Signal(u8);

macro_rules! known_signals {
    ($($name:ident = $number:ident),* $(,)?) => {
        $(#[doc = concat!("`", stringify!($number), "`")]
        pub const $name: Signal = Signal(libc::$number as u8);)*
    };
}

/// Spellings that `kill -l` of some system prints for a signal which has another name here.
const ALIASES: [(&str, i32); 3] =
    [("IOT", libc::SIGABRT), ("CLD", libc::SIGCHLD), ("POLL", libc::SIGIO)];

/// Standard signals that signal-hook has no name for.
const UNNAMED: [(&str, i32); 2] = [("STKFLT", libc::SIGSTKFLT), ("PWR", libc::SIGPWR)];

impl Signal {
    known_signals! {
        ABRT = SIGABRT, ALRM = SIGALRM, CHLD = SIGCHLD, CONT = SIGCONT, HUP = SIGHUP, INT = SIGINT, KILL = SIGKILL,
        PIPE = SIGPIPE, QUIT = SIGQUIT, STOP = SIGSTOP, TERM = SIGTERM, TSTP = SIGTSTP,
        TTIN = SIGTTIN, TTOU = SIGTTOU, URG = SIGURG, WINCH = SIGWINCH, XCPU = SIGXCPU, XFSZ = SIGXFSZ,
    }

    /// The signal of this number; `None` outside 1..=64.
    pub const fn new(number: i32) -> Option<Signal> {
        if number >= 1 && number <= 64 { Some(Signal(number as u8)) } else { None }
    }

    /// Its number, as the kernel takes it.
    pub const fn number(self) -> i32 {
        self.0 as i32
    }

    /// Reads every spelling that users write: `TERM`, `SIGTERM`, `term`, `15`, `RTMIN`, `RTMIN+3`,
    /// `RTMAX-1`. Real-time numbers count from the C library's RTMIN (34 under glibc: the kernel's
    /// first two are the library's own), as in `kill -l` and systemd.
    pub fn parse(text: &str) -> Option<Signal> {
        let text = text.trim();
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            return text.parse().ok().and_then(Signal::new);
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let offset = |rest: &str, sign: char| -> Option<i32> {
            if rest.is_empty() {
                return Some(0);
            }
            let digits = rest.strip_prefix(sign)?;
            digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
        };
        let realtime = |number: i32| {
            (libc::SIGRTMIN()..=libc::SIGRTMAX())
                .contains(&number)
                .then(|| Signal::new(number))
                .flatten()
        };
        if let Some(rest) = name.strip_prefix("RTMIN") {
            return offset(rest, '+').and_then(|n| realtime(libc::SIGRTMIN().checked_add(n)?));
        }
        if let Some(rest) = name.strip_prefix("RTMAX") {
            return offset(rest, '-').and_then(|n| realtime(libc::SIGRTMAX().checked_sub(n)?));
        }
        (1..32).filter_map(Signal::new).find(|signal| signal.standard_name() == Some(name)).or_else(
            || ALIASES.iter().find(|(alias, _)| *alias == name).and_then(|a| Signal::new(a.1)),
        )
    }

    fn standard_name(self) -> Option<&'static str> {
        let named =
            UNNAMED.iter().find(|(_, number)| *number == self.number()).map(|(name, _)| *name);
        named.or_else(|| {
            signal_hook::low_level::signal_name(self.number())
                .map(|name| name.strip_prefix("SIG").unwrap_or(name))
        })
    }

    /// Whether it is one of those that the kernel does not queue.
    pub fn is_standard(self) -> bool {
        self.0 < 32
    }

    /// Whether the default action of this signal ends a process (signal(7)).
    pub fn ends_by_default(self) -> bool {
        const HARMLESS: [i32; 8] = [
            libc::SIGCHLD,
            libc::SIGCONT,
            libc::SIGSTOP,
            libc::SIGTSTP,
            libc::SIGTTIN,
            libc::SIGTTOU,
            libc::SIGURG,
            libc::SIGWINCH,
        ];
        !HARMLESS.contains(&self.number())
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, first, last) = (self.number(), libc::SIGRTMIN(), libc::SIGRTMAX());
        match self.standard_name() {
            Some(name) => f.pad(name),
            None if number == first => f.pad("RTMIN"),
            None if number == last => f.pad("RTMAX"),
            None if number > first && number < last => f.pad(&format!("RTMIN+{}", number - first)),
            None => f.pad(&number.to_string()),
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A set of signals.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct SignalSet(u64);

impl SignalSet {
    /// The set of these.
    pub fn of(signals: &[Signal]) -> SignalSet {
        SignalSet(signals.iter().fold(0, |bits, signal| bits | 1 << (signal.0 - 1)))
    }

    /// Adds a signal.
    pub fn insert(&mut self, signal: Signal) {
        self.0 |= 1 << (signal.0 - 1);
    }

    /// The set as a mask: bit n-1 for signal n.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Whether `signal` is one of them.
    pub fn contains(self, signal: Signal) -> bool {
        self.0 & 1 << (signal.0 - 1) != 0
    }
}

/// A process id of this pid namespace. Kept only while the process is unreaped or freshly looked up.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Pid(pub i32);

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a process ended (wait(2)).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Status {
    /// It left with this code.
    Code(u8),
    /// This signal ended it.
    Signal(Signal),
}

impl Status {
    /// The code a shell would show: 128+n for a signal.
    pub fn shell_code(self) -> u8 {
        match self {
            Status::Code(code) => code,
            Status::Signal(signal) => 128 + signal.0,
        }
    }

    /// Exit code 0.
    pub fn success(self) -> bool {
        self == Status::Code(0)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Status::Code(code) => write!(f, "code {code}"),
            Status::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// A point on the monotonic clock, in nanoseconds. A plain number, so that the machine needs no clock.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Time(pub u64);

impl Time {
    /// `self` + `span`, or the end of time.
    pub fn after(self, span: Duration) -> Time {
        Time(self.0.saturating_add(nanos(span)))
    }

    /// `self` - `span`, or the beginning of time.
    pub fn before(self, span: Duration) -> Time {
        Time(self.0.saturating_sub(nanos(span)))
    }

    /// How long from `earlier` to `self`; zero when it lies behind.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_reads_back_from_its_own_name_and_number() {
        for signal in (1..=64).filter_map(Signal::new) {
            assert_eq!(Signal::parse(&signal.number().to_string()), Some(signal));
            assert_eq!(Signal::parse(&signal.to_string()), Some(signal), "{signal}");
        }
    }

    #[test]
    fn spellings() {
        let rt = |n| Signal::new(libc::SIGRTMIN() + n);
        for (text, want) in [
            ("TERM", Some(Signal::TERM)),
            ("sigterm", Some(Signal::TERM)),
            (" 15 ", Some(Signal::TERM)),
            ("SIGRTMIN+3", rt(3)),
            ("rtmin", rt(0)),
            ("RTMAX", Signal::new(64)),
            ("RTMAX-1", Signal::new(63)),
            ("64", Signal::new(64)),
            ("CLD", Some(Signal::CHLD)),
            ("RTMIN+31", None),
            ("RTMIN-1", None),
            ("RTMAX+1", None),
            ("RTMAX-40", None),
            ("RTMIN+", None),
            ("0", None),
            ("65", None),
            ("-9", None),
            ("99999999999", None),
            ("TERMINATE", None),
            ("SIG", None),
            ("", None),
        ] {
            assert_eq!(Signal::parse(text), want, "{text:?}");
        }
    }

    #[test]
    fn sets_hold_exactly_their_members() {
        let set = SignalSet::of(&[Signal::HUP, Signal::TERM, Signal(64)]);
        let members: Vec<i32> = (1..=64)
            .filter_map(Signal::new)
            .filter(|s| set.contains(*s))
            .map(Signal::number)
            .collect();
        assert_eq!(members, [1, 15, 64]);
    }
}
