//! Stops as the platforms perform them: the platform's variables, its signals, its time and, at the end of that, its
//! SIGKILL. The app never ends by itself, so everything depends on the defaults.
//!
//! The tests scale each platform's time to two seconds, and no measured time decides. `long` waits for the real times,
//! kills at their end, does the same with tini and dumb-init, and prints a table:
//!
//! ```text
//! cargo test --locked --test graceinit platforms::long -- --ignored --nocapture
//! ```

use std::time::{Duration, Instant};

use graceinit::config::platform::{Contract, all, by_name};

use crate::support::files::Place;
use crate::support::{Launch, Outcome, PATIENCE, Program, Room, Status, need};
use crate::{ensure, ensure_eq};

mod real;

/// How a platform stops.
struct Stop {
    /// Its name in the table.
    name: &'static str,
    /// What it puts into the environment. Empty: it is known by a file, so the test names it.
    variables: &'static [(&'static str, &'static str)],
    /// The signals that it sends, one after the other.
    signals: &'static [&'static str],
    /// What the app is sent.
    told: &'static str,
    /// The hundredths of the time that the app has at least.
    share: u32,
}

const fn stop(name: &'static str, variables: &'static [(&'static str, &'static str)]) -> Stop {
    Stop { name, variables, signals: &["TERM"], told: "TERM", share: 70 }
}

static STOPS: [Stop; 22] = [
    // A time so short that less is left for the app.
    Stop { share: 66, ..stop("lambda", &[("AWS_LAMBDA_FUNCTION_NAME", "f")]) },
    Stop { signals: &["INT"], told: "INT", ..stop("fly", &[("FLY_APP_NAME", "app")]) },
    stop("railway", &[("RAILWAY_ENVIRONMENT_NAME", "production")]),
    stop(
        "azure-container-apps",
        &[("CONTAINER_APP_NAME", "app"), ("KUBERNETES_SERVICE_HOST", "10.0.0.1")],
    ),
    stop("render", &[("RENDER", "true")]),
    stop("scalingo", &[("SCALINGO_APPLICATION_ID", "1")]),
    // The drivers exec and java.
    Stop { signals: &["INT"], told: "INT", ..stop("nomad", &[("NOMAD_ALLOC_ID", "1")]) },
    stop("ecs", &[("ECS_CONTAINER_METADATA_URI_V4", "http://169.254.170.2/v4/1")]),
    stop("azure-app-service", &[("WEBSITE_INSTANCE_ID", "1"), ("WEBSITE_SITE_NAME", "app")]),
    stop("dokku", &[]),
    // Half is for a preStop, and for shorter periods.
    Stop { share: 50, ..stop("kubernetes", &[("KUBERNETES_SERVICE_HOST", "10.0.0.1")]) },
    stop("cloud-foundry", &[("VCAP_APPLICATION", "{}"), ("CF_INSTANCE_GUID", "1")]),
    stop("app-engine", &[("GAE_SERVICE", "default"), ("GAE_INSTANCE", "1")]),
    stop("cloud-run", &[("K_SERVICE", "app"), ("K_REVISION", "app-1")]),
    Stop { signals: &["TERM", "TERM"], ..stop("heroku", &[]) },
    Stop { signals: &["PWR"], ..stop("incus", &[]) },
    Stop { signals: &["PWR"], ..stop("lxc", &[("container", "lxc")]) },
    // What lxc-stop sends where PID 1 blocks it, as graceinit does.
    Stop { signals: &["RTMIN+3"], ..stop("lxc", &[("container", "lxc")]) },
    // A host that shuts down waits for 90 s, but machinectl poweroff for ever: more is not needed by default.
    Stop {
        signals: &["RTMIN+4", "RTMIN+3"],
        share: 66,
        ..stop("nspawn", &[("container", "systemd-nspawn")])
    },
    Stop { signals: &["RTMIN+3"], ..stop("podman", &[("container", "podman")]) },
    stop("docker", &[]),
    // Of the 45 s of Fedora: see `long`.
    stop("systemd", &[]),
];

impl Stop {
    /// graceinit as PID 1 there. `time`: the time that is given, if that is not the usual one.
    fn launch(&self, program: Program, time: Option<Duration>) -> Launch {
        let mut launch = Launch::new(program, Room::PidNs).app("block ready echo");
        for (name, value) in self.variables {
            launch = launch.env(name, value);
        }
        let seconds = |time: Duration| time.as_secs().to_string();
        match (time, self.name) {
            (Some(time), "railway") => {
                launch.env("RAILWAY_DEPLOYMENT_DRAINING_SECONDS", seconds(time))
            }
            (Some(time), "azure-app-service") => {
                launch.env("WEBSITES_CONTAINER_STOP_TIME_LIMIT", seconds(time))
            }
            _ => {
                let name = if self.variables.is_empty() { self.name } else { "auto" };
                let time = time.map(|time| format!(":{}ms", time.as_millis())).unwrap_or_default();
                launch.env("GRACEINIT_PLATFORM", format!("{name}{time}"))
            }
        }
    }
}

fn is_stopped_in_time(stop: &Stop) -> Outcome {
    if !need::pid_namespace() {
        return Ok(());
    }
    let place = Place::new();
    let given = Duration::from_secs(2);
    let launch = stop.launch(Program::Graceinit, Some(given));
    let mut run = launch
        .flags("--log-level info --log-format text")
        .flag("--post-stop", format!("touch:{}", place.text("post-stop")))
        .start()?;
    run.ready()?;
    let settings = run.err.find("settings: ")?.0;
    ensure!(settings.contains(&format!("(default on {}: ", stop.name)), "{settings}");
    let mut signals = stop.signals.iter();
    run.signal(signals.next().unwrap_or(&"TERM"))?;
    let budget = run.err.find("stop requested")?;
    for signal in signals {
        run.signal(signal)?;
        run.err.find(&format!("signal={signal}"))?;
    }
    run.out.expect(&format!("got {} ", stop.told))?;
    let budget = budget.get("budget").and_then(|budget| budget.strip_suffix('s'));
    let budget: f64 = budget.and_then(|budget| budget.parse().ok()).unwrap_or_default();
    let share = budget / given.as_secs_f64() * 100.0;
    ensure!(share.round() >= f64::from(stop.share) && share < 90.0, "{share} % for the app");
    // Killed by graceinit, so that the post-stop hooks run.
    let status = run.wait_within(PATIENCE * 3)?;
    ensure_eq!(status, Status::Code(137), "{}: the end", stop.name);
    ensure!(place.read("post-stop").is_some(), "{}: no post-stop hook ran", stop.name);
    // SIGCONT follows, in case the app is stopped.
    let signals = run.out.count("got ") - run.out.count("got CONT ");
    ensure_eq!(signals, 1, "{}: signals to the app", stop.name);
    Ok(())
}

/// One test for each row, by its number: some platforms have two.
macro_rules! tests {
    ($($name:ident: $index:expr),* $(,)?) => {$(
        #[test]
        fn $name() -> Outcome {
            is_stopped_in_time(&STOPS[$index])
        }
    )*};
}

tests! {
    lambda: 0, fly: 1, railway: 2, azure_container_apps: 3, render: 4, scalingo: 5, nomad: 6, ecs: 7,
    azure_app_service: 8, dokku: 9, kubernetes: 10, cloud_foundry: 11, app_engine: 12, cloud_run: 13, heroku: 14,
    incus: 15, lxc: 16, lxc_to_a_pid_1_that_blocks: 17, nspawn: 18, podman: 19, docker: 20, systemd: 21,
}

/// No platform of the table is left out.
#[test]
fn every_platform_is_stopped() -> Outcome {
    for platform in all() {
        ensure!(
            STOPS.iter().any(|stop| stop.name == platform.name),
            "{} is missing",
            platform.name
        );
    }
    Ok(())
}

/// The page about the platforms has the numbers of the table in the code.
#[test]
fn the_documentation_has_the_numbers() -> Outcome {
    let page = include_str!("../../docs/platforms.md");
    let seconds = |span: Duration| {
        let text = format!("{:.2}", span.as_secs_f64());
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    for platform in all() {
        let contract = Contract { platform, kill: None };
        let row = page.lines().find(|line| line.starts_with(&format!("| `{}` |", platform.name)));
        let row = row.unwrap_or_default();
        let times =
            format!("| {} + {} s |", seconds(contract.grace()), seconds(contract.post_stop()));
        ensure!(row.contains(&times), "{}: {times:?} is not in {row:?}", platform.name);
        let stops = platform.stops.split(',').filter(|stop| !stop.is_empty());
        for stop in stops {
            ensure!(row.contains(stop), "{}: {stop} is not in {row:?}", platform.name);
        }
        ensure!(
            page.contains(&format!("({})", platform.name)),
            "no section about {}",
            platform.name
        );
    }
    Ok(())
}

// ---- the long form -----------------------------------------------------------------------------

/// What became of a stop.
struct Seen {
    after: Duration,
    killed: bool,
    told: String,
    hook: bool,
}

/// Stops one program as the platform does, with the real time, and kills at the end of it.
fn perform(stop: &Stop, program: Program, given: Duration) -> Outcome<Seen> {
    let place = Place::new();
    // Railway gives no time at all by default; the row is performed with 30 s.
    let told = (stop.name == "railway").then_some(given);
    let mut launch = stop.launch(program, told).patience(given + PATIENCE);
    if program.is_ours() {
        launch = launch.flag("--post-stop", format!("touch:{}", place.text("post-stop")));
    }
    let mut run = launch.start()?;
    run.ready()?;
    let began = Instant::now();
    for signal in stop.signals {
        run.signal(signal)?;
    }
    let told = run.out.expect("got ")?.0;
    let killed = run.wait_within(given.saturating_sub(began.elapsed())).is_err();
    if killed {
        run.signal("KILL")?;
        run.wait()?;
    }
    let told = told.split_whitespace().nth(1).unwrap_or_default().to_owned();
    Ok(Seen { after: began.elapsed(), killed, told, hook: place.read("post-stop").is_some() })
}

#[test]
#[ignore = "takes a minute and a half, and prints a table"]
#[allow(clippy::print_stdout, reason = "the table is what it is for")]
fn long() -> Outcome {
    if !need::pid_namespace() {
        return Ok(());
    }
    let programs = [Program::Graceinit, Program::Tini, Program::DumbInit];
    let seen: Vec<_> = std::thread::scope(|scope| {
        let start = |stop: &'static Stop| {
            let usual = match stop.name {
                "railway" => Some(Duration::from_secs(30)),
                name => by_name(name).and_then(|platform| Contract::usual(platform).kill),
            };
            let given = usual.unwrap_or_default();
            (
                stop,
                given,
                programs.map(|program| scope.spawn(move || perform(stop, program, given))),
            )
        };
        let running: Vec<_> = STOPS.iter().map(start).collect();
        let ended = |(stop, given, handles): (_, _, [std::thread::ScopedJoinHandle<'_, _>; 3])| {
            (stop, given, handles.map(|handle| handle.join().expect("no panic")))
        };
        running.into_iter().map(ended).collect()
    });
    println!(
        "{:22} {:8} {:>6}  {:26} {:26} {:26}",
        "platform", "signal", "time", "graceinit", "tini", "dumb-init"
    );
    let mut wrong = Vec::new();
    for (stop, given, results) in seen {
        let mut cells = Vec::new();
        for (program, result) in programs.iter().zip(results) {
            let Seen { after, killed, told, hook } = result?;
            let end = if killed { "killed" } else { "ended" };
            let hook_text = if hook { ", hook" } else { "" };
            cells.push(format!("{told}, {end} at {:.1}s{hook_text}", after.as_secs_f64()));
            if *program == Program::Graceinit && (killed || !hook || told != stop.told) {
                wrong.push(stop.name);
            }
        }
        let time = format!("{}s", given.as_secs_f64());
        println!(
            "{:22} {:8} {time:>6}  {:26} {:26} {:26}",
            stop.name, stop.signals[0], cells[0], cells[1], cells[2]
        );
    }
    ensure_eq!(wrong, [""; 0], "not stopped in time");
    Ok(())
}
