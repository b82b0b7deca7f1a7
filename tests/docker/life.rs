//! Life in a container: signals, orphans, codes.

use super::container::Container;
use super::engine::engine;
use crate::ensure_eq;
use crate::support::{Outcome, proc};

#[test]
fn docker_kill_reaches_the_app_with_any_signal() -> Outcome {
    let Some(engine) = engine() else { return Ok(()) };
    let container = Container::run(engine, &[], "/puppet block ready echo=QUIT:4")?;
    container.log.out.until("ready")?;
    for (signal, name) in [("HUP", "HUP"), ("USR1", "USR1"), ("37", "RTMIN+3"), ("QUIT", "QUIT")] {
        container.docker(&["kill", "--signal", signal])?;
        // From a process, and the only one that came.
        container.log.out.expect(&format!("got {name} code=0 "))?;
    }
    ensure_eq!(container.exit_code()?, 4, "exit code");
    Ok(())
}

#[test]
fn orphans_are_reaped() -> Outcome {
    let Some(engine) = engine() else { return Ok(()) };
    // They end when the app says so, long after their parent.
    let app = "/puppet block orphans=20 ready release echo=USR1:0";
    let container = Container::run(engine, &[], app)?;
    container.log.out.until("ready")?;
    proc::poll("no orphan and no zombie", || {
        let list = container.exec("/server ps").ok()?;
        let of_init = |line: &&str| line.split(' ').nth(1) == Some("1");
        (list.lines().filter(of_init).count() == 1).then_some(())
    })?;
    container.docker(&["kill", "--signal", "USR1"])?;
    ensure_eq!(container.exit_code()?, 0, "exit code");
    Ok(())
}

#[test]
fn the_apps_code_is_the_containers() -> Outcome {
    let Some(engine) = engine() else { return Ok(()) };
    for (words, code) in [("/puppet exit=3", 3), ("/puppet die=TERM", 143), ("/nothing", 127)] {
        ensure_eq!(Container::run(engine, &[], words)?.exit_code()?, code, "{words}");
    }
    Ok(())
}
