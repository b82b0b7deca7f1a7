//! One stop under load.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::answer::{Class, Want};
use super::load::{Done, Keep, Load, Plan, Request};
use super::replica::{Interrupted, Replica, Seen, Stage};
use super::tally::{Record, Tally};
use crate::config::rehearse::{Rehearsal, Url};
use crate::sys::{clock, signals};
use crate::types::{Signal, Status, Time};

/// What a round needs to know.
pub(super) struct Terms<'a> {
    pub(super) rehearsal: &'a Rehearsal,
    /// The signal of the platform.
    pub(super) signal: Signal,
    /// When the platform sends SIGKILL.
    pub(super) kill: Option<Duration>,
    /// When the rehearsal gives up where nothing kills.
    pub(super) patience: Duration,
    /// How long the app may take until it answers.
    pub(super) start: Duration,
    /// graceinit knows what to wait for before the app is ready.
    pub(super) is_told_ready: bool,
}

/// One stop.
pub(super) struct Round {
    /// The stop signal was sent then.
    pub(super) at: Time,
    /// How long after it the balancer opened no connection any more.
    pub(super) knew: Duration,
    /// Clients went on sending on the connections that they had.
    pub(super) pinned: bool,
    pub(super) tally: Tally,
    /// From the stop signal to the end of graceinit.
    pub(super) took: Duration,
    pub(super) status: Status,
    /// The platform has killed it, or (where nothing kills) the rehearsal.
    pub(super) killed: bool,
    /// The app answered, but graceinit had not logged that it is ready.
    pub(super) unready: bool,
    pub(super) facts: Vec<Seen>,
}

/// Why there is no round.
pub(super) enum Failure {
    Interrupted(Signal),
    /// The app did not answer: what was looked at.
    NeverReady(Box<NeverReady>),
    /// The rehearsal itself failed.
    Own(String),
}

/// An app that did not answer.
pub(super) struct NeverReady {
    /// An app with other settings has answered before.
    pub(super) again: bool,
    pub(super) url: String,
    pub(super) times: u32,
    pub(super) within: Duration,
    /// What the last request got.
    pub(super) last: Option<Class>,
    /// graceinit has ended by itself.
    pub(super) ended: Option<(Duration, Status)>,
    /// The last lines of the app.
    pub(super) lines: Vec<String>,
    /// What graceinit has said of its readiness.
    pub(super) waits: Option<Seen>,
}

impl From<Interrupted> for Failure {
    fn from(Interrupted(signal): Interrupted) -> Failure {
        Failure::Interrupted(signal)
    }
}

fn own(error: impl std::fmt::Display) -> Failure {
    Failure::Own(error.to_string())
}

/// Between two looks.
const LOOK: Duration = Duration::from_millis(5);
/// Between two requests to an app that does not answer yet, and to a health check.
const PAUSE: Duration = Duration::from_millis(100);
const CHECK: Duration = Duration::from_millis(500);
/// A health check without an answer by then has failed. The first request of an app gets as long; each further one gets
/// twice as long as the one before, because handlers may be slow.
const ANSWER: Duration = Duration::from_secs(2);
/// What has no answer by then has none: longer than any stop that is worth waiting for.
const TIMEOUT: Duration = Duration::from_secs(120);
/// The load before the stop.
const WARM: Duration = Duration::from_secs(1);
/// The longest time for that.
const STEADY: Duration = Duration::from_secs(5);
/// More than the highest rate sends in the longest lag.
const RECORDS: usize = 1_000_000;

/// Starts the app, puts load on it, stops it, and waits until every request has its class.
pub(super) fn play(
    stage: &Stage,
    terms: &Terms<'_>,
    words: &[std::ffi::OsString],
    without: &[&str],
) -> Result<Round, Failure> {
    for url in &terms.rehearsal.urls {
        if TcpStream::connect_timeout(&url.to, ANSWER).is_ok() {
            return Err(Failure::Own(format!(
                "{} accepts connections before the app is started: another program listens there; stop it, or take \
                 another port",
                url.to
            )));
        }
    }
    let mut replica = stage.start(words, without).map_err(own)?;
    let round = play_with(stage, terms, &mut replica);
    let cleared = stage.clear(&mut replica);
    let round = round?;
    cleared?;
    Ok(Round { facts: replica.facts().to_vec(), ..round })
}

fn play_with(stage: &Stage, terms: &Terms<'_>, replica: &mut Replica) -> Result<Round, Failure> {
    for url in terms.rehearsal.urls.iter().chain(&terms.rehearsal.health) {
        until_it_answers(stage, terms, replica, url)?;
    }
    let unready = terms.is_told_ready && !until_ready(stage, replica)?;
    let Rehearsal { urls, rate, lag, health, pinned, .. } = terms.rehearsal;
    let load = Load::start(Plan {
        requests: requests(urls),
        rate: *rate,
        timeout: TIMEOUT,
        limit: u64::MAX,
        keep: Keep::Most,
        records: RECORDS,
    });
    let load = load.map_err(own)?;
    let begun = clock::now();
    let steady = |load: &Load| load.answered() >= u64::from(*rate / 2).max(1);
    while replica.ended.is_none()
        && (clock::now() < begun.after(WARM)
            || !steady(&load) && clock::now() < begun.after(STEADY))
    {
        stage.wait(replica, clock::now().after(LOOK))?;
    }
    let at = clock::now();
    // It has ended already, if that fails.
    let _ = signals::send(replica.pid, terms.signal);
    let mut watch = Balancer { knew: None, asks: None, next: at };
    let (end, mut killed) = (at.after(terms.kill.unwrap_or(terms.patience)), false);
    while replica.ended.is_none() || !load.is_over() {
        let now = clock::now();
        watch.look(now, at.after(*lag), health.as_ref());
        match watch.knew {
            Some(_) if *pinned => load.pin(),
            Some(_) => load.hush(),
            None => {}
        }
        if replica.ended.is_none() && now >= end {
            killed = true;
            stage.kill(replica);
        }
        stage.wait(replica, now.after(LOOK))?;
        if replica.ended.is_some() && !stage.apart {
            // What graceinit has left behind would die with the container.
            stage.kill(replica);
        }
    }
    let knew = watch.knew.unwrap_or(at).since(at);
    let Done { tally, idle } = load.end().map_err(own)?;
    drop(idle);
    if tally.count(Class::Generator) > 0 {
        let advice = "no port or no descriptor was left for the load; lower --rate";
        return Err(Failure::Own(advice.to_owned()));
    }
    let (ended, status) = replica.ended.unwrap_or((clock::now(), Status::Code(0)));
    let took = ended.since(at);
    let pinned = *pinned;
    Ok(Round { at, knew, pinned, tally, took, status, killed, unready, facts: Vec::new() })
}

/// When the balancer stops sending requests to the app.
struct Balancer {
    knew: Option<Time>,
    /// A check under way.
    asks: Option<Load>,
    /// When the next check begins.
    next: Time,
}

impl Balancer {
    /// `told`: when it is told, if it does not check itself.
    fn look(&mut self, now: Time, told: Time, health: Option<&Url>) {
        let Some(health) = health else {
            self.knew = self.knew.or((now >= told).then_some(now));
            return;
        };
        if self.knew.is_some() {
            return;
        }
        match self.asks.take() {
            Some(load) if !load.is_over() => self.asks = Some(load),
            Some(load) => self.knew = (asked(load) != Some(Class::Ok)).then_some(now),
            None if now >= self.next => {
                self.next = now.after(CHECK);
                self.asks = ask(health, ANSWER).ok();
            }
            None => {}
        }
    }
}

/// Sends one request.
fn ask(url: &Url, timeout: Duration) -> std::io::Result<Load> {
    Load::start(Plan {
        requests: requests(std::slice::from_ref(url)),
        rate: 1,
        timeout,
        limit: 1,
        keep: Keep::None,
        records: 1,
    })
}

/// What became of it.
fn asked(load: Load) -> Option<Class> {
    let done = load.end().ok()?;
    done.tally.records.first().map(|record: &Record| record.class)
}

fn until_it_answers(
    stage: &Stage,
    terms: &Terms<'_>,
    replica: &mut Replica,
    url: &Url,
) -> Result<(), Failure> {
    let (mut times, mut last, mut load, mut patience) = (0, None, None::<Load>, ANSWER);
    let mut next = clock::now();
    loop {
        let now = clock::now();
        match load.take() {
            Some(asks) if asks.is_over() => {
                last = asked(asks);
                if last == Some(Class::Ok) {
                    return Ok(());
                }
            }
            Some(asks) => load = Some(asks),
            None if now >= next => {
                patience *= if last == Some(Class::Timeout) { 2 } else { 1 };
                times += 1;
                next = now.after(PAUSE);
                load = Some(ask(url, patience).map_err(own)?);
            }
            None => {}
        }
        let within = now.since(replica.started);
        if replica.ended.is_some() || within > terms.start {
            let ended = replica.ended.map(|(at, status)| (at.since(replica.started), status));
            let lines = replica.last_lines();
            let said = |seen: &&Seen| ["not-ready", "still-not-ready"].contains(&&*seen.fact);
            let waits = replica.facts().iter().rfind(said).cloned();
            let url = url.text.clone();
            let why = NeverReady { again: false, url, times, within, last, ended, lines, waits };
            return Err(Failure::NeverReady(Box::new(why)));
        }
        stage.wait(replica, now.after(LOOK))?;
    }
}

/// How long graceinit may take to notice what the load generator has noticed.
const NOTICE: Duration = Duration::from_secs(3);

fn until_ready(stage: &Stage, replica: &mut Replica) -> Result<bool, Failure> {
    let end = clock::now().after(NOTICE);
    while !replica.has_seen("ready") {
        if clock::now() >= end || replica.ended.is_some() {
            return Ok(false);
        }
        stage.wait(replica, clock::now().after(LOOK))?;
    }
    Ok(true)
}

/// Each URL as often as its weight says, in turn.
fn requests(urls: &[Url]) -> Box<super::load::Requests> {
    let turns: Vec<(SocketAddr, &'static str, String)> = (0..1000)
        .flat_map(|turn| urls.iter().filter(move |url| turn < url.weight))
        .map(|url| (url.to, url.method, url.path.clone()))
        .collect();
    Box::new(move |number| {
        let place = usize::try_from(number).unwrap_or(0) % turns.len().max(1);
        let (to, method, path) = turns[place].clone();
        Request { to, method, path, own: Duration::ZERO, want: Want::Good }
    })
}

// ---- what became of the requests -------------------------------------------------------------------

/// How a request ended, in the columns of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Answered,
    Refused,
    Cut,
    /// An answer that says that the request failed.
    Failed,
}

impl Kind {
    pub(super) fn of(class: Class) -> Kind {
        match class {
            Class::Ok => Kind::Answered,
            Class::Refused | Class::Generator => Kind::Refused,
            Class::Empty | Class::Cut | Class::Wrong | Class::Timeout => Kind::Cut,
            Class::Status(_) => Kind::Failed,
        }
    }
}

impl Round {
    pub(super) fn count(&self, kind: Kind) -> u64 {
        self.tally.records.iter().filter(|record| Kind::of(record.class) == kind).count() as u64
    }

    /// When a record ended, counted from the stop signal; `None`: before it.
    pub(super) fn ended(&self, record: &Record) -> Option<Duration> {
        (record.ended >= self.at).then(|| record.ended.since(self.at))
    }

    /// The first request of this kind that ended after the stop signal, and that the balancer sent.
    pub(super) fn first(&self, kind: Kind) -> Option<&Record> {
        self.after_stop(kind).into_iter().next()
    }

    /// The requests of this kind that ended after the stop signal, and that the balancer sent, in the order of their ends.
    pub(super) fn after_stop(&self, kind: Kind) -> Vec<&Record> {
        let all = self.tally.records.iter().filter(|record| {
            self.ended(record).is_some() && !self.is_late(record) && Kind::of(record.class) == kind
        });
        let mut all: Vec<&Record> = all.collect();
        all.sort_by_key(|record| record.ended);
        all
    }

    /// A request that was sent when the balancer knew, on a connection that a client has to the app itself.
    fn is_late(&self, record: &Record) -> bool {
        self.pinned && record.meant > self.at.after(self.knew)
    }

    /// Such requests that were lost: how many, and when the first one was known to be.
    pub(super) fn lost_late(&self) -> Option<(usize, Duration)> {
        let lost = |record: &&Record| self.is_late(record) && record.class != Class::Ok;
        let late =
            || self.tally.records.iter().filter(lost).filter_map(|record| self.ended(record));
        Some((late().count(), late().min()?))
    }

    /// Requests that failed before the stop signal: not the stop's fault.
    pub(super) fn failed_before(&self) -> u64 {
        let before = self.tally.records.iter().filter(|record| self.ended(record).is_none());
        before.filter(|record| Kind::of(record.class) != Kind::Answered).count() as u64
    }

    /// The slowest whole answer.
    pub(super) fn slowest(&self) -> Duration {
        let good = self.tally.records.iter().filter(|record| record.class == Class::Ok);
        good.map(|record| record.ended.since(record.meant)).max().unwrap_or_default()
    }

    /// The first line of this kind.
    pub(super) fn fact(&self, fact: &str) -> Option<&Seen> {
        self.facts.iter().find(|seen| seen.fact == fact)
    }

    /// When a line came, counted from the stop signal.
    pub(super) fn since_stop(&self, seen: &Seen) -> Duration {
        seen.at.since(self.at)
    }

    /// Nothing was lost, and the stop fits into the time of the platform.
    pub(super) fn is_clean(&self) -> bool {
        self.tally.drops() == 0 && !self.killed
    }
}
