//! Random lives: options, apps, signals, clients, crashes of helpers, ends.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use super::clients;
use crate::support::dice::Dice;
use crate::support::files::Place;
use crate::support::init::puppet_line;
use crate::support::signals::number_of;
use crate::support::{Fault, Launch, Outcome, Room, Run, Status, need, proc, sys};
use crate::{ensure, ensure_eq};

/// What a life may take beyond its budget: the dead-man timer, and a machine with other work.
const SLACK: Duration = Duration::from_secs(8);

/// An app: its script, and whether it ends when it is asked to.
const APPS: [(&str, bool); 6] = [
    ("block ready echo=TERM:3,INT:3,QUIT:3", true),
    (
        "block spawn=double:name=helper;block;ready;echo=TERM:0,INT:0,QUIT:0 ready echo=TERM:3,INT:3,QUIT:3",
        true,
    ),
    (
        "block orphans=5 spawn=setsid:name=helper;block;ready;echo=TERM:0,INT:0,QUIT:0 ready release echo=TERM:3,INT:3,QUIT:3",
        true,
    ),
    ("block spawn=group:name=helper;block;ready;echo ready echo=TERM:3,INT:3,QUIT:3", true),
    ("block ready echo", false),
    ("block spawn=double:name=helper;block;ready;echo ready echo", false),
];

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// A stop request.
    Asked(&'static str),
    /// A second one, with `--stop-again kill`.
    Twice,
    /// The app is killed from outside.
    Killed,
}

/// A life, as it was rolled.
#[derive(Debug)]
pub(crate) struct Life {
    room: Room,
    flags: Vec<String>,
    listens: bool,
    reports: bool,
    app: &'static str,
    obeys: bool,
    /// A hook or a leftover takes the whole budget.
    slow: bool,
    grace: Duration,
    end: End,
    disturbances: u64,
    seed: u64,
}

impl Life {
    pub(crate) fn roll(seed: u64) -> Life {
        let dice = &mut Dice(seed.max(1));
        // The first numbers of small seeds are small.
        (0..8).for_each(|_| _ = dice.roll(2));
        let (app, obeys) = APPS[dice.roll(APPS.len() as u64) as usize];
        let hang = puppet_line("block pause");
        let fork = puppet_line("spawn=double:block;ready;pause exit=0");
        let says = puppet_line("say=a complain=b exit=0");
        let hooks = ["true", "false", &hang, &fork, &says, "sleep:30ms", "/no/such/program"];
        let mut slow = app.contains("echo ready");
        let mut flags = vec![format!("--hook-retries={}", dice.roll(3))];
        flags.push("--hook-backoff=5ms".to_owned());
        flags.push(format!("--hook-timeout={}ms", 50 + dice.roll(100)));
        flags.push(format!("--scope={}", dice.one(&["auto", "group", "main", "mixed", "tree"])));
        for phase in ["on-ready", "on-reload", "pre-stop", "on-stop", "post-stop"] {
            if dice.roll(2) == 0 {
                let hook = dice.one(&hooks);
                slow |= hook == fork;
                flags.push(format!("--{phase}={hook}"));
            }
        }
        for (one_in, flag) in [
            (3, "--stop-signal=TERM:100ms,INT"),
            (3, "--diagnose=QUIT@100ms"),
            (3, "--ready=after:20ms"),
            (4, "--log-format=json"),
            (3, "--grace-max=10s"),
            (4, "-w"),
        ] {
            if dice.roll(one_in) == 0 {
                flags.push(flag.to_owned());
            }
        }
        // SIGQUIT of `--diagnose` ends an app that obeys, with the same code.
        let end = match dice.roll(6) {
            0 => End::Killed,
            1 => End::Twice,
            2 => End::Asked("INT"),
            _ => End::Asked("TERM"),
        };
        if end == End::Twice {
            flags.push("--stop-again=kill".to_owned());
        }
        // The signal of `--stop-signal` may come twice then.
        let obeys = obeys && end != End::Twice;
        let grace = if obeys && !slow { Duration::from_secs(9) } else { dice.between(300, 900) };
        let room = match dice.roll(3) {
            0 => Room::Plain,
            _ if need::pid_namespace() => Room::PidNs,
            _ => Room::Plain,
        };
        Life {
            room,
            flags,
            listens: dice.roll(2) == 0,
            reports: dice.roll(2) == 0,
            app,
            obeys,
            slow,
            grace,
            end,
            disturbances: dice.roll(10),
            seed,
        }
    }

    fn launch(&self, place: &Place, graceinit: Option<&Path>) -> Launch {
        let mut launch = Launch::graceinit(self.room)
            .flags(&format!("-v --grace {}ms --post-stop-timeout 400ms", self.grace.as_millis()))
            .words(&self.flags)
            .app(self.app)
            .cwd(place.path("."))
            .patience(Duration::from_secs(30));
        if let Some(graceinit) = graceinit {
            launch = launch.program_file(graceinit);
        }
        if self.listens {
            launch = launch
                .flag("--listen", format!("unix:{}", place.text("socket")))
                .flag("--ready-file", place.text("ready"));
        }
        if self.reports {
            launch = launch
                .flag("--report", place.text("report"))
                .flag("--metrics-file", place.text("metrics.prom"));
        }
        launch
    }

    /// Lives it. What was done, for the figures.
    pub(crate) fn live(&self, graceinit: Option<&Path>) -> Outcome<BTreeMap<&'static str, u64>> {
        let mut done = BTreeMap::new();
        let place = Place::new();
        let dice = &mut Dice(self.seed.max(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut run = self.launch(&place, graceinit).start()?;
        let ready = run.out.until("ready ")?;
        let app = run.outer(ready.number("pid")?)?;
        let init = run.init()?;
        for _ in 0..self.disturbances {
            *done.entry(self.disturb(&run, app, &place, dice)?).or_default() += 1;
        }
        let asked = Instant::now();
        match self.end {
            End::Asked(signal) => sys::kill(init, number_of(signal))?,
            End::Twice => {
                sys::kill(init, libc::SIGTERM)?;
                run.err.find("stop requested")?;
                // It may have left by then.
                drop(sys::kill(init, libc::SIGTERM));
            }
            End::Killed => sys::kill(app, libc::SIGKILL)?,
        }
        let budget = self.grace + Duration::from_millis(400);
        let status = run.wait_within(budget + SLACK)?;
        let took = asked.elapsed();
        ensure!(took <= budget + SLACK, "it took {took:?}");
        if self.judge(&run, &place, status)? {
            *done.entry("ended by the dead-man timer").or_default() += 1;
        }
        Ok(done)
    }

    fn disturb(
        &self,
        run: &Run,
        app: i32,
        place: &Place,
        dice: &mut Dice,
    ) -> Outcome<&'static str> {
        let init = run.init()?;
        Ok(match dice.roll(8) {
            0 => {
                clients::pause(init)?;
                "graceinit paused"
            }
            1 => {
                clients::pause(app)?;
                "app paused"
            }
            2 => {
                // As `docker pause` of the app alone, with a signal meanwhile.
                drop(sys::kill(app, libc::SIGSTOP));
                run.signal("WINCH")?;
                drop(sys::kill(app, libc::SIGCONT));
                "signals"
            }
            3 if self.listens => {
                clients::crash_a_helper(init, dice);
                "crashes of helpers"
            }
            4 | 5 if self.listens => {
                (0..5).for_each(|_| _ = clients::ask(&place.path("socket"), dice));
                "clients"
            }
            6 => {
                run.signal("HUP")?;
                "reloads"
            }
            _ => {
                let signal = dice.one(&["USR1", "USR2", "WINCH", "URG", "ALRM", "RTMIN+3"]);
                run.signal(signal)?;
                "signals"
            }
        })
    }

    /// Whether the dead-man timer has ended it: on a machine that gives graceinit no processor for half a second.
    fn judge(&self, run: &Run, place: &Place, status: Status) -> Outcome<bool> {
        let has = |text: &str| run.err.so_far().iter().any(|line| line.0.contains(text));
        let dead_man = !has("leaving code=") && !has("\"fact\":\"exit\"");
        let codes: &[i32] = match self.end {
            End::Killed => &[137],
            _ if self.obeys && !self.slow => &[3],
            End::Twice | End::Asked(_) => &[3, 137],
        };
        let known = codes.iter().any(|code| status == Status::Code(*code));
        ensure!(known, "ended with {status}, expected {codes:?}");
        // What was killed in the last moment needs a processor to die on.
        let gone = || run.survivors().is_empty().then_some(());
        proc::poll("the end of all processes", gone)?;
        let faulty = run.err.so_far().into_iter().find(|line| line.0.contains("internal error"));
        ensure!(faulty.is_none(), "{faulty:?}");
        if self.listens && !dead_man {
            for name in ["socket", "ready"] {
                let left = place.path(name).exists() && !has("unable to remove");
                ensure!(!left, "{name} was left behind");
            }
        }
        // A write that takes too long is given up, with a warning.
        if self.reports && !dead_man && !has("unable to write") {
            let report: serde_json::Value = serde_json::from_str(&place.expect("report")?)?;
            let code = report["exit"]["code"].as_i64().unwrap_or(-1);
            ensure_eq!(Status::Code(code as i32), status, "the code in the report");
            ensure!(place.expect("metrics.prom")?.contains("graceinit_"), "no metrics");
        }
        Ok(dead_man)
    }
}

/// Lives the life of this seed. If it fails, the fault names the seed.
pub(crate) fn live(seed: u64, graceinit: Option<&Path>) -> Outcome<BTreeMap<&'static str, u64>> {
    let life = Life::roll(seed);
    life.live(graceinit).map_err(|fault| Fault::new(format!("{life:?}: {fault:?}")))
}
