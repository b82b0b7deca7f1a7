//! `--rehearse`: a stop under load, before production. What was lost, why, and which settings would have lost nothing.
//!
//! `search` plays rounds: `round` starts the app under a graceinit of its own (`replica`, `words`), puts a load on it
//! (`load`, `answer`, `tally`), and stops it as the platform does. `diagnosis` says what happened, and `result` prints
//! it, `page` as HTML.
//! The rollout benchmark (tests/rollout) uses load, answer and tally too.

pub mod answer;
mod diagnosis;
pub mod load;
mod page;
mod replica;
mod result;
mod round;
mod search;
pub mod tally;
mod words;

use crate::cli::persona::Persona;
use crate::cli::{Given, OPTIONS, OptionId};
use crate::config::platform::by_name;
use crate::config::rehearse::Rehearsal;
use crate::config::source::Source;
use crate::config::{Config, Place, Variables};
use crate::sys::clock;
use crate::sys::signals::Mask;
use crate::types::Signal;

use replica::Stage;
use result::Printer;
use round::Failure;
use search::Search;

/// How a rehearsal ended.
#[derive(Debug)]
pub enum Ended {
    /// 0: nothing was lost and the stop fits; else 1.
    Code(u8),
    /// By this signal. All that was started has ended.
    By(Signal),
}

/// What the program was called with.
pub struct Call<'a> {
    /// The command line.
    pub given: &'a Given,
    /// The variables of graceinit.
    pub variables: &'a Variables<'a>,
    /// Where it runs.
    pub place: Place,
    /// The name that the program was called by.
    pub persona: Persona,
    /// The mask that it was started with.
    pub mask: Mask,
}

/// Plays the rehearsal and prints what came of it.
///
/// # Errors
/// The rehearsal itself could not be played: why, and what to do.
pub fn run(config: &Config, rehearsal: &Rehearsal, call: &Call<'_>) -> Result<Ended, String> {
    let contract = config.contract;
    let kill = rehearsal.time.or(contract.kill);
    let first = contract.platform.stops.split(',').next().and_then(Signal::parse);
    let signal = first.unwrap_or(Signal::TERM);
    let mut printer = Printer::new(rehearsal, contract, signal, kill)?;
    let stage = Stage::open(call.mask, call.persona.name())
        .map_err(|error| format!("unable to watch child processes: {error}"))?;
    let ours = |name: &str| name.starts_with("GRACEINIT_") || name == "GRACE_EXIT_TIMEOUT";
    let others: Vec<(&str, &[u8])> =
        call.variables.iter().filter(|(name, _)| !ours(name)).copied().collect();
    let life = words::of_life(call.given, call.variables);
    let search = Search {
        stage,
        platform: platform(config, &life),
        life,
        place: call.place,
        variables: &others,
        without: OPTIONS
            .iter()
            .filter_map(|opt| opt.variable)
            .chain(["GRACE_EXIT_TIMEOUT"])
            .collect(),
        rehearsal,
        signal,
        kill,
        begun: clock::now(),
    };
    printer.begin(search.stage.apart, &config.warnings);
    let (rows, best) = match search.run(&mut printer) {
        Ok(found) => found,
        Err(Failure::Interrupted(signal)) => {
            printer.erase();
            return Ok(Ended::By(signal));
        }
        Err(Failure::NeverReady(mut why)) => {
            why.again = printer.stops() > 1;
            printer.never_ready(&why);
            return Ok(Ended::Code(1));
        }
        Err(Failure::Own(why)) => return Err(format!("unable to rehearse: {why}")),
    };
    printer.end(&rows, best, &search.life);
    let is_clean = rows.first().is_some_and(search::Row::is_clean);
    Ok(Ended::Code(u8::from(!is_clean)))
}

/// The platform that the replicas have to be told, because only `--rehearse` names it.
fn platform(config: &Config, life: &Given) -> Option<&'static str> {
    let platform = config.contract.platform;
    let own = life.values(OptionId::Platform).last().and_then(|value| value.to_str());
    let own = own.and_then(|value| by_name(value.split(':').next()?));
    let named = config.source_of(OptionId::Platform) == Source::Flag(OptionId::Rehearse);
    (named && own != Some(platform)).then_some(platform.name)
}
