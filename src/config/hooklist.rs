//! The hooks of each phase, from the source that counts; those of a profile always.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use super::commands;
use super::file::Block;
use super::found::Found;
use super::hooks::{Builtin, Hook, Task};
use super::parse;
use super::reader::{Reader, user};
use crate::machine::hooks::HookPhase;
use crate::machine::plan::{HookLimits, OnFailure};

/// The limits of hooks that have none of their own.
pub(super) struct Usual {
    pub(super) timeout: Duration,
    /// Somebody asked for that timeout.
    pub(super) asked: bool,
    pub(super) retries: Option<u32>,
    pub(super) backoff: Duration,
}

/// A built-in pause is not to be cut off by a limit that nobody asked for.
const SLEEP_MARGIN: Duration = Duration::from_secs(1);

impl Usual {
    fn timeout_of(&self, task: &Task) -> Duration {
        match task {
            Task::Builtin(Builtin::Sleep(span)) if !self.asked => {
                self.timeout.max(span.saturating_add(SLEEP_MARGIN))
            }
            Task::Builtin(_) | Task::Command(_) => self.timeout,
        }
    }
}

/// A hook with what was said of it, for `conflicts`.
pub(super) struct Draft {
    pub(super) hook: Hook,
    pub(super) limits: HookLimits,
    pub(super) block: Block,
}

impl Reader<'_> {
    /// The hooks of a phase, in order.
    #[cold]
    pub(super) fn hooks(&mut self, phase: HookPhase, usual: &Usual) -> Vec<Draft> {
        let above = self.above_file(phase.as_str());
        let file = self.file_hooks(phase);
        let blocks = match above {
            Some(found) => {
                // A mistake in the file is one even where something else counts more.
                for (index, block) in file.into_iter().enumerate() {
                    self.draft(phase, index, block, usual);
                }
                found.into_iter().map(Block::new).collect()
            }
            None => file,
        };
        // What a profile does is a part of how its server is stopped.
        let profile = self.of_profile(phase.as_str()).into_iter().map(Block::new);
        let blocks: Vec<Block> = blocks.into_iter().chain(profile).collect();
        let mut drafts = Vec::with_capacity(blocks.len());
        for (index, block) in blocks.into_iter().enumerate() {
            if let Some(draft) = self.draft(phase, index, block, usual) {
                self.warn_of_shell(&draft);
                drafts.push(draft);
            }
        }
        drafts
    }

    fn file_hooks(&mut self, phase: HookPhase) -> Vec<Block> {
        let name = phase.as_str();
        let lines = self.of_file(name).map(<[_]>::to_vec).unwrap_or_default();
        let tables = self.contents.hooks.iter().find(|(known, _)| *known == phase);
        let tables = tables.map(|(_, blocks)| blocks.clone()).unwrap_or_default();
        if let (Some(line), false) = (lines.first(), tables.is_empty()) {
            let line = line.clone();
            let why = format!(
                "there are tables [[hook.{name}]] too; write all hooks of a phase as tables"
            );
            self.wrong(name, &line, why);
        }
        lines.into_iter().map(Block::new).chain(tables).collect()
    }

    fn draft(
        &mut self,
        phase: HookPhase,
        index: usize,
        block: Block,
        usual: &Usual,
    ) -> Option<Draft> {
        let name = self.of(&block.name, "name", parse::hook_name);
        let timeout = self.of(&block.timeout, "timeout", parse::some_time);
        let retries = self.of(&block.retries, "retries", parse::count);
        let backoff = self.of(&block.backoff, "backoff", parse::duration);
        let on_failure = self.of(&block.on_failure, "on_failure", |text| on_failure(phase, text));
        let user = self.of(&block.user, "user", user);
        let words = match &block.words {
            Some(words) => Ok(words.clone()),
            None => commands::split(OsStr::as_bytes(&block.command.value)),
        };
        let task = match words.and_then(|words| commands::task(phase, words)) {
            Ok(task) => task,
            Err(why) => {
                self.wrong(phase.as_str(), &block.command, why);
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
            | HookPhase::Ready => (0, OnFailure::Warn),
        };
        let limits = HookLimits {
            timeout: timeout.unwrap_or_else(|| usual.timeout_of(&hook.task)),
            retries: retries.or(usual.retries).unwrap_or(tries),
            backoff: backoff.unwrap_or(usual.backoff),
            on_failure: on_failure.unwrap_or(failure),
        };
        Some(Draft { hook, limits, block })
    }

    fn of<T>(
        &mut self,
        found: &Option<Found>,
        key: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.read(key, found.as_slice(), parse).pop()
    }

    fn warn_of_shell(&mut self, draft: &Draft) {
        if let Some(word) = commands::shell_operator(&draft.hook.task) {
            self.warnings.push(format!(
                "{} '{}': hooks run without a shell, so '{word}' is a plain argument; write sh -c '...' \
                 if a shell is meant",
                draft.hook.source, draft.hook.text
            ));
        }
    }
}

fn on_failure(phase: HookPhase, text: &str) -> Result<OnFailure, String> {
    let wanted = parse::on_failure(text)?;
    match phase {
        HookPhase::PreStart | HookPhase::OnReload | HookPhase::OnStop => Ok(wanted),
        HookPhase::OnReady | HookPhase::PreStop | HookPhase::PostStop | HookPhase::Ready => {
            match wanted {
                OnFailure::Warn => Ok(wanted),
                OnFailure::Abort => Err(format!(
                    "{} goes on whatever fails; write warn, or move the hook to pre-start, on-reload or on-stop",
                    phase.as_str()
                )),
            }
        }
    }
}
