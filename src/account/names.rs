//! What the numbers of the plan are called: hooks and conditions of readiness.

use std::sync::OnceLock;

use crate::machine::hooks::HookId;
use crate::machine::plan::PerPhase;

static HOOKS: OnceLock<PerPhase<Vec<String>>> = OnceLock::new();
static CONDITIONS: OnceLock<Vec<String>> = OnceLock::new();

/// Makes the hooks' names known, once for each life.
pub fn set_hooks(names: PerPhase<Vec<String>>) {
    let _ = HOOKS.set(names);
}

/// Makes the names of the conditions known, in the order of the plan.
pub fn set_conditions(names: Vec<String>) {
    let _ = CONDITIONS.set(names);
}

/// A hook's name.
pub fn hook(id: HookId) -> String {
    let given = HOOKS.get().and_then(|names| names.of(id.phase).get(id.index));
    given.cloned().unwrap_or_else(|| format!("{}-{}", id.phase.as_str(), id.index + 1))
}

/// What a condition of readiness was written as.
pub fn condition(index: usize) -> &'static str {
    CONDITIONS.get().and_then(|names| names.get(index)).map_or("?", String::as_str)
}
