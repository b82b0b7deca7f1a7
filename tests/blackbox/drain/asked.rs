//! The question of docs/report.md, "was a request cut off by the stop signal?", put to reports of real stops.

use std::process::Command;

use super::{Drained, PYTHON, ask};
use crate::support::{Fault, Outcome, Room, need};
use crate::{ensure, ensure_eq};

const PAGE: &str = include_str!("../../../docs/report.md");

/// The command of the page, three lines long, for `report.json` in the present directory.
fn command() -> Outcome<String> {
    let lines: Vec<&str> = PAGE.lines().collect();
    let last =
        lines.iter().position(|line| line.contains("# was a request cut off by the stop signal?"));
    let last = last.ok_or_else(|| Fault::new("the page asks no such question"))?;
    let text = lines[last - 2..=last].join("\n");
    ensure!(text.starts_with("jq -r '.drain"), "another command: {text}");
    Ok(text)
}

/// A stop with these options, and what the command says of its report.
fn answer(
    drained: impl FnOnce(Drained) -> Drained,
    play: impl FnOnce(&super::Server) -> Outcome<Option<std::net::TcpStream>>,
) -> Outcome<String> {
    let server = drained(Drained::new(Room::Plain, "4")?);
    let dir = server.place.path(".");
    let report = server.place.text("report.json");
    let mut server = server.flags(&format!("--report {report}")).start(false)?;
    let client = play(&server)?;
    server.run.signal("TERM")?;
    server.run.exits(5)?;
    drop(client);
    let output = Command::new("sh").args(["-c", &command()?]).current_dir(dir).output()?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "jq: {error}");
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[test]
fn the_page_of_reports_tells_how_to_ask_whether_a_request_was_cut_off() -> Outcome {
    needs!(need::program("/usr/bin/jq"));
    let asks = |server: &super::Server| {
        let mut client = server.connect()?;
        ask(&mut client, "/")?;
        Ok(Some(client))
    };
    ensure_eq!(answer(Drained::drain, asks)?, "no", "an answered request");
    let short = |drained: Drained| drained.drain().flags("--drain-max 1s");
    let held = |server: &super::Server| server.held().map(Some);
    ensure_eq!(answer(short, held)?, "requests may have been", "a request without an answer");
    let paused = |drained: Drained| {
        let port = drained.port;
        drained.flags(&format!("--drain {port} --drain-idle 5s --drain-max 1s"))
    };
    let perhaps = "an answer may have been, in a pause";
    ensure_eq!(answer(paused, asks)?, perhaps, "an answer that may not be complete");
    ensure_eq!(answer(|drained| drained, asks)?, "unknown", "no drain");
    Ok(())
}
