//! The log: one grammar, stderr only. A line that cannot be written at once is counted and dropped.

use std::fmt::{self, Display};
use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use env_logger::fmt::Formatter;
use env_logger::{Builder, Logger, Target};
use log::kv::{Key, Value, VisitSource};
use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::machine::drain::{Look, Sight};
use crate::machine::fact::{DrainEnd, Fact, Survivor};
use crate::machine::hook::{HookId, HookPhase, Outcome};
use crate::machine::phase::PhaseName;
use crate::machine::plan::{Ending, PerPhase, Scope};
use crate::sys::stderr;

/// Lines that found no room since the last one that did.
static DROPPED: AtomicU32 = AtomicU32::new(0);

/// Sets the log up. The logger itself is made with the first line: a life without one does not pay
/// for it.
pub fn init(level: LevelFilter) {
    // It can only have been set before by a second call, which changes nothing.
    let _ = log::set_logger(&LAZY);
    log::set_max_level(level);
}

struct Lazy(OnceLock<Logger>);

static LAZY: Lazy = Lazy(OnceLock::new());

impl Log for Lazy {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let make = || {
            let mut builder = Builder::new();
            // The level was sifted by the macros already.
            builder.filter_level(LevelFilter::Trace).target(Target::Pipe(Box::new(Stderr)));
            builder.format(render).build()
        };
        self.0.get_or_init(make).log(record);
    }

    fn flush(&self) {}
}

/// Takes each line in one piece, whatever becomes of it: nothing that happens to the log may stop
/// the life that it tells of.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        put(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A line stands on the terminal that has to give way to the next one.
static OVERLAID: AtomicBool = AtomicBool::new(false);
/// To the first column, and erase to the end (ECMA-48: CR, EL).
const ERASE: &str = "\r\x1b[K";

/// Shows a line that will be taken back; an empty one takes it back.
pub fn overlay(line: &str) {
    OVERLAID.store(!line.is_empty(), Relaxed);
    // If there is no room for it, the next one will come soon.
    stderr::write(format!("{ERASE}{line}").as_bytes());
}

/// Whether that line still stands there.
pub fn is_overlaid() -> bool {
    OVERLAID.load(Relaxed)
}

fn put(line: &[u8]) {
    if OVERLAID.swap(false, Relaxed) {
        stderr::write(ERASE.as_bytes());
    }
    let dropped = DROPPED.load(Relaxed);
    if dropped > 0 {
        let lines = if dropped == 1 { "line was" } else { "lines were" };
        let news = format!("graceinit: warn: {dropped} log {lines} dropped: stderr was not read\n");
        if !stderr::write(news.as_bytes()) {
            DROPPED.fetch_add(1, Relaxed);
            return;
        }
        DROPPED.store(0, Relaxed);
    }
    if line.len() > stderr::LONGEST {
        let cut = [&line[..stderr::LONGEST - 5], b" ...\n"].concat();
        return put(&cut);
    }
    if !stderr::write(line) {
        DROPPED.fetch_add(1, Relaxed);
    }
}

fn render(line: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    let level = match record.level() {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    };
    write!(line, "graceinit: {level}: {}", record.args())?;
    let mut fields = Fields(String::new());
    // The visitor below never fails.
    let _ = record.key_values().visit(&mut fields);
    writeln!(line, "{}", fields.0)
}

struct Fields(String);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), log::kv::Error> {
        self.0.push_str(&format!(" {key}={value}"));
        Ok(())
    }
}

/// Before the app runs an error is fatal: what was wrong, and what to do. Not subject to the level.
pub fn fatal(message: &str) {
    put(format!("graceinit: fatal: {message}\n").as_bytes());
}

static HOOK_NAMES: OnceLock<PerPhase<Vec<String>>> = OnceLock::new();

/// Makes the hooks' names known.
pub fn name_hooks(names: PerPhase<Vec<String>>) {
    // Once for each life.
    let _ = HOOK_NAMES.set(names);
}

/// A hook's name.
pub fn hook_name(id: HookId) -> String {
    let given = HOOK_NAMES.get().and_then(|names| names.of(id.phase).get(id.index));
    given.cloned().unwrap_or_else(|| format!("{}-{}", id.phase.as_str(), id.index + 1))
}

/// A line that a hook has printed. What it prints on stdout is news, on stderr a complaint.
pub fn hook_line(id: HookId, is_stderr: bool, text: &[u8]) {
    let (level, stream) = if is_stderr { (Level::Warn, "stderr") } else { (Level::Info, "stdout") };
    // That an app is not ready yet is no news.
    let level = if id.phase == HookPhase::Ready { Level::Debug } else { level };
    if level <= log::max_level() {
        let text = Printable(text);
        log::log!(level, "[{} {} {stream}] {text}", id.phase.as_str(), hook_name(id));
    }
}

/// Foreign bytes, with whatever would move the cursor or change colours made visible.
struct Printable<'a>(&'a [u8]);

impl Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in String::from_utf8_lossy(self.0).chars() {
            match c {
                '\t' => f.write_str("\t")?,
                c if c.is_control() => write!(f, "{}", c.escape_default())?,
                c => write!(f, "{c}")?,
            }
        }
        Ok(())
    }
}

fn seconds(span: std::time::Duration) -> String {
    format!("{:.3}s", span.as_secs_f64())
}

fn receivers(scope: Scope) -> &'static str {
    match scope {
        Scope::Group => "the app's group",
        Scope::Main | Scope::Mixed => "the app",
        Scope::Tree => "every process",
    }
}

fn still_there(survivor: &Survivor) {
    let Survivor { pid, parent, state, threads, age, connections, unread, .. } = survivor;
    // In quotes, so that its own are marked; other letters than ASCII stay.
    let command = format!("\"{}\"", survivor.command.replace('\\', "\\\\").replace('"', "\\\""));
    let wchan = survivor.wchan.as_deref().unwrap_or("-");
    let connections = connections.map_or("-".to_owned(), |count| count.to_string());
    let unread = if unread.is_empty() { "-" } else { unread };
    let age = seconds(*age);
    log::warn!(
        pid = pid.0, ppid = parent.0, command = command.as_str(), state = state.to_string().as_str(),
        wchan, age = age.as_str(), threads, connections = connections.as_str(), unread;
        "still there"
    );
}

/// What conditions of readiness are called, in the order of the plan.
static CONDITIONS: OnceLock<Vec<String>> = OnceLock::new();

/// Makes their names known.
pub fn name_conditions(names: Vec<String>) {
    let _ = CONDITIONS.set(names);
}

fn condition(index: usize) -> &'static str {
    CONDITIONS.get().and_then(|names| names.get(index)).map_or("?", String::as_str)
}

fn readiness(fact: &Fact) {
    match fact {
        Fact::ConditionHolds { index, after } => {
            let after = seconds(*after);
            log::debug!(condition = condition(*index), after = after.as_str(); "condition holds");
        }
        Fact::Listens { after } => {
            let after = seconds(*after);
            log::debug!(after = after.as_str(); "the app listens on the ports to be drained");
        }
        Fact::Ready { after } => {
            let after = seconds(*after);
            log::info!(after = after.as_str(); "the app is ready");
        }
        Fact::NotReady { after, missing, ports } => {
            let names = (0..64).filter(|index| missing & 1 << index != 0).map(condition);
            let ports = ports.then_some("listening on the ports of --drain");
            let missing = names.chain(ports).collect::<Vec<_>>().join(", ");
            let after = seconds(*after);
            log::error!(after = after.as_str(), missing = missing.as_str();
                "the app is not ready in time: stopping it");
        }
        Fact::StopsItself => log::info!("the app says that it is stopping"),
        Fact::WatchdogMissed { interval } => {
            let interval = seconds(*interval);
            log::error!(interval = interval.as_str();
                "the app has given no sign of life in time: stopping it");
        }
        Fact::MainPid { pid } => log::info!(pid = pid.0; "the app names its main process"),
        _ => {}
    }
}

/// The account of one look.
fn seen(look: &Look) -> String {
    let Look { busy, owed, idle, new, queued, .. } = look;
    format!("busy={busy} owed={owed} idle={idle} new={new} queued={queued}")
}

fn drain(fact: &Fact) {
    match fact {
        Fact::DrainBegun { delay } => {
            let delay = seconds(*delay);
            log::debug!(delay = delay.as_str(); "the app serves on");
        }
        Fact::Looked { look: Look { sight: Sight::Blind, .. } } => {}
        Fact::Looked { look } => {
            let took = seconds(look.cost);
            log::debug!(took = took.as_str(); "connections: {}", seen(look));
        }
        Fact::Acknowledged { acks, after } => {
            let after = seconds(*after);
            log::info!(probes = *acks, after = after.as_str();
                "load balancers have been told \"not ready\"");
        }
        Fact::DrainEnded { why, after, last } => {
            let after = seconds(*after);
            let seen = last.as_ref().map_or(String::new(), |look| format!(": {}", seen(look)));
            match (why, last) {
                (DrainEnd::Quiet, Some(Look { sight: Sight::Blind, .. })) => {
                    log::info!(after = after.as_str(); "the delay is over")
                }
                (DrainEnd::Quiet, _) => log::info!(after = after.as_str(); "drained{seen}"),
                (DrainEnd::Delay, _) => {
                    log::info!(after = after.as_str(); "the delay is over{seen}")
                }
                (DrainEnd::Budget, Some(look)) if look.calm() => log::info!(
                    after = after.as_str(); "no time is left to wait for a quiet moment{seen}"
                ),
                (DrainEnd::Budget, _) => log::warn!(
                    after = after.as_str(); "no time is left to drain: requests may be cut off{seen}"
                ),
            }
        }
        _ => {}
    }
}

/// Logs a fact.
pub fn record(fact: &Fact) {
    match fact {
        // That is told by what follows.
        Fact::Entered(PhaseName::Ready) => log::debug!("entering phase=ready"),
        Fact::Entered(phase) => log::info!(phase = phase.as_str(); "entering"),
        Fact::ConditionHolds { .. }
        | Fact::Listens { .. }
        | Fact::Ready { .. }
        | Fact::NotReady { .. }
        | Fact::StopsItself
        | Fact::WatchdogMissed { .. }
        | Fact::MainPid { .. } => readiness(fact),
        Fact::DrainBegun { .. }
        | Fact::Looked { .. }
        | Fact::Acknowledged { .. }
        | Fact::DrainEnded { .. } => drain(fact),
        Fact::StopRequested { signal, sender, grace } => {
            let sender = sender.map_or("the terminal or the kernel".to_owned(), |pid| match pid {
                0 => "outside".to_owned(),
                pid => format!("process {pid}"),
            });
            let budget = seconds(*grace);
            log::info!(signal:%, budget = budget.as_str(); "stop requested from {sender}");
        }
        Fact::StopAgain { signal, kill: true } => {
            log::warn!(signal:%; "second stop request: ending the budget now");
        }
        Fact::StopAgain { signal, kill: false } => {
            log::info!(signal:%; "second stop request: a stop is on already");
        }
        Fact::Forwarded { signal, sent, scope } => {
            log::debug!(signal:%, sent:%; "passing a signal on to {}", receivers(*scope));
        }
        Fact::Dropped { signal } => log::debug!(signal:%; "dropping a signal as --rewrite asks"),
        Fact::NoApp { signal } => {
            log::debug!(signal:%; "a signal came when there was no app for it")
        }
        Fact::StopSignal { signal, rung, of, left } => {
            let left = seconds(*left);
            log::info!(signal:%, step = format!("{rung}/{of}").as_str(), left = left.as_str();
                "asking the app to stop");
        }
        Fact::NoStopSignal { left, .. } => {
            let left = seconds(*left);
            log::info!(left = left.as_str(); "waiting for the app to end by itself");
        }
        Fact::Held { signal } => log::info!(signal:%; "keeping a signal until the app is started"),
        Fact::ReloadRequested { signal } => log::info!(signal:%; "reload requested"),
        Fact::ReloadMerged { signal } => {
            log::info!(signal:%; "reload requested again: another one waits already");
        }
        Fact::ReloadDropped { signal } => {
            log::info!(signal:%; "reload dropped: the app is ending");
        }
        Fact::PhaseAborted { id } => match id.phase {
            HookPhase::PreStart => log::error!(
                hook = hook_name(*id).as_str();
                "the app is not started: a pre-start hook has failed"
            ),
            HookPhase::OnReload => log::warn!(
                hook = hook_name(*id).as_str();
                "the reload signal is not passed on: an on-reload hook has failed"
            ),
            phase => log::warn!(
                hook = hook_name(*id).as_str();
                "the other {} hooks are left out: this one has failed", phase.as_str()
            ),
        },
        Fact::Extended { left } => {
            let left = seconds(*left);
            log::info!(left = left.as_str(); "the app has asked for more time");
        }
        Fact::Diagnosed { signal, left } => {
            let left = seconds(*left);
            log::warn!(signal:%, left = left.as_str();
                "asking the app to say what it is doing");
        }
        Fact::StillThere(survivor) => still_there(survivor),
        Fact::MoreStillThere(count) => log::warn!(count; "more processes are still there"),
        Fact::NotSurveyed => {
            log::warn!("who is still there is not known: there was no time to look");
        }
        Fact::HookStarted { id, limit } => {
            let limit = seconds(*limit);
            log::info!(hook = hook_name(*id).as_str(), attempt = id.attempt, limit = limit.as_str();
                "hook started");
        }
        Fact::HookEnded { id, outcome, status } => {
            let level = if *outcome == Outcome::Done { Level::Info } else { Level::Warn };
            let status = status.map_or(String::new(), |status| format!(" with {status}"));
            log::log!(level, hook = hook_name(*id).as_str(), attempt = id.attempt;
                "hook {}{status}", outcome.as_str());
        }
        Fact::HookRetried { id, pause } => {
            let pause = seconds(*pause);
            log::info!(hook = hook_name(*id).as_str(), pause = pause.as_str(); "hook is tried again");
        }
        Fact::HookSkipped { id } => {
            log::warn!(hook = hook_name(*id).as_str(); "hook left out: no time is left for it");
        }
        Fact::AppEnded { ending } => match ending {
            Ending::Was(status) => log::info!("the app ended with {status}"),
            Ending::NotStarted(_) => log::info!("the app was never started"),
            Ending::Forestalled(signal) => {
                log::info!(signal:%; "the app is not started: a stop was asked for before");
            }
            Ending::Unkillable => log::warn!("the app does not die"),
        },
        Fact::LeftoversSignalled { signal, left } => {
            let left = seconds(*left);
            log::debug!(signal:%, left = left.as_str(); "looking for what the app left behind");
        }
        Fact::DeadlineReached { early: false } => {
            log::warn!("the budget is over: killing what is left");
        }
        Fact::DeadlineReached { early: true } => log::warn!("killing what is left"),
        Fact::Unkillable => {
            log::warn!("something survives SIGKILL (uninterruptible sleep): going on without it");
        }
        Fact::Suspended { signal } => log::debug!(signal:%; "suspended with the app"),
        Fact::Resumed => log::debug!("resumed with the app"),
        Fact::Exit { code, reason } => {
            log::info!(code, reason = reason.as_str(); "leaving");
        }
    }
}
