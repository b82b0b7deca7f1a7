//! What happened in a stop, in the order in which it happened, and the settings that cure it. Only what was seen is said.

use std::time::Duration;

use super::replica::Seen;
use super::round::{Kind, NeverReady, Round};
use super::tally::Record;
use super::words::Set;
use crate::account::timeline::seconds as written;
use crate::cli::OptionId;
use crate::config::profiles;
use crate::config::rehearse::Rehearsal;
use crate::config::{Config, Ports};
use crate::tools::check;
use crate::types::{Signal, Status};

/// One thing that happened.
pub(super) struct Finding {
    /// When, counted from the stop signal.
    at: Duration,
    /// A sentence or two, for people.
    pub(super) text: String,
    /// What cures it.
    pub(super) cures: Vec<Set>,
    /// It is no loss: the settings are right without the cure.
    pub(super) is_note: bool,
    /// The stop would have been quicker without it.
    pub(super) is_slow: bool,
}

/// What a round was played with.
pub(super) struct Case<'a> {
    pub(super) config: &'a Config,
    pub(super) rehearsal: &'a Rehearsal,
    /// The signal that the platform sends.
    pub(super) signal: Signal,
    /// When the platform sends SIGKILL.
    pub(super) kill: Option<Duration>,
    pub(super) round: &'a Round,
}

/// Events that are closer together than this are taken for one.
const CLOSE: Duration = Duration::from_millis(100);

/// Why no setting helps with connections that clients keep.
pub(super) const CLOSES: &str = "A client sends on its connection until the app closes it, and graceinit cannot do \
     that: let the app answer with `Connection: close` as soon as the stop has begun (a pre-stop hook can tell it), \
     or put a balancer of requests in front of it.";

/// A time for people: `3 ms`, `1.000 s`.
pub(super) fn span(span: Duration) -> String {
    match span.as_millis() {
        millis @ 0..1000 => format!("{millis} ms"),
        _ => format!("{:.3} s", span.as_secs_f64()),
    }
}

/// What happened, the first thing first.
pub(super) fn findings(case: &Case<'_>) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    found.extend(case.failed_before());
    found.extend(case.unready());
    found.extend(case.refused());
    found.extend(case.cut());
    found.extend(case.failed());
    found.extend(case.pinned());
    found.extend(case.hooks());
    found.extend(case.drain());
    found.extend(case.deadline());
    found.extend(case.killed());
    found.sort_by_key(|finding| finding.at);
    found.extend(case.exit_code());
    found.extend(case.may_be_killed());
    found
}

impl Case<'_> {
    fn finding(&self, at: Duration, text: String, cures: Vec<Set>) -> Finding {
        Finding { at, text, cures, is_note: false, is_slow: false }
    }

    /// The ports of the load, as `--drain` takes them.
    fn ports(&self) -> Vec<u16> {
        let mut ports: Vec<u16> = self.rehearsal.urls.iter().map(|url| url.to.port()).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    fn drain_ports(&self) -> Set {
        let ports: Vec<String> = self.ports().iter().map(u16::to_string).collect();
        (OptionId::Drain, ports.join(","))
    }

    /// The profile of the app, if it has one that is not in use.
    fn profile(&self) -> Option<Set> {
        let known = profiles::of_program(self.config.command.first()?)?;
        let unused = self.config.hint.is_some();
        unused.then(|| (OptionId::Profile, known.name.to_owned()))
    }

    /// The longest budget that the platform allows, if it is another one.
    fn fitting_grace(&self) -> Option<Vec<Set>> {
        let (grace, reserve) = check::fitting(self.config, self.kill?)?;
        let set = |id, time: Duration| (id, written(time).replace(' ', ""));
        (self.config.plan.budget() != Some(grace))
            .then(|| vec![set(OptionId::Grace, grace), set(OptionId::PostStopTimeout, reserve)])
    }

    /// The same, only if it is longer than the present one.
    fn longer_grace(&self) -> Option<Vec<Set>> {
        let (grace, _) = check::fitting(self.config, self.kill?)?;
        let longer = self.config.plan.budget().is_some_and(|now| now + CLOSE < grace);
        self.fitting_grace().filter(|_| longer)
    }

    /// How to get more time from the platform.
    fn more_time(&self) -> String {
        let Some(kill) = self.kill else { return String::new() };
        let wanted = (self.round.took + self.round.slowest()).max(kill) * 2;
        match self.config.contract.longer(Duration::from_secs(wanted.as_secs())) {
            Some(how) => format!("; give it more time, as in {how}"),
            None => "; this platform gives no more time".to_owned(),
        }
    }

    /// When the app was asked to stop, and with which signal.
    fn asked(&self) -> Option<(Duration, String)> {
        let seen = self.round.fact("stop-signal")?;
        Some((self.round.since_stop(seen), seen.signal.clone()))
    }

    /// When the app ended, if graceinit saw it.
    fn app_ended(&self) -> Option<Duration> {
        self.round.fact("app-ended").map(|seen| self.round.since_stop(seen))
    }

    fn failed_before(&self) -> Option<Finding> {
        let (count, rate) = (self.round.failed_before(), self.rehearsal.rate);
        (count > 0).then(|| {
            let text = format!(
                "{count} requests failed before the stop began: the app does not bear {rate} requests/s of this \
                 load. Lower --rate; a stop loses what is lost anyway."
            );
            self.finding(Duration::ZERO, text, Vec::new())
        })
    }

    /// graceinit waits for something that does not come.
    fn unready(&self) -> Option<Finding> {
        if !self.round.unready {
            return None;
        }
        let mut waits: Vec<String> =
            self.config.ready.iter().map(|ready| format!("--ready {}", ready.text)).collect();
        let (mut cures, ours) = (Vec::new(), self.ports());
        let is_ours = |text: &str| {
            text.strip_prefix("tcp:")
                .is_none_or(|port| ours.iter().any(|one| one.to_string() == port))
        };
        if self.config.ready.iter().any(|ready| !is_ours(&ready.text)) {
            let port = ours.first().copied().unwrap_or(0);
            cures.push((OptionId::Ready, format!("tcp:{port}")));
        }
        if let Some(Ports::List(ports)) = &self.config.drain {
            let list: Vec<String> = ports.iter().map(u16::to_string).collect();
            waits.push(format!("the app to listen on port {} (--drain)", list.join(" and ")));
            if ports.iter().any(|port| !ours.contains(port)) {
                cures.push(self.drain_ports());
            }
        }
        let text = format!(
            "The app answers, but graceinit does not take it for ready: it waits for {}. An app that is not ready \
             is not drained, and gets no traffic from a balancer that asks graceinit.",
            waits.join(" and ")
        );
        Some(self.finding(Duration::ZERO, text, cures))
    }

    fn refused(&self) -> Option<Finding> {
        let first = self.round.first(Kind::Refused)?;
        let at = self.round.ended(first)?;
        let knew = span(self.round.knew);
        let why = match (self.asked(), self.app_ended()) {
            (_, Some(ended))
                if ended <= at + CLOSE && self.asked().is_none_or(|(asked, _)| ended < asked) =>
            {
                format!("The app ended {} after the stop began, by itself", span(ended))
            }
            (Some((asked, signal)), _) if asked <= at + CLOSE => {
                let after = span(at.saturating_sub(asked));
                format!("The app got {signal}, and refused connections from {after} later on")
            }
            _ => format!("Connections were refused from {} after the stop began on", span(at)),
        };
        let early = span(self.round.knew.saturating_sub(at));
        let text = format!(
            "{why}; the balancer knew {knew} after the stop began, which is {early} too late."
        );
        let drained = self.round.fact("drain-ended").map(|seen| self.round.since_stop(seen));
        let mut cures = Vec::new();
        match drained {
            // The drain was over before the balancer knew.
            Some(ended) if ended < self.round.knew => {
                let delay = Duration::from_secs(self.round.knew.as_secs() + 2);
                cures.push((OptionId::DrainDelay, written(delay).replace(' ', "")));
                let room = self.config.plan.budget().is_none_or(|budget| delay * 2 < budget);
                cures.extend(self.longer_grace().filter(|_| !room).unwrap_or_default());
            }
            Some(_) => {}
            None if self.config.drain.is_none() => {
                cures.extend(self.profile());
                cures.push(self.drain_ports());
            }
            None => {}
        }
        let more = match drained {
            Some(ended) if ended < self.round.knew => {
                format!(
                    " The drain was over after {}: --drain-delay is too short for this balancer.",
                    span(ended)
                )
            }
            _ => String::new(),
        };
        Some(self.finding(at, text + &more, cures))
    }

    /// Requests that lost their connection, the first one of each occasion.
    fn cut(&self) -> Vec<Finding> {
        let mut occasions: Vec<&str> = Vec::new();
        let mut found = Vec::new();
        for record in self.round.after_stop(Kind::Cut) {
            let Some(at) = self.round.ended(record) else { continue };
            let occasion = self.occasion(at);
            if !occasions.contains(&occasion) {
                occasions.push(occasion);
                found.push(self.cut_by(record, at, occasion));
            }
        }
        found
    }

    /// What happened when a connection was lost.
    fn occasion(&self, at: Duration) -> &'static str {
        let near = |other: Option<Duration>| {
            other.is_some_and(|other| other < at + CLOSE && at < other + CLOSE)
        };
        let deadline = self.round.fact("deadline-reached").map(|seen| self.round.since_stop(seen));
        if self.round.killed && near(Some(self.round.took)) {
            ", when the whole container was killed"
        } else if near(deadline) {
            ", when graceinit killed the app at the end of its budget"
        } else if near(self.app_ended()) {
            ", when the app ended"
        } else {
            ""
        }
    }

    fn cut_by(&self, record: &Record, at: Duration, occasion: &str) -> Finding {
        let sent = match record.meant < self.round.at {
            true => format!("{} before the stop began", span(self.round.at.since(record.meant))),
            false => format!("{} after the stop began", span(record.meant.since(self.round.at))),
        };
        let text = format!(
            "A request that was sent {sent} lost its connection {} after it{occasion}.",
            span(at)
        );
        let mut cures = Vec::new();
        if self.config.drain.is_none() {
            cures.extend(self.profile());
            cures.push(self.drain_ports());
        } else if let Some(drain) = self.config.plan.drain {
            let asked_idle = self.config.source_of(OptionId::DrainIdle);
            let quiet = self.round.fact("drain-ended").is_some_and(|seen| seen.why == "quiet");
            if quiet && !asked_idle.is_default() && drain.rules.idle < Duration::from_secs(8) {
                cures.push((OptionId::DrainIdle, "8s".to_owned()));
                cures.extend(self.longer_grace().unwrap_or_default());
            } else if quiet {
                // The drain did not see this request yet: its connection was not accepted, or not open.
                let delay = Duration::from_secs(at.as_secs() + 2);
                cures.push((OptionId::DrainDelay, written(delay).replace(' ', "")));
            }
        }
        self.finding(at, text, cures)
    }

    fn failed(&self) -> Option<Finding> {
        let first = self.round.first(Kind::Failed)?;
        let at = self.round.ended(first)?;
        let (count, class) = (self.round.count(Kind::Failed), first.class);
        let text = format!(
            "{count} answers had an error status; the first after the stop began came after {}: {class}.",
            span(at)
        );
        let none = self.config.drain.is_none();
        let cures = if none { vec![self.drain_ports()] } else { Vec::new() };
        Some(self.finding(at, text, cures))
    }

    /// Clients do not learn of the stop from a balancer, but from the app alone.
    fn pinned(&self) -> Option<Finding> {
        let (count, at) = self.round.lost_late()?;
        let ended = match self.app_ended() {
            Some(ended) if ended <= at + CLOSE => {
                format!(": the app ended {} after it", span(ended))
            }
            _ => String::new(),
        };
        let text = format!(
            "{count} requests were lost on connections that clients keep to the app itself (--pinned), the first \
             one {} after the stop began{ended}. {CLOSES}",
            span(at)
        );
        Some(self.finding(at, text, Vec::new()))
    }

    fn hooks(&self) -> Vec<Finding> {
        let late = self.round.facts.iter().filter(|seen| {
            seen.fact == "hook-ended" && matches!(seen.outcome.as_str(), "timed-out" | "failed")
        });
        late.map(|seen| {
            let at = self.round.since_stop(seen);
            let (hook, outcome) = (&seen.hook, &seen.outcome);
            if outcome == "failed" {
                let text = format!("The hook {hook} failed {} after the stop began: {}.", span(at), seen.msg);
                let note = Finding { is_note: true, ..self.finding(at, text, Vec::new()) };
                return note;
            }
            let text = format!(
                "The hook {hook} was still running {} after the stop began, and was killed: its time counts \
                 against the budget of {}. Shorten the hook, or its timeout.",
                span(at),
                self.budget()
            );
            // A quarter leaves the rest for the drain and the app.
            let short = self.config.plan.budget().map(|budget| budget / 4);
            let short = short.map(|short| Duration::from_millis(short.as_millis() as u64 / 100 * 100));
            let cures = short.map(|short| (OptionId::HookTimeout, written(short).replace(' ', "")));
            self.finding(at, text, cures.into_iter().collect())
        })
        .collect()
    }

    fn budget(&self) -> String {
        self.config.plan.budget().map_or("none".to_owned(), written)
    }

    fn drain(&self) -> Option<Finding> {
        let seen = self.round.fact("drain-ended")?;
        let at = self.round.since_stop(seen);
        let is_short = matches!(seen.why.as_str(), "budget" | "max" | "moment");
        if !is_short || self.round.tally.drops() == 0 {
            return None;
        }
        let held = self.round.fact("held-drain").map_or(String::new(), |held| {
            let Seen { verdict, peer, option, .. } = held;
            format!(
                " The connection that held it longest was {verdict} ({peer}); {option} limits that."
            )
        });
        let cures = self.longer_grace();
        let more = if cures.is_none() { self.more_time() } else { String::new() };
        let text = format!(
            "The drain ended {} after the stop began because its time was over, not because the connections were \
             quiet (budget {}){more}.{held}",
            span(at),
            self.budget()
        );
        Some(self.finding(at, text, cures.unwrap_or_default()))
    }

    fn deadline(&self) -> Option<Finding> {
        let seen = self.round.fact("deadline-reached")?;
        let at = self.round.since_stop(seen);
        let (asked, signal) = self.asked().unwrap_or((Duration::ZERO, self.signal.to_string()));
        let cut = self.round.first(Kind::Cut).and_then(|record| self.round.ended(record));
        let in_progress = cut.is_some_and(|cut| cut + CLOSE > at);
        let mut cures: Vec<Set> = self.profile().into_iter().collect();
        let mut text = format!(
            "graceinit killed the app {} after the stop began, at the end of its budget (--grace): the app had not \
             ended within {} of {signal}.",
            span(at),
            span(at.saturating_sub(asked))
        );
        if in_progress {
            let longer = self.longer_grace();
            text.push_str(
                " Requests were still in progress: their handlers take longer than the budget",
            );
            text.push_str(&if longer.is_none() { self.more_time() } else { String::new() });
            text.push('.');
            cures.extend(longer.unwrap_or_default());
        } else if cures.is_empty() {
            text.push_str(
                " No request was in progress, so the app (or a script in front of it) did not act on the signal. \
                 Take the signal that stops it (--stop-signal), `exec` in the script, or --scope group.",
            );
            cures.push((OptionId::Scope, "group".to_owned()));
        }
        let lossless = self.round.is_clean();
        Some(Finding { is_note: lossless, is_slow: true, ..self.finding(at, text, cures) })
    }

    fn killed(&self) -> Option<Finding> {
        if !self.round.killed {
            return None;
        }
        let at = self.round.took;
        let Some(kill) = self.kill else {
            let text = format!(
                "Nothing kills on this platform: the rehearsal ended the stop after {}.",
                span(at)
            );
            return Some(self.finding(at, text, Vec::new()));
        };
        let fits = self.config.plan.budget().is_some_and(|budget| budget < kill);
        let cures = self.fitting_grace().filter(|_| !fits);
        let text = format!(
            "{} after {}, in the middle of the stop: graceinit's own budget is {} (--grace), so it had not killed \
             the app before{}.",
            capital(self.config.contract.platform.killer),
            span(at),
            self.budget(),
            if cures.is_none() { self.more_time() } else { String::new() }
        );
        Some(self.finding(at, text, cures.unwrap_or_default()))
    }

    /// This stop fitted, but one in which something hangs would not.
    fn may_be_killed(&self) -> Option<Finding> {
        let kill = self.kill.filter(|_| !self.round.killed)?;
        let plan = &self.config.plan;
        let whole = plan.budget().map(|budget| budget + plan.post_stop_timeout);
        if whole.is_some_and(|whole| whole <= kill) {
            return None;
        }
        let may =
            whole.map_or("has no end".to_owned(), |whole| format!("may take {}", written(whole)));
        let cures = self.fitting_grace().unwrap_or_default();
        let text = format!(
            "This stop was short, but one in which something hangs {may}, and {} after {}.",
            self.config.contract.platform.killer,
            written(kill)
        );
        Some(Finding { is_note: true, ..self.finding(self.round.took, text, cures) })
    }

    fn exit_code(&self) -> Option<Finding> {
        let Status::Code(code @ 1..) = self.round.status else { return None };
        let own = Signal::new(i32::from(code) - 128)
            .filter(|signal| [Signal::TERM, Signal::INT, Signal::QUIT].contains(signal));
        let signal = own?;
        let text = format!(
            "The exit code is {code}: the app ended by {signal}, as an app without a handler does. A restart policy, \
             a Job or systemd takes that for a failure; --stop-exit-ok {code} makes it 0."
        );
        let cures = vec![(OptionId::StopExitOk, code.to_string())];
        Some(Finding { is_note: true, ..self.finding(self.round.took, text, cures) })
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

/// Why there was no stop to look at.
pub(super) fn never_ready(why: &NeverReady) -> String {
    let NeverReady { again, url, times, within, last, ended, lines, waits } = why;
    let last = last.map_or("no answer yet".to_owned(), |class| match class {
        super::answer::Class::Refused => "refused".to_owned(),
        super::answer::Class::Timeout => "no answer in time".to_owned(),
        super::answer::Class::Status(status) => format!("status {status}"),
        class => class.to_string(),
    });
    let asked = format!("{url} was asked {times} times in {}, last result: {last}", span(*within));
    let app = match ended {
        Some((at, status)) => format!("graceinit ended with {status} after {}", span(*at)),
        None => "the app was still running".to_owned(),
    };
    let mut text = match again {
        false => format!(
            "The app never got ready: {asked}; {app}. No setting cures that: there is nothing to stop yet."
        ),
        true => format!(
            "The app got ready once, but not when it was started again at the same port: {asked}; {app}. A server \
             that does not set SO_REUSEADDR cannot listen there for a minute: try --only."
        ),
    };
    if let Some(Seen { missing, answers, .. }) = waits {
        text.push_str(&format!(" graceinit waited for {missing} ({answers})."));
    }
    if !lines.is_empty() {
        text.push_str(" Its last lines:");
        for line in lines {
            text.push_str(&format!("\n    {line}"));
        }
    }
    text
}
