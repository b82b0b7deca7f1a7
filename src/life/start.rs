//! What comes before the first child. An error in here is fatal.

use std::rc::Rc;

use super::app::{App, SignalState};
use super::drain::Drain;
use super::effects::{DeadManTimer, Effects, Leave};
use super::files::Files;
use super::main_loop::Supervisor;
use super::notify_app::AppNotify;
use super::ready_file::ReadyFile;
use super::service_manager::ServiceManager;
use super::terminal::JobControl;
use crate::account::live::Live;
use crate::account::{journal, plan_names, waiting};
use crate::cli::OptionId;
use crate::config::{Config, When};
use crate::machine::Machine;
use crate::machine::hooks::HookPhase;
use crate::machine::plan::{PerPhase, Surroundings};
use crate::observer::{Listener, Observer};
use crate::sys::launch::spawn::Program;
use crate::sys::launch::{EarlyApp, Inherited};
use crate::sys::notify::watchdog_from_environment;
use crate::sys::signals::{Disposition, Source};
use crate::sys::{fd, process, safe_path, signals, tty};
use crate::types::{Pid, Signal};

/// Runs the app to its end, and graceinit with it.
pub fn run(config: Box<Config>, inherited: Inherited) -> Leave {
    let mut files = Files::default();
    let codes = config.plan.exit.codes;
    let early = inherited.early.as_ref().map(|app| app.child.pid);
    match prepare(config, inherited, &mut files) {
        Ok(supervisor) => supervisor.live(),
        Err(message) => {
            if let Some(app) = early {
                let _ = signals::send(app, Signal::KILL);
            }
            // Logs the message as a fatal one.
            files.never_started(message, codes.own);
            Leave { code: codes.own, by: None }
        }
    }
}

/// Takes over signals and orphans, opens what is configured, and makes the machine.
///
/// Never inlined, and the result is boxed: the loop uses the same pages of the stack again.
#[inline(never)]
fn prepare(
    config: Box<Config>,
    inherited: Inherited,
    files: &mut Files,
) -> Result<Box<Supervisor>, String> {
    let (source, child_signal, early) = match inherited.early {
        Some(EarlyApp { child, source }) => (source, Disposition::Default, Some(child)),
        None => {
            fd::reserve_stdio();
            // Before everything that may fail, so that report and metrics tell of it.
            files.open(&config)?;
            let (source, child_signal) = take_charge()?;
            (source, child_signal, None)
        }
    };
    if let Some(signal) = config.parent_signal {
        ask_for_parent_death(signal, inherited.parent)?;
    }
    super::panic::prepare(&config);
    let program = Program::new(&config.command).map_err(|word| {
        format!("unable to use the word '{}': it holds a NUL byte", word.to_string_lossy())
    })?;
    // Never freed: the app's child reads it.
    let program: &'static Program = Box::leak(Box::new(program));
    // An app that was started early has none.
    let terminal = if early.is_none() { tty::Terminal::controlling() } else { None };
    // In place of another program, WATCHDOG_USEC is for the app, as it is there.
    let watchdog = if config.plain { None } else { watchdog_from_environment() };
    let plan = Rc::clone(&config.plan);
    // A terminal that the app takes to its own session is not graceinit's.
    let ours = terminal.as_ref().filter(|_| !(plan.session && tty::leads_session()));
    let suspendable = ours.is_some() && !process::is_first() && tty::can_be_resumed();
    let mut surroundings =
        Surroundings { terminal: ours.is_some(), suspendable, watchdog, jitter: 0 };
    if HookPhase::ALL.iter().any(|phase| !plan.hooks.of(*phase).is_empty()) {
        plan_names::set_hooks(PerPhase::each(|phase| {
            config.hooks.of(phase).iter().map(|hook| hook.name.clone()).collect()
        }));
        surroundings.jitter = u64::from_ne_bytes(process::random());
    }
    plan_names::set_conditions(config.ready.iter().map(|ready| ready.text.clone()).collect());
    if !config.drained.is_empty() {
        plan_names::set_words(config.drained.iter().map(|word| word.text.clone()).collect());
    }
    waiting::set(&awaited(&config), config.drain.is_some());
    let observer = Observer::new(listeners(&config)?, None).when_asked();
    let observer = observer.with_checks(config.health.clone());
    let ready_file = ReadyFile::open(&config)?;
    let manager = ServiceManager::new(!config.plain, watchdog.is_some());
    let notify = AppNotify::open(&config, watchdog.is_some())?;
    if let Some(exposed) = config.exposed() {
        log::info!("{exposed}");
    }
    let live = ours.and_then(|_| Live::new());
    let signals = SignalState { mask: inherited.mask, child_signal };
    let effects = Effects {
        app: App::new(program, signals, early),
        children: Default::default(),
        attempts: Default::default(),
        asking: Default::default(),
        deputy: Default::default(),
        survivors: Default::default(),
        deaths: Default::default(),
        terminal: JobControl::new(terminal, config.plan.session),
        live,
        ready_file,
        notify,
        manager,
        drain: Drain::default(),
        dead_man: DeadManTimer::default(),
        observer,
        published: None,
        serving: false,
        awaited: (0, false),
        files: std::mem::take(files),
        closing: Default::default(),
        leave: None,
        config,
    };
    // ---- The border. From here on nothing is fatal: hooks have run, or the app depends on graceinit. ----
    Ok(Box::new(Supervisor::new(Machine::new(plan, surroundings), effects, source)))
}

/// The conditions of readiness, and what is known of each before the first look.
fn awaited(config: &Config) -> Vec<(&str, String)> {
    let first = |when: &When| match when {
        When::Notify => "no READY=1 came".to_owned(),
        When::Fd(_) => "no line end came".to_owned(),
        When::Signal(signal) => format!("no {signal} came"),
        When::After(_) => "the time is not over".to_owned(),
        When::Probe(_) => "no answer yet".to_owned(),
    };
    config.ready.iter().map(|ready| (ready.text.as_str(), first(&ready.when))).collect()
}

fn listeners(config: &Config) -> Result<Vec<Listener>, String> {
    let open = |address| {
        Listener::open(address).map_err(|error| {
            let why = safe_path::explain(&error);
            let source = config.source_of(OptionId::Listen);
            format!("unable to listen on {address} ({source}): {why}; name another one")
        })
    };
    config.listen.iter().map(open).collect()
}

/// Takes charge of signals and of orphans. Returns how SIGCHLD was handled before.
fn take_charge() -> Result<(Source, Disposition), String> {
    let source = Source::open().map_err(|error| {
        format!("unable to open a signalfd: {error}; raise the limit of open files (ulimit -n)")
    })?;
    // With SIGCHLD inherited as ignored, the kernel would discard every exit status.
    let child_signal = signals::set_disposition(Signal::CHLD, Disposition::Default);
    if !process::is_first() {
        if let Err(error) = process::become_subreaper() {
            journal::warn(format!(
                "unable to become a child subreaper: {error}; orphans of the app are not reaped"
            ));
        }
    }
    Ok((source, child_signal))
}

/// Asks the kernel for a signal when the parent dies. It is lost if the parent died before, so the parent is compared
/// afterwards.
fn ask_for_parent_death(signal: Signal, parent: Pid) -> Result<(), String> {
    process::signal_when_parent_dies(signal)
        .map_err(|error| format!("unable to ask for {signal} at the parent's death: {error}"))?;
    if process::parent() != parent {
        let _ = signals::send(process::own_pid(), signal);
    }
    Ok(())
}
