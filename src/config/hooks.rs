//! The hooks: as they are configured, and how they are read. The hooks of a phase come from the source that counts
//! most; those of a profile follow in any case.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use super::commands;
pub use super::commands::{Builtin, Task, WaitFor};
use super::file::Block;
use super::parse;
use super::reader::Reader;
use super::source::{Found, Source};
use super::user::{self, User};
use crate::cli::OptionId;
use crate::machine::hooks::HookPhase;
use crate::machine::plan::{HookLimits, OnFailure};

/// One hook. Its limits are in the plan, at the same place of the same phase.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hook {
    /// The name in the log and in `GRACEINIT_HOOK`.
    pub name: String,
    /// What the hook does.
    pub task: Task,
    /// The hook's own variables, as `NAME=value`.
    pub env: Vec<CString>,
    /// The user that the hook runs as, if that is not the user of the app.
    pub user: Option<User>,
    /// Where the hook was configured.
    pub source: Source,
    /// The command as it was written, for messages.
    pub text: String,
}

/// The option of a phase.
pub(super) fn option(phase: HookPhase) -> OptionId {
    match phase {
        HookPhase::PreStart => OptionId::PreStart,
        HookPhase::OnReady => OptionId::OnReady,
        HookPhase::OnReload => OptionId::OnReload,
        HookPhase::PreStop => OptionId::PreStop,
        HookPhase::OnStop => OptionId::OnStop,
        HookPhase::PostStop => OptionId::PostStop,
        HookPhase::Ready => OptionId::Ready,
        HookPhase::Drained => OptionId::Drained,
    }
}

/// The limits of hooks that have no limits of their own.
pub(super) struct Usual {
    pub(super) timeout: Duration,
    /// Whether `--hook-timeout` was set.
    pub(super) is_asked: bool,
    pub(super) retries: Option<u32>,
    pub(super) backoff: Duration,
}

/// A default timeout must not cut off a `sleep:`.
const SLEEP_MARGIN: Duration = Duration::from_secs(1);

impl Usual {
    pub(super) fn read(reader: &mut Reader<'_>) -> Usual {
        Usual {
            timeout: reader.one(OptionId::HookTimeout, parse::some_time).unwrap_or_default(),
            is_asked: reader.asked(OptionId::HookTimeout).is_some(),
            retries: reader.one(OptionId::HookRetries, parse::count),
            backoff: reader.one(OptionId::HookBackoff, parse::duration).unwrap_or_default(),
        }
    }

    fn timeout_of(&self, task: &Task) -> Duration {
        match task {
            Task::Builtin(Builtin::Sleep(span)) if !self.is_asked => {
                self.timeout.max(span.saturating_add(SLEEP_MARGIN))
            }
            Task::Builtin(_) | Task::Command(_) => self.timeout,
        }
    }
}

/// A hook with its source, for `conflicts`.
pub(super) struct Draft {
    pub(super) hook: Hook,
    pub(super) limits: HookLimits,
    pub(super) block: Block,
}

/// Reads the hooks of a phase, in order.
#[cold]
pub(super) fn read(reader: &mut Reader<'_>, phase: HookPhase, usual: &Usual) -> Vec<Draft> {
    let above = reader.lookup.above_file(option(phase));
    let file = in_file(reader, phase);
    let blocks = match above {
        Some(found) => {
            // The whole file is checked, also where another source counts more.
            for (index, block) in file.into_iter().enumerate() {
                draft(reader, phase, index, block, usual);
            }
            found.into_iter().map(Block::new).collect()
        }
        None => file,
    };
    // The hooks of a profile are a part of how the server is stopped.
    let profile = reader.lookup.in_profile(option(phase)).into_iter().map(Block::new);
    let blocks: Vec<Block> = blocks.into_iter().chain(profile).collect();
    let mut drafts = Vec::with_capacity(blocks.len());
    for (index, block) in blocks.into_iter().enumerate() {
        if let Some(draft) = draft(reader, phase, index, block, usual) {
            warn_of_shell(reader, &draft);
            drafts.push(draft);
        }
    }
    drafts
}

fn in_file(reader: &mut Reader<'_>, phase: HookPhase) -> Vec<Block> {
    let id = option(phase);
    let lines = reader.lookup.in_file(id).map(<[_]>::to_vec).unwrap_or_default();
    let tables = reader.lookup.contents.hooks.iter().find(|(known, _)| *known == phase);
    let tables = tables.map(|(_, blocks)| blocks.clone()).unwrap_or_default();
    if let (Some(line), false) = (lines.first(), tables.is_empty()) {
        let why =
            format!("there are tables [[hook.{id}]] too; write all hooks of a phase as tables");
        reader.wrong(id, line, why);
    }
    lines.into_iter().map(Block::new).chain(tables).collect()
}

fn draft(
    reader: &mut Reader<'_>,
    phase: HookPhase,
    index: usize,
    block: Block,
    usual: &Usual,
) -> Option<Draft> {
    let name = key(reader, &block.name, "name", parse::hook_name);
    let timeout = key(reader, &block.timeout, "timeout", parse::some_time);
    let retries = key(reader, &block.retries, "retries", parse::count);
    let backoff = key(reader, &block.backoff, "backoff", parse::duration);
    let on_failure = key(reader, &block.on_failure, "on_failure", |text| on_failure(phase, text));
    let user = key(reader, &block.user, "user", user::read);
    let words = match &block.words {
        Some(words) => Ok(words.clone()),
        None => commands::split(OsStr::as_bytes(&block.command.value)),
    };
    let task = match words.and_then(|words| commands::task(phase, words)) {
        Ok(task) => task,
        Err(why) => {
            reader.wrong(option(phase), &block.command, why);
            return None;
        }
    };
    let hook = Hook {
        name: name.unwrap_or_else(|| format!("{}-{}", phase.as_str(), index + 1)),
        task,
        env: block.env.clone(),
        user,
        source: block.command.source.clone(),
        text: block.command.text(),
    };
    let (tries, failure) = match phase {
        HookPhase::OnStop => (3, OnFailure::Warn),
        HookPhase::PreStart => (0, OnFailure::Abort),
        HookPhase::OnReady
        | HookPhase::OnReload
        | HookPhase::PreStop
        | HookPhase::PostStop
        | HookPhase::Ready
        | HookPhase::Drained => (0, OnFailure::Warn),
    };
    let limits = HookLimits {
        timeout: timeout.unwrap_or_else(|| usual.timeout_of(&hook.task)),
        retries: retries.or(usual.retries).unwrap_or(tries),
        backoff: backoff.unwrap_or(usual.backoff),
        on_failure: on_failure.unwrap_or(failure),
    };
    Some(Draft { hook, limits, block })
}

/// Reads a key of a hook.
fn key<T>(
    reader: &mut Reader<'_>,
    found: &Option<Found>,
    key: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Option<T> {
    reader.read(key, found.as_slice(), parse).pop()
}

fn warn_of_shell(reader: &mut Reader<'_>, draft: &Draft) {
    if let Some(word) = commands::shell_operator(&draft.hook.task) {
        reader.warnings.push(format!(
            "{} '{}': hooks run without a shell, so '{word}' is a plain argument; write sh -c '...' \
             if a shell is meant",
            draft.hook.source, draft.hook.text
        ));
    }
}

fn on_failure(phase: HookPhase, text: &str) -> Result<OnFailure, String> {
    let wanted = parse::on_failure(text)?;
    match phase {
        HookPhase::PreStart | HookPhase::OnReload | HookPhase::OnStop => Ok(wanted),
        HookPhase::OnReady
        | HookPhase::PreStop
        | HookPhase::PostStop
        | HookPhase::Ready
        | HookPhase::Drained => match wanted {
            OnFailure::Warn => Ok(wanted),
            OnFailure::Abort => Err(format!(
                "{} continues after every failure; write warn, or move the hook to pre-start, \
                 on-reload or on-stop",
                phase.as_str()
            )),
        },
    }
}
