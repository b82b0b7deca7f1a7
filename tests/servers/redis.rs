//! Redis saves on TERM, and on INT; on everything else, and when it is killed, it loses what came
//! after the last save.

use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};

use super::common::{connect, free_address, with_profile};
use crate::ensure_eq;
use crate::support::files::Place;
use crate::support::{Launch, Outcome, Run, need};

const REDIS: &str = "/usr/bin/redis-server";

/// One that is asked to save an hour after a write, so that only its end can be what saves.
fn start(launch: Launch, place: &Place, address: SocketAddrV4) -> Outcome<(Run, TcpStream)> {
    let (ip, port) = (address.ip(), address.port());
    let command = format!("{REDIS} --bind {ip} --port {port} --dir {}", place.text("."));
    let words = command.split_whitespace().chain(["--save", "3600 1"]);
    let run = launch.command(words).start()?;
    let client = connect(address)?;
    Ok((run, client))
}

/// Sends a command word by word, as RESP has it.
fn say(client: &mut TcpStream, words: &[&str]) -> Outcome {
    let mut text = format!("*{}\r\n", words.len());
    for word in words {
        text.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    Ok(client.write_all(text.as_bytes())?)
}

/// The next `length` bytes of answers.
fn answer(client: &mut TcpStream, length: usize) -> Outcome<String> {
    let mut bytes = vec![0; length];
    client.read_exact(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A script that writes, works for a while and writes again.
const SCRIPT: &str = "redis.call('set', 'begun', '1')\n\
    redis.log(redis.LOG_WARNING, 'the script has begun')\n\
    local function now() local t = redis.call('time') return t[1] * 1000 + t[2] / 1000 end\n\
    local start = now()\n\
    while now() - start < 500 do end\n\
    redis.call('set', 'done', '1')";

#[test]
fn a_script_finishes_and_is_saved_with_the_profile() -> Outcome {
    if !need::pid_namespace() || !need::program(REDIS) {
        return Ok(());
    }
    let place = Place::new();
    let address = free_address()?;
    let (mut run, mut client) = start(with_profile("redis", "60s"), &place, address)?;
    say(&mut client, &["EVAL", SCRIPT, "0"])?;
    run.out.find("the script has begun")?;
    // As some images have it for their stop signal; it goes on as TERM.
    run.signal("INT")?;
    run.exits(0)?;
    ensure_eq!(run.out.count("graceinit: warn"), 0, "warnings");
    run.out.find("Received SIGTERM")?;

    let address = free_address()?;
    let (_again, mut client) = start(with_profile("redis", "60s"), &place, address)?;
    say(&mut client, &["MGET", "begun", "done"])?;
    let both = "*2\r\n$1\r\n1\r\n$1\r\n1\r\n";
    ensure_eq!(answer(&mut client, both.len())?, both, "what was saved");
    Ok(())
}
