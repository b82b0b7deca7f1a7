//! The variables of a hook's environment.

use std::ffi::CString;
use std::sync::OnceLock;

use crate::account::plan_names;
use crate::machine::Machine;
use crate::machine::hooks::{HookId, HookPhase};
use crate::machine::plan::Ending;
use crate::sys::{clock, process};
use crate::types::{Pid, Signal, Status, Time};

/// The trace of this life: the inherited one, or a new one.
pub fn trace() -> &'static Trace {
    static TRACE: OnceLock<Trace> = OnceLock::new();
    TRACE.get_or_init(Trace::continued_or_begun)
}

/// A trace (W3C Trace Context, `traceparent`).
#[derive(Debug)]
pub struct Trace {
    trace_id: String,
    flags: String,
}

impl Trace {
    fn continued_or_begun() -> Trace {
        let incoming = process::variable("TRACEPARENT").and_then(|v| std::str::from_utf8(v).ok());
        incoming.and_then(Trace::parse).unwrap_or_else(|| Trace {
            trace_id: hex(&process::random::<16>()),
            flags: "01".to_owned(),
        })
    }

    /// `version-trace_id-parent_id-flags`. Further fields of later versions are ignored.
    pub fn parse(text: &str) -> Option<Trace> {
        let mut fields = text.trim().split('-');
        let mut field = |length: usize| {
            let field = fields.next()?;
            let hex = field.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            (field.len() == length && hex).then_some(field)
        };
        let (version, trace_id, parent, flags) = (field(2)?, field(32)?, field(16)?, field(2)?);
        let zero = |id: &str| id.bytes().all(|byte| byte == b'0');
        if version == "ff" || zero(trace_id) || zero(parent) {
            return None;
        }
        Some(Trace { trace_id: trace_id.to_owned(), flags: flags.to_owned() })
    }

    /// The trace id: 32 hexadecimal digits.
    pub fn id(&self) -> &str {
        &self.trace_id
    }

    /// A `traceparent` with a new parent id, for one attempt.
    pub fn child(&self) -> String {
        format!("00-{}-{}-{}", self.trace_id, hex(&process::random::<8>()), self.flags)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The moment at which an attempt starts.
#[derive(Debug)]
pub struct Moment<'a> {
    /// The state of the stop.
    pub machine: &'a Machine,
    /// The attempt.
    pub id: HookId,
    /// The end of the budget that the attempt is part of, if that has one.
    pub end: Option<Time>,
    /// The present time.
    pub now: Time,
    /// The app's pid.
    pub app: Option<Pid>,
}

impl Moment<'_> {
    /// One `NAME=value` for each variable.
    pub fn variables(&self) -> Vec<CString> {
        let mut list = vec![
            ("GRACEINIT_PHASE", self.id.phase.as_str().to_owned()),
            ("GRACEINIT_HOOK", plan_names::hook(self.id)),
            ("GRACEINIT_ATTEMPT", self.id.attempt.to_string()),
            ("TRACEPARENT", trace().child()),
        ];
        if let Some(end) = self.end {
            let left = end.since(self.now);
            let deadline = clock::wall() + left;
            list.push(("GRACEINIT_DEADLINE", format!("{:.3}", deadline.as_secs_f64())));
            list.push(("GRACEINIT_BUDGET_MS", left.as_millis().to_string()));
        }
        if let Some(app) = self.app {
            list.push(("GRACEINIT_APP_PID", app.to_string()));
        }
        if matches!(self.id.phase, HookPhase::PreStop | HookPhase::OnStop | HookPhase::PostStop) {
            list.push(("GRACEINIT_REASON", self.machine.reason().as_str().to_owned()));
        }
        if let Some((signal, sender)) = self.machine.occasion() {
            list.push(("GRACEINIT_SIGNAL", signal.to_string()));
            list.extend(sender.map(|pid| ("GRACEINIT_SENDER_PID", pid.to_string())));
        }
        match self.machine.ending() {
            Some(Ending::Was(Status::Code(code))) => {
                list.push(("GRACEINIT_EXIT_CODE", code.to_string()));
            }
            Some(Ending::NotStarted(code)) => list.push(("GRACEINIT_EXIT_CODE", code.to_string())),
            Some(Ending::Was(Status::Signal(signal))) => {
                list.push(("GRACEINIT_EXIT_SIGNAL", signal.to_string()));
            }
            Some(Ending::OutOfMemory) => {
                list.push(("GRACEINIT_EXIT_SIGNAL", Signal::KILL.to_string()));
            }
            Some(Ending::Forestalled(_) | Ending::Unkillable) | None => {}
        }
        // None of these texts can hold a NUL byte.
        list.iter()
            .filter_map(|(name, value)| CString::new(format!("{name}={value}")).ok())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_continued_only_if_it_is_valid() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let trace = Trace::parse(&format!("00-{id}-00f067aa0ba902b7-00")).expect("valid");
        let child = trace.child();
        assert!(child.starts_with(&format!("00-{id}-")) && child.ends_with("-00"), "{child}");
        assert_eq!(child.len(), 55);
        assert!(!child.contains("00f067aa0ba902b7"), "the parent id is our own");
        assert!(Trace::parse(&format!("01-{id}-00f067aa0ba902b7-01-more")).is_some());
        for bad in [
            "",
            "00-x-y-01",
            &format!("ff-{id}-00f067aa0ba902b7-01"),
            &format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            &format!("00-{id}-{}-01", "0".repeat(16)),
            &format!("00-{}-00f067aa0ba902b7-01", id.to_uppercase()),
        ] {
            assert!(Trace::parse(bad).is_none(), "{bad}");
        }
    }
}
