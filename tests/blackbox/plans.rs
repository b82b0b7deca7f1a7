//! Two hundred random plans in real processes, with hooks that fail, hang and fork away and apps that
//! obey, ignore and multiply, while both processors are kept busy: whatever happens, graceinit has left
//! by the end of the budget, with everything it started.
//!
//! `GRACEINIT_TEST_FIGURES=1 cargo test plans` prints how punctual it was.

use std::io::Write;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::dice::Dice;
use crate::support::files::Place;
use crate::support::init::puppet_line;
use crate::support::{Fault, Launch, Outcome, Room, Status, need, proc};
use crate::{ensure, ensure_eq};

const PLANS: usize = 200;
const SIDE_BY_SIDE: usize = 4;
/// What the dead-man timer allows a stuck loop (docs/shutdown.md).
const SLACK: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) room: Room,
    grace: Duration,
    post_stop: Duration,
    flags: Vec<String>,
    app: &'static str,
    /// A second request.
    again: bool,
}

/// How a plan went.
struct Life {
    /// From the request on.
    took: Duration,
    /// The dead-man timer had to end it, or no time was left for the hooks after it.
    starved: bool,
}

/// Ends on TERM, never, by itself, or leaves somebody behind who does not.
const APPS: [&str; 6] = [
    "block ready echo=TERM:3",
    "block ready echo",
    "block ready wait=TERM exit=9",
    "block spawn=double:name=helper;block;ready;echo ready echo=TERM:3",
    "block spawn=setsid:name=helper;block;ready;echo ready echo",
    "block spawn=orphan:name=helper;block;ready;echo=TERM:0 ready echo=TERM:3",
];

impl Plan {
    pub(crate) fn roll(dice: &mut Dice) -> Plan {
        let (grace, post_stop) = (dice.between(300, 1200), dice.between(400, 800));
        let hang = puppet_line("block pause");
        let fork = puppet_line("spawn=double:block;ready;pause exit=0");
        let hooks =
            ["true", "false", &hang, &fork, "sleep:200ms", "sleep:50ms", "/no/such/program"];
        let mut flags = vec![format!("--hook-retries={}", dice.roll(3))];
        flags.push(format!("--hook-backoff={}ms", 5 + dice.roll(40)));
        if dice.roll(2) == 0 {
            flags.push(format!("--hook-timeout={}ms", 50 + dice.roll(100)));
        }
        if dice.roll(3) == 0 {
            flags.push("--stop-signal=TERM:100ms,INT".to_owned());
        }
        if dice.roll(3) == 0 {
            flags.push("--diagnose=QUIT@100ms".to_owned());
        }
        flags.push(format!("--scope={}", dice.one(&["group", "main", "mixed", "tree"])));
        // First of its phase, so that nothing takes its time away: it must have had its turn.
        flags.push("--post-stop=touch:/dev/null".to_owned());
        for phase in ["pre-stop", "on-stop", "post-stop"] {
            for _ in 0..dice.roll(3) {
                flags.push(format!("--{phase}={}", dice.one(&hooks)));
            }
        }
        let again = dice.roll(6) == 0;
        if again {
            flags.push("--stop-again=kill".to_owned());
        }
        let room = if dice.roll(2) == 0 { Room::PidNs } else { Room::Plain };
        Plan { room, grace, post_stop, flags, app: dice.one(&APPS), again }
    }

    /// The budget's length.
    fn budget(&self) -> Duration {
        self.grace + self.post_stop
    }

    /// How it is begun.
    pub(crate) fn launch(&self, place: &Place) -> Launch {
        Launch::graceinit(self.room)
            .flags(&format!("--grace {}ms", self.grace.as_millis()))
            .flags(&format!("--post-stop-timeout {}ms", self.post_stop.as_millis()))
            .words(&self.flags)
            .app(self.app)
            .cwd(place.path("."))
    }

    /// Takes it through one life.
    fn live(&self) -> Outcome<Life> {
        let place = Place::new();
        let mut run = self.launch(&place).flags("-v").start()?;
        run.out.until("ready")?;
        let init = run.init()?;
        let asked = Instant::now();
        crate::support::sys::kill(init, libc::SIGTERM)?;
        if self.again {
            run.err.until("graceinit: info: stop requested")?;
            // It may have left by then.
            drop(crate::support::sys::kill(init, libc::SIGTERM));
        }
        // The last line, not the end of the process: taking a pid namespace down is the kernel's work, and
        // takes it up to half a second on busy processors.
        let dead_man = run.err.until("graceinit: info: leaving code=").is_err();
        let took = asked.elapsed();
        let status = run.wait()?;
        let codes = [3, 9, 137];
        let known = codes.iter().any(|code| status == Status::Code(*code));
        ensure!(known, "{self:?} ended with {status}");
        // What was killed in the last moment needs a processor to die on.
        let gone = || run.survivors().is_empty().then_some(());
        proc::poll(&format!("the end of what {self:?} left behind"), gone)?;
        if dead_man {
            // It ends a life without a word, on a machine that starves graceinit for that long. Never
            // one that goes on: an app may end at once, and then only post-stop has a limit.
            let first = self.grace.min(self.post_stop);
            ensure!(took >= first + SLACK, "{self:?} ended after {took:?} without a word");
        }
        let starved = dead_man || run.err.find("hook started hook=post-stop-1").is_err();
        if starved && !dead_man {
            // Nor is a hook left out while there is time for it. How long it was until post-stop depends on the
            // app, and on a second request that ends the budget; its own time does not.
            let time_is_over = self.post_stop * 9 / 10;
            ensure!(took >= time_is_over, "{self:?} left a hook out after {took:?}");
        }
        Ok(Life { took, starved })
    }
}

/// Keeps the processors busy, and measures how long a program that does nothing takes on such a machine.
struct Load<'a>(&'a AtomicBool);

impl Load<'_> {
    fn burn(&self) {
        while !self.0.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
    }

    fn lateness(&self) -> Duration {
        let mut worst = Duration::ZERO;
        while !self.0.load(Ordering::Relaxed) {
            let begun = Instant::now();
            let status = Command::new("true").status();
            assert!(status.is_ok_and(|status| status.success()), "true(1) fails");
            worst = worst.max(begun.elapsed());
        }
        worst
    }
}

#[test]
fn two_hundred_random_plans_end_in_time() -> Outcome {
    if !need::pid_namespace() {
        return Ok(());
    }
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let plans: Vec<Plan> = (0..PLANS).map(|_| Plan::roll(&mut dice)).collect();
    let (next, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let lives: Mutex<Vec<(usize, Life)>> = Mutex::default();
    let faults: Mutex<Vec<Fault>> = Mutex::default();
    let load = Load(&over);
    let lateness = std::thread::scope(|scope| {
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        (0..processors).for_each(|_| drop(scope.spawn(|| load.burn())));
        let control = scope.spawn(|| load.lateness());
        let workers: Vec<_> = (0..SIDE_BY_SIDE)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let Some(plan) = plans.get(number) else { return };
                        match plan.live() {
                            Ok(life) => lives.lock().unwrap().push((number, life)),
                            Err(fault) => faults.lock().unwrap().push(fault),
                        }
                    }
                })
            })
            .collect();
        let ends: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        over.store(true, Ordering::Relaxed);
        ends.into_iter().for_each(|end| end.unwrap());
        control.join().unwrap()
    });
    if let Some(fault) = faults.into_inner().unwrap().into_iter().next() {
        return Err(fault);
    }
    let lives = lives.into_inner().unwrap();
    ensure_eq!(lives.len(), PLANS, "lives");
    tell(&plans, &lives, lateness);
    let starved = lives.iter().filter(|(_, life)| life.starved).count();
    ensure!(starved <= PLANS / 10, "{starved} lives did not get as far as their last hooks");
    for (number, Life { took, .. }) in lives {
        let plan = &plans[number];
        // A starved machine is late with everything: a life is some ten steps like the one measured.
        let end = plan.budget() + SLACK + lateness * 10;
        ensure!(took <= end, "plan {number} took {took:?}, not {end:?}: {plan:?}");
    }
    Ok(())
}

/// The figures, if they are asked for.
fn tell(plans: &[Plan], lives: &[(usize, Life)], lateness: Duration) {
    if std::env::var_os("GRACEINIT_TEST_FIGURES").is_none() {
        return;
    }
    let millis = |span: Duration| span.as_secs_f64() * 1000.0;
    let show = |what: &str, mut over: Vec<f64>| {
        over.sort_by(f64::total_cmp);
        let at = |share: f64| over[((over.len() - 1) as f64 * share).round() as usize];
        say(&format!(
            "{what}: {} lives, p50 {:+.1} ms, p99 {:+.1} ms, worst {:+.1} ms",
            over.len(),
            at(0.5),
            at(0.99),
            at(1.0)
        ));
    };
    let against = |limit: fn(&Plan) -> Duration| {
        lives.iter().map(move |(n, life)| millis(life.took) - millis(limit(&plans[*n])))
    };
    show("exit against the end of the budget", against(Plan::budget).collect());
    // Lives that were ended by SIGKILL at the deadline and had nothing slow afterwards.
    let stuck = lives.iter().filter(|(number, _)| {
        let plan = &plans[*number];
        let slow = |flag: &&String| flag.starts_with("--post-stop=");
        let never_ends = plan.app == APPS[1] || plan.app == APPS[4];
        never_ends && !plan.again && plan.flags.iter().filter(slow).count() == 1
    });
    let stuck = stuck.map(|(n, life)| millis(life.took) - millis(plans[*n].grace)).collect();
    show("exit against the deadline, where SIGKILL was needed", stuck);
    let starved = lives.iter().filter(|(_, life)| life.starved).count();
    say(&format!("lives that did not get as far as their last hooks: {starved}"));
    let lateness = millis(lateness);
    say(&format!("a run of true(1) took {lateness:.1} ms at worst"));
}

/// Past libtest, which would keep it.
fn say(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}
