//! What users call the hooks and the conditions of readiness, which the plan has numbers for.

use std::sync::OnceLock;

use crate::machine::hooks::HookId;
use crate::machine::plan::PerPhase;

static HOOKS: OnceLock<PerPhase<Vec<String>>> = OnceLock::new();
static CONDITIONS: OnceLock<Vec<String>> = OnceLock::new();

static WORDS: OnceLock<Vec<String>> = OnceLock::new();

/// Sets the texts of the conditions of `--drained`, in the order of the plan.
pub fn set_words(texts: Vec<String>) {
    let _ = WORDS.set(texts);
}

/// The text of a condition of `--drained`, as the user wrote it.
pub fn word(index: usize) -> &'static str {
    WORDS.get().and_then(|texts| texts.get(index)).map_or("?", String::as_str)
}

/// Sets the names of the hooks, in the order of the plan.
pub fn set_hooks(names: PerPhase<Vec<String>>) {
    let _ = HOOKS.set(names);
}

/// Sets the texts of the conditions, in the order of the plan.
pub fn set_conditions(texts: Vec<String>) {
    let _ = CONDITIONS.set(texts);
}

/// The name of a hook, `PHASE-NUMBER` if no names are set.
pub fn hook(id: HookId) -> String {
    let name = HOOKS.get().and_then(|names| names.of(id.phase).get(id.index));
    name.cloned().unwrap_or_else(|| format!("{}-{}", id.phase.as_str(), id.index + 1))
}

/// The text of a condition, as the user wrote it.
pub fn condition(index: usize) -> &'static str {
    CONDITIONS.get().and_then(|texts| texts.get(index)).map_or("?", String::as_str)
}
