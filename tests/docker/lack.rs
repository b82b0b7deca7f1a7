//! What a container lacks (privileges, a place to write) and the terminal that it may have.

use super::container::{Container, fresh_name};
use super::engine::engine;
use super::survivors;
use crate::pty::Terminal;
use crate::support::{Outcome, Status};
use crate::{ensure, ensure_eq};

/// As strict as `docker run` gets; graceinit has nothing to say about it.
#[test]
fn neither_privilege_nor_a_writable_path_is_needed() -> Outcome {
    let Some(engine) = engine() else { return Ok(()) };
    let strict = [
        &["--read-only", "--user", "65534:65534", "--cap-drop", "ALL"][..],
        &["--security-opt", "no-new-privileges"],
        &["--env", "GRACEINIT_ON_STOP=/server get http://127.0.0.1:8080/"],
    ];
    let container = Container::run(engine, &strict.concat(), "/server 8080")?;
    container.log.out.until("listening")?;
    let refused = container.exec("/server touch /w/file").is_err();
    ensure!(refused, "the container is writable after all");
    container.docker(&["stop"])?;
    ensure_eq!(container.exit_code()?, 0, "exit code");
    ensure_eq!(container.log.out.count("request"), 1, "requests of the hook");
    // Warnings and worse are all it logs by default.
    ensure_eq!(container.whole_log()?, Vec::<String>::new(), "the log");
    Ok(())
}

/// As strict, and with everything to do: actions with and without a program, and an app to be killed.
#[test]
fn hooks_work_and_survivors_are_known_without_privilege() -> Outcome {
    let Some(engine) = engine() else { return Ok(()) };
    let pre_stop = "GRACEINIT_PRE_STOP=touch:/run/leaving\ntouch:/w/leaving\n\
                    http:GET http://127.0.0.1:8080/\n/puppet say=hello";
    let strict = [
        &["--read-only", "--tmpfs", "/run", "--user", "65534:65534", "--cap-drop", "ALL"][..],
        &["--security-opt", "no-new-privileges"],
        &["--env", "GRACEINIT_GRACE=2s", "--env", "GRACEINIT_LOG=info"],
        &["--env", pre_stop, "--env", "GRACEINIT_ON_STOP=rm:/run/leaving"],
        &["--env", "GRACEINIT_POST_STOP=/puppet say=afterwards"],
    ];
    let app = "/server 8080 --on-term ignore";
    let container = Container::run(engine, &strict.concat(), app)?;
    container.log.out.until("listening")?;
    container.docker(&["stop"])?;
    ensure_eq!(container.exit_code()?, 137, "exit code");
    let log = container.whole_log()?;
    for expected in [
        "hook done with code 0 hook=pre-stop-1 ",
        // What cannot be done is said, and nothing waits for it.
        "[pre-stop pre-stop-2 stderr] unable to touch /w/leaving: Read-only file system",
        "hook failed with code 1 hook=pre-stop-2 ",
        "hook done with code 0 hook=pre-stop-3 ",
        "[pre-stop pre-stop-4 stdout] hello",
        "hook done with code 0 hook=on-stop-1 ",
        "[post-stop post-stop-1 stdout] afterwards",
    ] {
        ensure!(log.iter().any(|line| line.contains(expected)), "no {expected:?} in {log:#?}");
    }
    ensure_eq!(container.log.out.count("request"), 1, "requests of the hook");
    let survivors = survivors(&log);
    ensure!(survivors.len() == 1, "not one survivor: {survivors:?} in {log:#?}");
    // The same user may read everything; some kernels tell nobody where a process waits.
    ensure!(survivors[0].0.contains(&format!(" command=\"{app}\" ")), "{survivors:?}");
    ensure_eq!(survivors[0].get("connections"), Some("0"), "{survivors:?}");
    let unread = survivors[0].get("unread");
    ensure!([Some("-"), Some("wchan")].contains(&unread), "unread is {unread:?}");
    Ok(())
}

#[test]
fn with_a_terminal_the_app_has_it() -> Outcome {
    let Some(engine) = engine() else { return Ok(()) };
    let name = fresh_name();
    let mut run = engine.client();
    run.args(["run", "--interactive", "--tty", "--rm", "--name", &name, "--network", "none"]);
    run.args([&engine.image, "/puppet"]).args("block ready tty echo=QUIT:4".split(' '));
    // The client is the leader of the session, so that it hears of a new window size.
    let mut terminal = Terminal::lead(&run)?;
    terminal.expect("ready pid=")?;
    terminal.expect(" pgid=")?;
    let group = terminal.expect(" ")?;
    terminal.expect("tty tpgid=")?;
    ensure_eq!(terminal.expect(" ")?, group, "the foreground group");
    // 128: from the kernel, not from a process.
    terminal.send("\x03")?;
    terminal.expect("got INT code=128 ")?;
    // The client may set the size anew when it starts; whatever comes, this one comes too.
    terminal.resize(40)?;
    terminal.expect("got WINCH code=128 ")?;
    terminal.send("\x1c")?;
    terminal.expect("got QUIT code=128 ")?;
    ensure_eq!(terminal.wait()?, Status::Code(4), "the client's exit code");
    Ok(())
}

/// `docker run -it IMAGE cat`.
#[test]
fn with_a_terminal_the_app_reads() -> Outcome {
    let Some(engine) = engine() else { return Ok(()) };
    let name = fresh_name();
    let mut run = engine.client();
    run.args(["run", "--interactive", "--tty", "--rm", "--name", &name, "--network", "none"]);
    run.args([&engine.image, "/puppet", "ready", "lines"]);
    let mut terminal = Terminal::lead(&run)?;
    terminal.expect("ready pid=")?;
    terminal.line("typed")?;
    terminal.expect("line typed\r\n")?;
    // Nobody could resume the app.
    terminal.send("\x1a")?;
    terminal.line("again")?;
    terminal.expect("line again\r\n")?;
    terminal.send("\x03")?;
    let status = terminal.wait()?;
    ensure!(status == Status::Code(130), "the client's exit code is {status}");
    Ok(())
}
