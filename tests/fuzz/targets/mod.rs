//! The parsers that see foreign bytes. Each target takes any bytes, gives them to the parsers of one kind, and panics
//! if a property does not hold. The short form (`tests/fuzz/mod.rs`) and the long form (`long.rs`) share them.

mod files;
mod http;
mod processes;
mod sockets;
mod texts;

use std::io::{self, Read, Write};

use graceinit::types::text::is_harmful;

/// Parsers of one kind, and what holds for them whatever the bytes are.
pub(crate) struct Target {
    /// The name of the target and of its folder of seeds.
    pub(crate) name: &'static str,
    /// Panics if a property does not hold.
    pub(crate) holds: fn(&[u8]),
}

/// All targets.
pub(crate) const TARGETS: &[Target] = &[
    Target { name: "sock_diag", holds: sockets::sock_diag },
    Target { name: "unix_diag", holds: sockets::unix_diag },
    Target { name: "tables", holds: sockets::tables },
    Target { name: "processes", holds: processes::processes },
    Target { name: "groups", holds: processes::groups },
    Target { name: "notify", holds: texts::notify },
    Target { name: "users", holds: texts::users },
    Target { name: "metric", holds: texts::metric },
    Target { name: "records", holds: texts::records },
    Target { name: "request", holds: http::request },
    Target { name: "answer", holds: http::answer },
    Target { name: "check", holds: http::check },
    Target { name: "rehearsal", holds: http::rehearsal },
    Target { name: "config", holds: files::config },
    Target { name: "report", holds: files::report },
];

/// Takes values from the bytes, so that they decide what is built of them. Behind the end there are zeros.
struct Draw<'a>(&'a [u8]);

impl<'a> Draw<'a> {
    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn array<const COUNT: usize>(&mut self) -> [u8; COUNT] {
        let mut array = [0; COUNT];
        let taken = self.bytes(COUNT);
        array[..taken.len()].copy_from_slice(taken);
        array
    }

    fn byte(&mut self) -> u8 {
        u8::from_le_bytes(self.array())
    }

    fn short(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    fn word(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    fn long(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// At most `longest` bytes.
    fn some(&mut self, longest: usize) -> &'a [u8] {
        let count = usize::from(self.short()) % (longest + 1);
        self.bytes(count)
    }

    fn text(&mut self, longest: usize) -> String {
        String::from_utf8_lossy(self.some(longest)).into_owned()
    }
}

/// The bytes cut into pieces of 1 to 16 bytes. The bytes decide where.
fn pieces(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut left = bytes;
    let mut turn = bytes.len();
    std::iter::from_fn(move || {
        turn = turn.wrapping_mul(31).wrapping_add(usize::from(*left.first()?));
        let (piece, rest) = left.split_at((turn % 16 + 1).min(left.len()));
        left = rest;
        Some(piece)
    })
}

/// A connection or a file on which bytes come in pieces, whatever is sent.
struct Replay<'a> {
    left: &'a [u8],
    /// The longest piece.
    piece: usize,
}

impl<'a> Replay<'a> {
    fn whole(left: &'a [u8]) -> Replay<'a> {
        Replay { left, piece: usize::MAX }
    }
}

impl Read for Replay<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.piece.min(self.left.len()).min(into.len());
        let (now, later) = self.left.split_at(count);
        into[..count].copy_from_slice(now);
        self.left = later;
        Ok(count)
    }
}

impl Write for Replay<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The text can be shown at a terminal or in a log. `lines`: it may have several lines.
#[track_caller]
fn assert_plain(text: &str, lines: bool) {
    let harmful = text.chars().find(|c| is_harmful(*c) && !(lines && *c == '\n'));
    assert_eq!(harmful, None, "{text:?}");
}
