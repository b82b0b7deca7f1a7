//! What happens if graceinit itself fails: the app is stopped in order before graceinit leaves.

use std::fmt::{self, Write};

use crate::account::log;
use crate::config::Config;
use crate::machine::Machine;
use crate::machine::plan::Scope;
use crate::sys::deadman::rescue::{self, Orders};
use crate::sys::signals::Mask;
use crate::sys::{heap, stderr};

/// Prepares for a panic and for want of memory.
pub(super) fn prepare(config: &Config) {
    let plan = &config.plan;
    let orders = Orders {
        stop_on: Mask(plan.stop_on.bits()),
        signal: plan.ladder.first().and_then(|rung| rung.signal),
        leftovers: plan.leftover_signal(),
        group: plan.scope == Scope::Group,
        grace: plan.budget(),
        failed: plan.exit.codes.own,
    };
    rescue::prepare(&orders, plan.exit.always_ok.iter().chain(&plan.exit.stop_ok).copied());
    if config.is_watched() {
        heap::reserve();
    }
    std::panic::set_hook(Box::new(|info| {
        let payload = info.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("?");
        let mut line = Line::default();
        // A line that is too long is cut.
        let _ = match info.location() {
            Some(place) => line.say(format_args!("{text} at {}:{}", place.file(), place.line())),
            None => line.say(format_args!("{text}")),
        };
        line.put();
        // A panic ends a child alone.
        rescue::end()
    }));
}

/// A line of the log that needs no memory.
struct Line {
    bytes: [u8; 512],
    length: usize,
}

impl Default for Line {
    fn default() -> Self {
        Line { bytes: [0; 512], length: 0 }
    }
}

/// The end of a line of JSON.
const JSON_END: &str = "; stopping the app\",\"fact\":\"panic\"}";

impl Line {
    fn say(&mut self, what: fmt::Arguments<'_>) -> fmt::Result {
        let begin = match log::is_json() {
            true => "{\"level\":\"error\",\"msg\":\"internal error: ",
            false => "graceinit: error: internal error: ",
        };
        self.write_str(begin)?;
        let from = self.length;
        let said = self.write_fmt(what);
        for byte in &mut self.bytes[from..self.length] {
            // No escapes are needed.
            if byte.is_ascii_control() || matches!(*byte, b'"' | b'\\') || !byte.is_ascii() {
                *byte = b'\'';
            }
        }
        said
    }

    fn put(&mut self) {
        let end = if log::is_json() { JSON_END } else { "; stopping the app" };
        let room = self.bytes.len() - end.len() - 1;
        self.length = self.length.min(room);
        let _ = self.write_str(end);
        let _ = self.write_str("\n");
        stderr::write(&self.bytes[..self.length]);
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = &mut self.bytes[self.length..];
        let count = text.len().min(room.len());
        room[..count].copy_from_slice(&text.as_bytes()[..count]);
        self.length += count;
        if count < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

/// Fails on purpose, for the tests: FAULT_OF_GRACEINIT=WHAT:PHASE, in builds for development only.
#[cfg(debug_assertions)]
#[allow(clippy::panic, reason = "what is tested")]
pub(super) fn test_hook(machine: &Machine) {
    let fault = crate::sys::process::variable("FAULT_OF_GRACEINIT").unwrap_or_default();
    let phase = machine.phase().name().as_str();
    match std::str::from_utf8(fault).ok().and_then(|fault| fault.split_once(':')) {
        // More than any machine has.
        Some(("memory", wanted)) if wanted == phase => {
            drop(Vec::<u8>::with_capacity(isize::MAX as usize))
        }
        Some(("panic", wanted)) if wanted == phase => panic!("a test\nfault \"in\" {phase}"),
        #[allow(clippy::empty_loop, reason = "what is tested")]
        Some(("hang", wanted)) if wanted == phase => loop {},
        Some(_) | None => {}
    }
}

#[cfg(not(debug_assertions))]
#[inline(always)]
pub(super) fn test_hook(_: &Machine) {}
