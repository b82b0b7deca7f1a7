//! In the place of Docker's own init: `docker run --init` on an engine whose `--init-path` is graceinit by
//! the name docker-init, and images that copy it to where tini, dumb-init or catatonit stood.

use std::path::Path;
use std::process::Command;

use super::container::{Container, fresh_name};
use super::engine::{Engine, own_engine};
use super::{phases, variables};
use crate::pty::Terminal;
use crate::support::files::Place;
use crate::support::{Fault, Outcome, Status, alias, need, proc};
use crate::{ensure, ensure_eq};

/// What dockerd reads from `docker-init --version`.
#[test]
fn the_engine_knows_version_and_commit() -> Outcome {
    let Some(engine) = own_engine() else { return Ok(()) };
    let own = Command::new(env!("CARGO_BIN_EXE_graceinit")).arg("--version").output()?;
    let own = String::from_utf8_lossy(&own.stdout).into_owned();
    // `graceinit 1.2.3 (0123456789ab)`, or without a commit where the build knew none.
    let words: Vec<&str> = own.split_whitespace().collect();
    let version = words.get(1).copied().unwrap_or_default();
    let commit = words.get(2).map_or("", |word| word.trim_matches(['(', ')']));
    let of_init = r#"{{range .Server.Components}}{{if eq .Name "docker-init"}}{{.Version}} {{.Details.GitCommit}}{{end}}{{end}}"#;
    let told = engine.docker(&["version", "--format", of_init])?;
    ensure_eq!(
        told.trim_end(),
        format!("{version}_graceinit {commit}").trim_end(),
        "docker version"
    );
    let told = engine.docker(&["info", "--format", "{{.InitBinary}} {{.InitCommit.ID}}"])?;
    let path = alias("docker-init");
    ensure_eq!(told.trim_end(), format!("{} {commit}", path.display()).trim_end(), "docker info");
    let (_, _, warnings) = engine.try_docker(&["info"])?;
    ensure!(!warnings.contains("docker-init") && !warnings.contains("init version"), "{warnings}");
    Ok(())
}

/// As with docker-init: TERM is a signal like every other, and the app's own end is what counts.
#[test]
fn every_signal_is_passed_on_and_orphans_are_reaped() -> Outcome {
    let Some(engine) = own_engine() else { return Ok(()) };
    let app = "/puppet block orphans=20 ready release echo=QUIT:3";
    let container = Container::under_init(engine, &[], app)?;
    let ready = container.log.out.until("ready")?;
    ensure_eq!(ready.number("ppid")?, 1, "the app's parent");
    for (signal, name) in [("TERM", "TERM"), ("TERM", "TERM"), ("INT", "INT"), ("37", "RTMIN+3")] {
        container.docker(&["kill", "--signal", signal])?;
        container.log.out.expect(&format!("got {name} code=0 "))?;
    }
    let init = proc::poll("no orphan and no zombie", || {
        let list = container.exec("/server ps").ok()?;
        let of_init = list.lines().filter(|line| line.split(' ').nth(1) == Some("1")).count();
        let init = list.lines().find(|line| line.starts_with("1 "))?.to_string();
        (of_init == 1).then_some(init)
    })?;
    ensure!(init.ends_with(" docker-init"), "PID 1 is {init}");
    container.docker(&["kill", "--signal", "QUIT"])?;
    ensure_eq!(container.exit_code()?, 3, "exit code");
    ensure_eq!(container.whole_log()?, Vec::<String>::new(), "the log");
    Ok(())
}

#[test]
fn the_exit_code_is_the_apps_or_tinis() -> Outcome {
    let Some(engine) = own_engine() else { return Ok(()) };
    // /etc/hosts is Docker's, and not executable.
    for (app, code) in
        [("/puppet", 0), ("/puppet exit=3", 3), ("/nothing", 127), ("/etc/hosts", 126)]
    {
        let container = Container::under_init(engine, &[], app)?;
        ensure_eq!(container.exit_code()?, code, "{app}");
    }
    let container = Container::under_init(engine, &[], "/puppet clean ready pause")?;
    container.log.out.until("ready")?;
    container.docker(&["stop"])?;
    ensure_eq!(container.exit_code()?, 143, "an app without a handler");
    Ok(())
}

/// The engine's seconds are the app's: graceinit sets no deadline of its own.
#[test]
fn docker_stop_leaves_the_app_all_the_time_that_docker_gives() -> Outcome {
    let Some(engine) = own_engine() else { return Ok(()) };
    let app = "/puppet block ready helper=1500:/w/saved";
    let container = Container::under_init(engine, &[], app)?;
    container.log.out.until("ready")?;
    container.docker(&["stop", "--time", "9"])?;
    ensure_eq!(container.exit_code()?, 0, "exit code");
    ensure_eq!(container.log.out.count("got TERM"), 1, "how often the app was told");
    let changed = container.docker(&["diff"])?;
    ensure!(changed.lines().any(|line| line == "A /w/saved"), "nothing was saved: {changed}");

    // A hook makes a stop in phases of it, but no deadline: it is Docker that kills here.
    let options = variables(&["GRACEINIT_LOG=debug", "GRACEINIT_PRE_STOP=/puppet say=leaving"]);
    let container = Container::under_init(engine, &options, "/puppet block ready echo")?;
    container.log.out.until("ready")?;
    container.docker(&["stop", "--time", "1"])?;
    ensure_eq!(container.exit_code()?, 137, "exit code");
    let log = container.whole_log()?;
    let walked = phases(&log);
    ensure!(walked.ends_with(&["pre-stop", "on-stop", "stopping"]), "walked {walked:?}");
    ensure!(!log.iter().any(|line| line.contains("the budget is over")), "{log:#?}");
    let plan = ["GRACEINIT_CHECK=docker"];
    let run = [&["run", "--rm", "--network", "none", "--init"][..], &variables(&plan)].concat();
    let plan = engine.docker(&[&run[..], &["--entrypoint", "/puppet", &engine.image]].concat())?;
    let grace = plan.lines().find(|line| line.trim_start().starts_with("grace "));
    let words = grace.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    ensure_eq!(words.as_deref(), Some("grace none default as tini"), "{plan}");
    Ok(())
}

#[test]
fn variables_make_a_stop_in_phases_of_it() -> Outcome {
    let Some(engine) = own_engine() else { return Ok(()) };
    let options = variables(&[
        "GRACEINIT_GRACE=500ms",
        "GRACEINIT_PRE_STOP=/puppet say=leaving",
        "GRACEINIT_POST_STOP=/puppet say=afterwards env=GRACEINIT_REASON",
        "GRACEINIT_LOG=debug",
    ]);
    let container = Container::under_init(engine, &options, "/puppet block ready echo")?;
    container.log.out.until("ready")?;
    container.docker(&["stop", "--time", "9"])?;
    ensure_eq!(container.exit_code()?, 137, "exit code");
    let log = container.whole_log()?;
    let walked = phases(&log);
    let expected = ["pre-stop", "on-stop", "stopping", "killed", "post-stop"];
    ensure!(walked.ends_with(&expected), "walked {walked:?}, expected {expected:?}\n{log:#?}");
    for expected in [
        "[pre-stop pre-stop-1 stdout] leaving",
        "the budget is over",
        "[post-stop post-stop-1 stdout] env GRACEINIT_REASON=deadline",
    ] {
        ensure!(log.iter().any(|line| line.contains(expected)), "no {expected:?} in {log:#?}");
    }
    Ok(())
}

#[test]
fn tinis_own_variables_count() -> Outcome {
    let Some(engine) = own_engine() else { return Ok(()) };
    let app = "/puppet block spawn=same:name=child;block;ready;echo=TERM:0 ready echo=QUIT:0";
    for (group, told) in [(true, 1), (false, 0)] {
        let mut pairs = vec!["TINI_VERBOSITY=2"];
        pairs.extend(group.then_some("TINI_KILL_PROCESS_GROUP=1"));
        let container = Container::under_init(engine, &variables(&pairs), app)?;
        container.log.out.until("child: ready")?;
        container.log.out.until("ready")?;
        container.docker(&["kill", "--signal", "USR1"])?;
        container.log.out.find("got USR1")?;
        if told > 0 {
            container.log.out.find("child: got USR1")?;
        }
        container.docker(&["kill", "--signal", "QUIT"])?;
        ensure_eq!(container.exit_code()?, 0, "exit code");
        container.whole_log()?;
        ensure_eq!(container.log.out.count("got USR1"), 1, "what the app was told");
        ensure_eq!(container.log.out.count("child: got USR1"), told, "what its child was told");
        container.log.err.find("info: started /puppet ")?;
    }
    Ok(())
}

/// As strict as `docker run` gets.
#[test]
fn under_init_neither_privilege_nor_a_writable_path_is_needed() -> Outcome {
    let Some(engine) = own_engine() else { return Ok(()) };
    let strict = [
        &["--read-only", "--user", "65534:65534", "--cap-drop", "ALL"][..],
        &["--security-opt", "no-new-privileges"],
    ];
    let container =
        Container::under_init(engine, &strict.concat(), "/puppet block ready ids echo=TERM:4")?;
    container.log.out.until("ready")?;
    container.log.out.expect("ids uid=65534 ")?;
    let refused = container.exec("/server touch /w/file").is_err();
    ensure!(refused, "the container is writable after all");
    container.docker(&["stop"])?;
    ensure_eq!(container.exit_code()?, 4, "exit code");
    ensure_eq!(container.whole_log()?, Vec::<String>::new(), "the log");
    Ok(())
}

/// `docker run --init -it IMAGE sh`: keys, jobs and the code of `exit`.
#[test]
fn under_init_a_shell_has_the_terminal() -> Outcome {
    let Some(engine) = own_engine() else { return Ok(()) };
    let ldd = Command::new("ldd").arg("/bin/busybox").output()?;
    let is_static = Path::new("/bin/busybox").exists() && !ldd.status.success();
    if !need::met(is_static, "a static /bin/busybox (busybox-static)") {
        return Ok(());
    }
    let name = fresh_name();
    let mut run = engine.client();
    run.args(["run", "--init", "--interactive", "--tty", "--rm", "--name", &name]);
    run.args(["--network", "none", "--env", "PS1=shell> "]);
    run.args(["--volume", "/bin/busybox:/bin/sh:ro", "--entrypoint", "/bin/sh", &engine.image]);
    let mut terminal = Terminal::lead(&run)?;
    terminal.expect("shell> ")?;
    terminal.line("echo parent=$PPID=")?;
    terminal.expect("parent=1=")?;
    terminal.line("/puppet block ready echo=INT:4")?;
    terminal.expect("ready pid=")?;
    // 128: from the kernel, to the group in the foreground.
    terminal.send("\x03")?;
    terminal.expect("got INT code=128 ")?;
    terminal.expect("shell> ")?;
    terminal.line("echo code=$?=")?;
    terminal.expect("code=4=")?;
    // Under a shell somebody can resume it.
    terminal.line("/puppet ready lines")?;
    terminal.expect("ready pid=")?;
    terminal.send("\x1a")?;
    terminal.expect("Stopped")?;
    terminal.expect("shell> ")?;
    terminal.line("fg")?;
    terminal.line("typed")?;
    terminal.expect("line typed")?;
    terminal.send("\x03")?;
    terminal.expect("shell> ")?;
    terminal.line("exit 7")?;
    ensure_eq!(terminal.wait()?, Status::Code(7), "the client's exit code");
    Ok(())
}

/// A session of `docker exec` is not the app's: it hears nothing of what the app is sent, and lives on.
#[test]
fn under_init_an_exec_session_is_left_alone() -> Outcome {
    let Some(engine) = own_engine() else { return Ok(()) };
    let container = Container::under_init(engine, &[], "/puppet block ready echo=QUIT:0")?;
    container.log.out.until("ready")?;
    let mut guest = container.exec_beside("/puppet name=guest block ready echo")?;
    guest.out.expect("guest: ready")?;
    for signal in ["TERM", "INT", "USR1"] {
        container.docker(&["kill", "--signal", signal])?;
        container.log.out.expect(&format!("got {signal} "))?;
    }
    ensure_eq!(guest.out.so_far().len(), 1, "lines of the guest, `ready` included");
    let list = container.exec("/server ps")?;
    let puppets = list.lines().filter(|line| line.ends_with(" puppet")).count();
    ensure_eq!(puppets, 2, "app and guest in {list:?}");
    container.docker(&["kill", "--signal", "QUIT"])?;
    ensure_eq!(container.exit_code()?, 0, "exit code");
    // It ends with the container.
    guest.end()?;
    Ok(())
}

/// One line of a Dockerfile puts graceinit where the other stood. The names in our image are links:
/// nothing else of ours is in the image that they are copied to.
#[test]
fn copied_by_its_name_it_takes_the_others_place() -> Outcome {
    let Some(engine) = own_engine() else { return Ok(()) };
    let ours = our_image(engine)?;
    let test = &engine.image;
    let base = engine.image_of(&format!(
        "FROM scratch\nCOPY --from={test} /puppet /\nCOPY --from={ours} /tini /usr/bin/tini\n\
         COPY --from={ours} /dumb-init /catatonit /usr/bin/\n"
    ))?;
    for name in ["tini", "dumb-init", "catatonit"] {
        let image = format!("FROM {base}\nENTRYPOINT [\"/usr/bin/{name}\", \"--\"]\n");
        let image = engine.image_of(&image)?;
        let container = Container::of(engine, &image, &[], "/puppet block ready echo=TERM:5")?;
        let ready = container.log.out.until("ready")?;
        ensure_eq!(ready.number("ppid")?, 1, "the app's parent under {name}");
        // A session of its own: that is dumb-init's way, and nobody else's.
        let own = ready.number("sid")? == ready.number("pid")?;
        ensure_eq!(own, name == "dumb-init", "{name}: a session of the app's own in {ready:?}");
        container.docker(&["stop"])?;
        ensure_eq!(container.exit_code()?, 5, "exit code under {name}");
        ensure_eq!(container.whole_log()?, Vec::<String>::new(), "the log of {name}");
        let nothing = Container::of(engine, &image, &[], "/nothing")?.exit_code()?;
        let expected = match name {
            "tini" => 127,
            "dumb-init" => 2,
            _ => 1,
        };
        ensure_eq!(nothing, expected, "{name}: exit code of a command that is not there");
    }
    // As a base: its entry point is there already.
    let image = format!("FROM {ours}\nCOPY --from={test} /puppet /\n");
    let image = engine.image_of(&image)?;
    let container = Container::of(engine, &image, &[], "/puppet block ready echo=TERM:6")?;
    container.log.out.until("ready")?;
    container.docker(&["stop"])?;
    ensure_eq!(container.exit_code()?, 6, "exit code in an image made of ours");
    Ok(())
}

/// The image that `packaging/` makes: its id.
fn our_image(engine: &Engine) -> Outcome<String> {
    let place = Place::new();
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging");
    let mut install = Command::new(packaging.join("install"));
    install.args(["--flat", "--program", env!("CARGO_BIN_EXE_graceinit"), &place.text("image")]);
    let done = install.output()?;
    ensure!(done.status.success(), "packaging/install: {done:?}");
    let dockerfile = packaging.join("Dockerfile");
    let dockerfile = dockerfile.to_str().ok_or_else(|| Fault::new("a strange path"))?;
    engine.docker(&["build", "--quiet", "--file", dockerfile, &place.text("image")])
}
