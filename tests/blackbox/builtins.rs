//! The built-in hook actions, and what a file can say of one hook.

use std::io::{Read, Write};
use std::net::TcpListener;

use crate::support::files::Place;
use crate::support::init::puppet_line;
use crate::support::{Launch, Outcome, PATIENCE, Room, Run, need};
use crate::{both_rooms, ensure, ensure_eq};

fn started(launch: Launch) -> Outcome<Run> {
    let run = launch.app("block ready echo=TERM:3").start()?;
    run.ready()?;
    Ok(run)
}

fn stops(run: &mut Run) -> Outcome {
    run.signal("TERM")?;
    run.exits(3)
}

/// Files come, go and are written to, without a program for it.
fn files_are_touched_removed_and_written(room: Room) -> Outcome {
    let place = Place::new();
    place.file("old", "x", 0o644);
    let fifo = place.fifo("orders");
    let reader = std::thread::spawn(move || std::fs::read_to_string(&fifo.0));
    let mut run = started(
        Launch::graceinit(room)
            .flag("--pre-stop", format!("touch:{}", place.text("new")))
            .flag("--on-stop", format!("rm:{}", place.text("old")))
            .flag("--on-stop", format!("rm:{}", place.text("never-there")))
            .flag("--on-stop", format!("write:{} 'q now'", place.text("orders"))),
    )?;
    stops(&mut run)?;
    ensure_eq!(place.expect("new")?, "", "the touched file");
    ensure_eq!(place.read("old"), None, "the removed file");
    ensure_eq!(reader.join().unwrap()?, "q now", "what the reader of the FIFO got");
    ensure_eq!(run.err.so_far().len(), 0, "warnings");
    Ok(())
}

/// What cannot be done fails like a program would, with a reason.
fn a_builtin_that_fails_says_why(room: Room) -> Outcome {
    let place = Place::new();
    let path = place.text("no/such/file");
    let mut run = started(
        Launch::graceinit(room)
            .flags("--hook-retries 0")
            .flag("--pre-stop", format!("touch:{path}"))
            .flag("--on-stop", format!("write:{path} x")),
    )?;
    stops(&mut run)?;
    run.err.find(&format!("[pre-stop pre-stop-1 stderr] unable to touch {path}: No such file"))?;
    run.err.find("hook failed with code 1 hook=pre-stop-1")?;
    let said =
        run.err.find(&format!("[on-stop on-stop-1 stderr] unable to write to {path}: No "))?;
    ensure!(said.0.contains("; write: creates no file"), "no cure in {said:?}");
    Ok(())
}

/// It waits for a reader for as long as it may, like any other hook.
fn a_hanging_builtin_is_killed(room: Room) -> Outcome {
    let place = Place::new();
    let _nobody_reads = place.fifo("orders");
    let mut run = started(
        Launch::graceinit(room)
            .flags("--grace 60s --hook-retries 0 --hook-timeout 200ms")
            .flag("--on-stop", "sleep:40s")
            .flag("--on-stop", format!("write:{} q", place.text("orders"))),
    )?;
    stops(&mut run)?;
    run.err.find("hook timed out hook=on-stop-1")?;
    run.err.find("hook timed out hook=on-stop-2").map(drop)
}

/// One that sleeps its time has done well.
fn sleep_sleeps(room: Room) -> Outcome {
    let mut run = started(Launch::graceinit(room).flags("-v").flag("--on-stop", "sleep:50ms"))?;
    stops(&mut run)?;
    run.err.find("hook done with code 0 hook=on-stop-1").map(drop)
}

/// The app gets it before the stop signal.
fn a_signal_goes_to_the_app(room: Room) -> Outcome {
    let mut run = started(Launch::graceinit(room).flag("--pre-stop", "signal:USR1"))?;
    run.signal("TERM")?;
    run.out.expect("got USR1 ")?;
    run.out.expect("got TERM ")?;
    run.exits(3)
}

/// One server, one answer; what it was asked.
fn asked(answer: &'static str, hook: &str, room: Room) -> Outcome<(String, Run)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let server = std::thread::spawn(move || -> std::io::Result<String> {
        let (mut client, _) = listener.accept()?;
        client.set_read_timeout(Some(PATIENCE))?;
        let mut request = Vec::new();
        let mut buffer = [0; 1024];
        while !request.ends_with(b"\r\n\r\n") {
            let count = client.read(&mut buffer)?;
            request.extend_from_slice(&buffer[..count]);
        }
        client.write_all(answer.as_bytes())?;
        Ok(String::from_utf8_lossy(&request).into_owned())
    });
    let hook = hook.replace("ADDRESS", &address.to_string());
    let launch = Launch::graceinit(room).flags("-v --hook-retries 0").flag("--on-stop", hook);
    let mut run = started(launch)?;
    stops(&mut run)?;
    Ok((server.join().unwrap()?, run))
}

fn http_asks(room: Room) -> Outcome {
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let (request, run) = asked(ok, "http:POST http://ADDRESS/drain?now=1", room)?;
    ensure!(request.starts_with("POST /drain?now=1 HTTP/1.1\r\n"), "{request}");
    ensure!(request.to_lowercase().contains("\r\nhost: 127.0.0.1:"), "{request}");
    run.err.find("hook done with code 0 hook=on-stop-1")?;
    // A redirection is a good answer; it is not followed.
    let moved = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    let (request, run) = asked(moved, "http:http://ADDRESS/", room)?;
    ensure!(request.starts_with("GET / HTTP/1.1\r\n"), "{request}");
    run.err.find("hook done with code 0 hook=on-stop-1").map(drop)
}

fn http_answers_count(room: Room) -> Outcome {
    let busy = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
    let (_, run) = asked(busy, "http:POST http://ADDRESS/", room)?;
    run.err.find("was answered with 503 Service Unavailable")?;
    run.err.find("hook failed with code 1 hook=on-stop-1")?;
    let (_, run) = asked("what?\r\n\r\n", "http:POST http://ADDRESS/", room)?;
    run.err.find("hook failed with code 1 hook=on-stop-1").map(drop)
}

/// Nobody listens on port 1.
fn http_needs_a_server(room: Room) -> Outcome {
    let launch = Launch::graceinit(room)
        .flags("--hook-retries 0")
        .flag("--on-stop", "http:POST http://127.0.0.1:1/");
    let mut run = started(launch)?;
    stops(&mut run)?;
    run.err.find("unable to POST http://127.0.0.1:1/: ")?;
    run.err.find("hook failed with code 1 hook=on-stop-1").map(drop)
}

/// A proxy that is not ready at first: the app starts after its first good answer.
fn wait_waits_for_a_good_answer(room: Room) -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let server = std::thread::spawn(move || -> std::io::Result<()> {
        for status in ["503 Not yet", "302 Found", "204 No Content"] {
            let (mut client, _) = listener.accept()?;
            client.set_read_timeout(Some(PATIENCE))?;
            let (mut request, mut buffer) = (Vec::new(), [0; 1024]);
            while !request.ends_with(b"\r\n\r\n") {
                let count = client.read(&mut buffer)?;
                request.extend_from_slice(&buffer[..count]);
            }
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
            client.write_all(answer.as_bytes())?;
        }
        Ok(())
    });
    let mut run = started(
        Launch::graceinit(room)
            .flags("-v --hook-timeout 60s")
            .flag("--pre-start", format!("wait:http://{address}/ready")),
    )?;
    server.join().unwrap()?;
    stops(&mut run)?;
    run.err.find("hook done with code 0 hook=pre-start-1").map(drop)
}

fn wait_waits_for_a_listener(room: Room) -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let wait = format!("wait:tcp:{}", listener.local_addr()?);
    let mut run = started(Launch::graceinit(room).flags("-v").flag("--pre-start", wait))?;
    stops(&mut run)?;
    run.err.find("hook done with code 0 hook=pre-start-1").map(drop)
}

/// The last look is told before the hook's time is over. Nobody listens on port 1.
fn wait_says_what_the_last_look_has_found(room: Room) -> Outcome {
    let mut run = Launch::graceinit(room)
        .flags("--hook-timeout 2s --pre-start wait:tcp:127.0.0.1:1")
        .app("ready echo")
        .start()?;
    run.exits(125)?;
    run.err.find("unable to reach 127.0.0.1:1 within ")?;
    run.err.find(" s: Connection refused")?;
    run.err.find("the app is not started: a pre-start hook has failed").map(drop)
}

/// Name, environment, limits and user of one hook; the others keep the general ones.
fn a_file_says_all_of_one_hook(room: Room) -> Outcome {
    if !need::root() {
        return Ok(());
    }
    let place = Place::new();
    let tell = puppet_line(&format!(
        "to={} ids env=COLOUR env=GRACEINIT_HOOK env=GRACEINIT_BUDGET_MS",
        place.text("told")
    ));
    let file = format!(
        "[[hook.post-stop]]\nname = \"tell\"\ncommand = '{tell}'\nuser = \"65534:65533\"\n\
         env = {{ COLOUR = \"blue, really\" }}\n\
         [[hook.post-stop]]\nname = \"slow\"\ncommand = \"sleep:1h\"\ntimeout = \"100ms\"\n"
    );
    let file = place.file("graceinit.toml", file, 0o644);
    let mut run =
        started(Launch::graceinit(room).flag("--config", file).flags("--post-stop-timeout 60s"))?;
    stops(&mut run)?;
    let told = place.expect("told")?;
    let expected = [
        "ids uid=65534 euid=65534 gid=65533",
        "env COLOUR=blue, really",
        "env GRACEINIT_HOOK=tell",
    ];
    for line in expected {
        ensure!(told.contains(line), "{line:?} is not in {told}");
    }
    run.err.find("hook timed out hook=slow").map(drop)
}

both_rooms!(
    files_are_touched_removed_and_written,
    a_builtin_that_fails_says_why,
    a_hanging_builtin_is_killed,
    sleep_sleeps,
    a_signal_goes_to_the_app,
    http_asks,
    http_answers_count,
    http_needs_a_server,
    wait_waits_for_a_good_answer,
    wait_waits_for_a_listener,
    wait_says_what_the_last_look_has_found,
    a_file_says_all_of_one_hook
);
