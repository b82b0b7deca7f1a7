//! The state that answers depend on, as PID 1 sends it to the observer.

use std::borrow::Cow;

/// The state that answers depend on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// Whether the app is ready and no stop was requested.
    pub ready: bool,
    /// Whether the app accepts work: it was ready, and was not sent the stop signal.
    pub serving: bool,
    /// Whether there is no reason to restart the container.
    pub live: bool,
    /// Whether a stop was requested: from then on "not ready" answers are counted.
    pub stopping: bool,
    /// The name of the phase.
    pub phase: Cow<'static, str>,
}

impl Default for Snapshot {
    fn default() -> Snapshot {
        let phase = Cow::Borrowed("starting");
        Snapshot { ready: false, serving: false, live: true, stopping: false, phase }
    }
}

/// The first byte of a message is its kind.
const KIND: u8 = b'S';

impl Snapshot {
    /// The message. It needs no version and no byte order: the observer is the same program.
    pub fn message(&self) -> Vec<u8> {
        let flags = [self.ready, self.serving, self.live, self.stopping].map(u8::from);
        [&[KIND], &flags[..], self.phase.as_bytes()].concat()
    }

    /// Reads a message; `None` for another kind.
    pub fn read(message: &[u8]) -> Option<Snapshot> {
        let [KIND, ready, serving, live, stopping, phase @ ..] = message else { return None };
        Some(Snapshot {
            ready: *ready == 1,
            serving: *serving == 1,
            live: *live == 1,
            stopping: *stopping == 1,
            phase: Cow::Owned(String::from_utf8_lossy(phase).into_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_read_back() {
        for bits in 0..16u8 {
            let [ready, live, stopping, serving] = [1, 2, 4, 8].map(|bit| bits & bit != 0);
            let snapshot =
                Snapshot { ready, serving, live, stopping, phase: Cow::Borrowed("pre-stop") };
            assert_eq!(Snapshot::read(&snapshot.message()), Some(snapshot));
        }
        for other in [&b""[..], b"S", b"S\x01\x01\x01", b"X\x01\x01\x01\x01running"] {
            assert_eq!(Snapshot::read(other), None);
        }
    }
}
