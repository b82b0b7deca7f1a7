//! `--drained`: the app's own word.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use super::{Drained, PYTHON};
use crate::support::files::Place;
use crate::support::{Launch, Outcome, Room, Run, need, proc};
use crate::{both_rooms, ensure, ensure_eq};

/// An app that tells how much it has to do: at `/metrics` as a metric, in chunks, at `/idle` by the status.
struct Busy {
    address: SocketAddr,
    jobs: Arc<AtomicUsize>,
    asked: Arc<AtomicUsize>,
}

impl Busy {
    fn with(jobs: usize) -> Outcome<Busy> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let (jobs, asked) = (Arc::new(AtomicUsize::new(jobs)), Arc::new(AtomicUsize::new(0)));
        let busy = Busy { address, jobs, asked };
        let (jobs, asked) = (Arc::clone(&busy.jobs), Arc::clone(&busy.asked));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut head = [0; 1024];
                let length = stream.read(&mut head).unwrap_or(0);
                asked.fetch_add(1, SeqCst);
                let jobs = jobs.load(SeqCst);
                let answer = match (head[..length].starts_with(b"GET /metrics "), jobs) {
                    (true, jobs) => {
                        let first = format!("# TYPE jobs gauge\njobs{{queue=\"a\"}} {jobs}\njo");
                        let second = "bs{queue=\"b\"} 0\n";
                        format!(
                            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n{:x}\r\n\
                             {second}\r\n0\r\n\r\n",
                            first.len(),
                            second.len()
                        )
                    }
                    (false, 0) => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
                    // Not 2xx: it would lead to a page that says anything.
                    (false, _) => "HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
                };
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Ok(busy)
    }

    fn metric(&self) -> String {
        format!("metric:http://{}/metrics jobs <= 0", self.address)
    }
}

/// An app that is told of signals, and a drain that only its word ends.
fn start(room: Room, flags: &str, words: &[String]) -> Outcome<Run> {
    let mut launch = Launch::graceinit(room).flags("--log-level info --grace 60s").flags(flags);
    for word in words {
        launch = launch.flag("--drained", word);
    }
    let run = launch.app("block ready echo=TERM:3").start()?;
    run.ready()?;
    run.err.until("graceinit: info: the app is ready")?;
    run.signal("TERM")?;
    run.err.until("graceinit: info: draining: the app keeps serving")?;
    Ok(run)
}

/// The app was not asked to stop: a signal that comes now is the first one that it gets.
fn is_not_asked(run: &Run) -> Outcome {
    run.signal("HUP")?;
    run.out.expect("got HUP ").map(drop)
}

/// The app is asked to stop, and ends.
fn ends(mut run: Run) -> Outcome {
    run.err.until("graceinit: info: asking the app to stop")?;
    run.out.expect("got TERM ")?;
    run.exits(3)
}

fn a_command_says_when_the_app_is_drained(room: Room) -> Outcome {
    let place = Place::new();
    let done = place.path("done");
    let script = format!("test -e {} || {{ echo 2 jobs; exit 1; }}", done.display());
    let run = start(room, "", &[format!("exec:sh -c '{script}'")])?;
    let line = run.err.until("graceinit: info: the app says that it is not drained ")?;
    ensure!(line.0.ends_with(" said=2 jobs"), "{}", line.0);
    is_not_asked(&run)?;
    std::fs::write(&done, "")?;
    run.err.until("graceinit: info: drained ")?;
    ends(run)
}

fn a_metric_says_when_the_app_is_drained(room: Room) -> Outcome {
    let busy = Busy::with(3)?;
    let run = start(room, "", &[busy.metric(), format!("http://{}/idle", busy.address)])?;
    let first = run.err.until("graceinit: info: the app says that it is not drained ")?;
    let second = run.err.until("graceinit: info: the app says that it is not drained ")?;
    let said = [&first.0, &second.0].map(|line| line.rsplit("said=").next().unwrap_or(""));
    ensure!(said.contains(&"jobs = 3"), "{said:?}");
    ensure!(said.contains(&"302 Found"), "{said:?}");
    is_not_asked(&run)?;
    // It is looked at again and again, and told once.
    let so_far = busy.asked.load(SeqCst);
    proc::poll("further looks", || (busy.asked.load(SeqCst) >= so_far + 4).then_some(()))?;
    ensure_eq!(run.err.count("graceinit: info: the app says"), 2, "lines");
    busy.jobs.store(0, SeqCst);
    run.err.until("graceinit: info: drained ")?;
    ends(run)
}

/// A command that does not exist, an address at which no process listens, a metric that is not there, an answer that
/// never comes: the app is not drained, and the drain ends all the same.
fn a_look_that_fails_is_no_word(room: Room) -> Outcome {
    let busy = Busy::with(0)?;
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let gone = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let place = Place::new();
    let words = [
        "exec:/does/not/exist".to_owned(),
        format!("http://{gone}/"),
        format!("metric:http://{}/metrics nothing <= 9", busy.address),
        format!("http://{}/", silent.local_addr()?),
    ];
    let report = place.text("report");
    let run = start(room, &format!("--drain-max 1s --report {report}"), &words)?;
    let line = run.err.until("graceinit: warn: --drain-max is over: by its own word the app is")?;
    for word in &words {
        ensure!(line.0.contains(&word[..]), "{word} is missing: {}", line.0);
    }
    let said = run.err.until("graceinit: info: the app's own word held the drain ")?;
    ensure!(said.0.contains("exec:/does/not/exist"), "{}", said.0);
    let said = run.err.until("graceinit: info: the app's own word held the drain ")?;
    ensure!(said.0.contains("Connection refused"), "{}", said.0);
    let said = run.err.until("graceinit: info: the app's own word held the drain ")?;
    ensure!(said.0.ends_with(" said=there is no metric nothing"), "{}", said.0);
    let said = run.err.until("graceinit: info: the app's own word held the drain ")?;
    ensure!(said.0.ends_with(" said=no answer yet"), "{}", said.0);
    ends(run)?;
    let report = std::fs::read_to_string(&report)?;
    let held = report.matches("\"held\":true").count();
    ensure_eq!(held, 4, "{report}");
    let summary = format!("By its own word the app was not drained: {}", words[0]);
    ensure!(report.contains(&summary), "{report}");
    drop(silent);
    Ok(())
}

/// The connections come first: while one is in use, the app is not asked.
fn the_word_comes_after_the_connections(room: Room) -> Outcome {
    needs!();
    let busy = Busy::with(1)?;
    let mut server = Drained::new(room, "4")?.drain();
    server.launch = server.launch.flag("--drained", busy.metric());
    let mut server = server.start(false)?;
    let client = server.held()?;
    server.drains()?;
    for _ in 0..8 {
        server.sees("owed=1")?;
    }
    ensure_eq!(busy.asked.load(SeqCst), 0, "looks while an answer is owed");
    server.release()?;
    server.run.err.until("graceinit: info: the app says that it is not drained ")?;
    server.is_untold()?;
    let told = "503 not ready: drain\ndraining: metric:http://";
    proc::poll("what the app has said", || {
        server
            .probe()
            .is_ok_and(|it| it.starts_with(told) && it.ends_with(": jobs = 1"))
            .then_some(())
    })?;
    busy.jobs.store(0, SeqCst);
    server.ends("info: drained")?;
    drop(client);
    Ok(())
}

both_rooms!(
    a_command_says_when_the_app_is_drained,
    a_metric_says_when_the_app_is_drained,
    a_look_that_fails_is_no_word,
    the_word_comes_after_the_connections,
);
