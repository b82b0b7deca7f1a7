//! From the settings as they are to the quickest ones that lose nothing.

use std::ffi::OsString;
use std::time::Duration;

use super::diagnosis::{self, Case, Finding};
use super::replica::Stage;
use super::round::{self, Failure, Kind, Round, Terms};
use super::words::{self, Set};
use crate::cli::{Given, OptionId};
use crate::config::rehearse::Rehearsal;
use crate::config::{self, Config, Place, Variables};
use crate::machine::plan::Plan;
use crate::sys::clock;
use crate::sys::listen::Address;
use crate::types::{Signal, Status, Time};

/// No stop begins later than this.
pub(super) const LIMIT: Duration = Duration::from_secs(60);
/// No more sets of settings are tried.
const TRIES: usize = 7;

/// All that stays the same during a search.
pub(super) struct Search<'a> {
    pub(super) stage: Stage,
    /// What was given for the life of the app.
    pub(super) life: Given,
    pub(super) place: Place,
    /// Variables that mean something to graceinit under its present name, and are no settings.
    pub(super) variables: &'a Variables<'a>,
    /// Names of variables that the replicas do not get.
    pub(super) without: Vec<&'static str>,
    pub(super) rehearsal: &'a Rehearsal,
    pub(super) signal: Signal,
    pub(super) kill: Option<Duration>,
    /// `--platform`, if the replicas must be told.
    pub(super) platform: Option<&'static str>,
    pub(super) begun: Time,
}

/// Settings that were tried, and what came of it.
pub(super) struct Row {
    /// What was changed; nothing: as it is.
    pub(super) sets: Vec<Set>,
    pub(super) rounds: Vec<Round>,
    /// What happened in the first round that was not clean, or in the last one.
    pub(super) findings: Vec<Finding>,
}

impl Row {
    /// Every round lost nothing and fitted.
    pub(super) fn is_clean(&self) -> bool {
        self.rounds.iter().all(Round::is_clean)
    }

    pub(super) fn sent(&self) -> u64 {
        self.rounds.iter().map(|round| round.tally.sent).sum()
    }

    pub(super) fn count(&self, kind: Kind) -> u64 {
        self.rounds.iter().map(|round| round.count(kind)).sum()
    }

    pub(super) fn drops(&self) -> u64 {
        self.rounds.iter().map(|round| round.tally.drops()).sum()
    }

    pub(super) fn slowest(&self) -> Duration {
        self.rounds.iter().map(Round::slowest).max().unwrap_or_default()
    }

    /// The mean time of a stop.
    pub(super) fn took(&self) -> Duration {
        let all: Duration = self.rounds.iter().map(|round| round.took).sum();
        all / u32::try_from(self.rounds.len()).unwrap_or(1).max(1)
    }

    /// The exit codes, each once.
    pub(super) fn codes(&self) -> String {
        let code = |round: &Round| match round.status {
            _ if round.killed => "killed".to_owned(),
            Status::Code(code) => code.to_string(),
            Status::Signal(signal) => signal.to_string(),
        };
        let mut codes: Vec<String> = self.rounds.iter().map(code).collect();
        codes.sort_unstable();
        codes.dedup();
        codes.join(",")
    }

    /// The round that is drawn: the first one that was not clean, or the last one.
    pub(super) fn shown(&self) -> Option<&Round> {
        self.rounds.iter().find(|round| !round.is_clean()).or(self.rounds.last())
    }
}

/// What is told while a search goes on.
pub(super) trait Progress {
    /// A stop begins. `left`: the time in which others may begin.
    fn begins(&mut self, sets: &[Set], left: Duration);
    /// A row is complete.
    fn row(&mut self, row: &Row, is_best: bool);
}

impl Search<'_> {
    /// The configuration with these settings; `None`: they cannot be used together.
    fn config(&self, sets: &[Set]) -> Option<Config> {
        let given = words::with(&self.life, &self.platform_and(sets));
        config::build_with_settings(given, self.variables, self.place).ok()
    }

    fn platform_and(&self, sets: &[Set]) -> Vec<Set> {
        let platform = self.platform.map(|name| (OptionId::Platform, name.to_owned()));
        platform.into_iter().chain(sets.iter().cloned()).collect()
    }

    fn words(&self, sets: &[Set]) -> Vec<OsString> {
        let given = words::with(&self.life, &self.platform_and(sets));
        // The log is what is known of a stop from inside.
        words::of(&given, &["--log-level=info", "--log-format=json"])
    }

    fn is_over(&self) -> bool {
        clock::now() >= self.begun.after(LIMIT)
    }

    /// One stop with these settings.
    fn round(&self, sets: &[Set], config: &Config) -> Result<Round, Failure> {
        let Plan { grace, post_stop_timeout, .. } = *config.plan;
        let budget = config.plan.budget().map(|_| grace + post_stop_timeout);
        let terms = Terms {
            rehearsal: self.rehearsal,
            signal: self.signal,
            kill: self.kill,
            patience: budget.unwrap_or(LIMIT).min(LIMIT * 5) + Duration::from_secs(10),
            // graceinit has a second more, to say itself what it was waiting for.
            start: config.plan.ready_timeout.map_or(START, |time| time + Duration::from_secs(1)),
            is_told_ready: !config.ready.is_empty() || config.drain.is_some(),
        };
        round::play(&self.stage, &terms, &self.words(sets), &self.without)
    }

    fn findings(&self, config: &Config, round: &Round) -> Vec<Finding> {
        let (rehearsal, signal, kill) = (self.rehearsal, self.signal, self.kill);
        diagnosis::findings(&Case { config, rehearsal, signal, kill, round })
    }

    /// Plays one round with these settings. `None`: they cannot be used together.
    fn attempt(&self, sets: Vec<Set>, progress: &mut dyn Progress) -> Result<Option<Row>, Failure> {
        let Some(config) = self.config(&sets) else { return Ok(None) };
        progress.begins(&sets, self.begun.after(LIMIT).since(clock::now()));
        let round = self.round(&sets, &config)?;
        let findings = self.findings(&config, &round);
        Ok(Some(Row { sets, rounds: vec![round], findings }))
    }

    /// Plays further rounds until there are as many as were asked for, or one is not clean.
    fn confirm(&self, row: &mut Row, progress: &mut dyn Progress) -> Result<(), Failure> {
        let Some(config) = self.config(&row.sets) else { return Ok(()) };
        while row.is_clean() && row.rounds.len() < self.rehearsal.rounds as usize {
            // The rounds of a pipeline are all wanted; those of a search have a limit.
            if !self.rehearsal.only && self.is_over() {
                break;
            }
            progress.begins(&row.sets, self.begun.after(LIMIT).since(clock::now()));
            let round = self.round(&row.sets, &config)?;
            row.findings = self.findings(&config, &round);
            row.rounds.push(round);
        }
        Ok(())
    }

    /// The whole search: the rows in the order of the tries, and the place of the best one.
    pub(super) fn run(
        &self,
        progress: &mut dyn Progress,
    ) -> Result<(Vec<Row>, Option<usize>), Failure> {
        let Some(mut first) = self.attempt(Vec::new(), progress)? else {
            return Err(Failure::Own("the settings cannot be used".to_owned()));
        };
        if self.rehearsal.only || first.is_clean() && self.better(&first).is_none() {
            self.confirm(&mut first, progress)?;
            let best = first.is_clean().then_some(0);
            progress.row(&first, false);
            return Ok((vec![first], best));
        }
        progress.row(&first, false);
        let mut rows = vec![first];
        while rows.len() < TRIES && !self.is_over() {
            let Some(sets) = self.next(&rows) else { break };
            match self.attempt(sets.clone(), progress)? {
                Some(row) => {
                    progress.row(&row, false);
                    rows.push(row);
                }
                None => break,
            }
        }
        // The quickest clean row must stay clean.
        loop {
            let Some(best) = quickest(&rows) else { return Ok((rows, None)) };
            let before = rows[best].rounds.len();
            self.confirm(&mut rows[best], progress)?;
            // More rounds may show that it is not the quickest one after all.
            let is_best = quickest(&rows) == Some(best);
            if rows[best].rounds.len() > before {
                progress.row(&rows[best], is_best);
            }
            if is_best {
                return Ok((rows, Some(best)));
            }
        }
    }

    /// The settings to try next; `None`: none is left.
    fn next(&self, rows: &[Row]) -> Option<Vec<Set>> {
        let last = rows.last()?;
        let sets = match last.is_clean() {
            true => self.better(last)?,
            false => cured(last, |finding| !finding.is_note),
        };
        let is_known = rows.iter().any(|row| row.sets == sets);
        (!is_known).then_some(sets)
    }

    /// What may be quicker than these settings, which lose nothing.
    fn better(&self, row: &Row) -> Option<Vec<Set>> {
        let killed = cured(row, |finding| finding.is_slow);
        if killed != row.sets {
            return Some(killed);
        }
        self.quicker(row).or_else(|| self.acked(row))
    }

    /// The same with a shorter wait for silence, which suits apps that answer in one piece.
    fn quicker(&self, row: &Row) -> Option<Vec<Set>> {
        let config = self.config(&row.sets)?;
        let is_default = config.source_of(OptionId::DrainIdle).is_default();
        let waits = row.rounds.iter().any(|round| round.fact("drain-ended").is_some());
        let applies = config.drain.is_some() && is_default && waits;
        let one = (OptionId::DrainIdle, "1s".to_owned());
        applies.then(|| row.sets.iter().cloned().chain([one]).collect())
    }

    /// The same with an end of the delay when the balancer has been told by graceinit itself. The balancer of the
    /// rehearsal is one, and acts on the first answer.
    fn acked(&self, row: &Row) -> Option<Vec<Set>> {
        let config = self.config(&row.sets)?;
        let health = self.rehearsal.health.as_ref()?;
        let is_asked = |address: &Address| match address {
            Address::Tcp(address) => address.port() == health.to.port(),
            Address::Unix(_) | Address::Abstract(_) => false,
        };
        let waits = config.plan.drain.is_some_and(|drain| drain.acks.is_none());
        let applies = waits && config.listen.iter().any(is_asked);
        let one = (OptionId::DrainAcks, "1".to_owned());
        applies.then(|| row.sets.iter().cloned().chain([one]).collect())
    }
}

/// The quickest row that is clean. Of rows that are about as quick, the one with the fewest settings. `--drain-idle` does
/// not count as one: a real balancer keeps more connections without a request than this load, and each of them may be
/// waited for as long as that.
fn quickest(rows: &[Row]) -> Option<usize> {
    let clean = || rows.iter().enumerate().filter(|(_, row)| row.is_clean());
    let least = clean().map(|(_, row)| row.took()).min()?;
    let near = least + least / 10 + Duration::from_millis(50);
    let near = clean().filter(|(_, row)| row.took() <= near);
    let is_idle = |(id, _): &&Set| *id == OptionId::DrainIdle;
    let order = |row: &Row| {
        let idle = row.sets.iter().filter(is_idle).count();
        (row.sets.len() - idle, idle == 0 && !row.sets.is_empty())
    };
    near.min_by_key(|(_, row)| order(row)).map(|(place, _)| place)
}

/// The settings of a row and the cures of some of its findings.
fn cured(row: &Row, which: impl Fn(&Finding) -> bool) -> Vec<Set> {
    let mut sets = row.sets.clone();
    let findings = row.findings.iter().filter(|finding| which(finding));
    for cure in findings.flat_map(|finding| &finding.cures) {
        if !sets.contains(cure) {
            sets.retain(|(known, _)| *known != cure.0);
            sets.push(cure.clone());
        }
    }
    sets
}

/// How long the app may take to answer, unless `--ready-timeout` says it.
const START: Duration = Duration::from_secs(30);
