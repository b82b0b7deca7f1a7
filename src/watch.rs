//! The account for those who read it: begun before anything else, and handed to the observer and to
//! files as it changes.

use crate::cli::VERSION;
use crate::config::Config;
use crate::config::hooks::Hook;
use crate::hookenv;
use crate::machine::hook::HookPhase;
use crate::machine::phase::PhaseName;
use crate::observe::account::{self, Account};
use crate::observe::log::Format;
use crate::observe::{journal, set_trace};
use crate::sys::clock;

/// The account is kept if anybody will read it.
pub fn keep_account(config: &Config) {
    if config.is_watched() || config.log_format == Format::Json {
        set_trace(hookenv::trace().id());
    }
    if !config.is_watched() {
        return;
    }
    let settings = config.settings.iter().map(|setting| account::Setting {
        name: setting.name.to_owned(),
        value: account::cut(&setting.value),
        source: setting.source.to_string(),
    });
    let words: Vec<_> = config.command.iter().map(|word| word.to_string_lossy()).collect();
    let hooks = HookPhase::ALL.iter().flat_map(|phase| {
        let named = |hook: &Hook| account::Hook {
            phase: phase.as_str().to_owned(),
            name: hook.name.clone(),
            ..account::Hook::default()
        };
        config.hooks.of(*phase).iter().map(named)
    });
    let account = Account {
        v: account::VERSION,
        program: format!("graceinit {VERSION}"),
        began: account::Wall(clock::wall().as_micros() as u64),
        trace_id: hookenv::trace().id().to_owned(),
        phase: PhaseName::Starting.as_str().to_owned(),
        app: account::App { command: account::cut(&words.join(" ")), ..account::App::default() },
        hooks: hooks.collect(),
        settings: settings.collect(),
        ..Account::default()
    };
    journal::keep(account, clock::now());
}
