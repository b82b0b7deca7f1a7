//! nginx takes TERM for "drop everything" and QUIT for "finish what you are doing". An init that
//! translates makes `docker stop` a graceful one.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddrV4, TcpStream};

use super::common::{Upstream, free_address, with_profile};
use crate::support::files::Place;
use crate::support::{Fault, Launch, Outcome, PATIENCE, Program, Room, Status, need, proc};
use crate::{ensure, ensure_eq};

const NGINX: &str = "/usr/sbin/nginx";

/// A download takes some seconds, whatever the buffers in between swallow.
const RATE: usize = 128 * 1024;
const BODY: usize = 4 * RATE;

/// One nginx, in the foreground as containers run it, with everything it writes in `place`.
fn configuration(place: &Place, address: SocketAddrV4) -> String {
    let dir = place.text(".");
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|name| format!("{name}_temp_path {dir}/{name};\n"))
        .collect();
    // No change of user: in a user namespace there is nobody but root.
    format!(
        "daemon off; user root root; worker_processes 1; pid {dir}/pid; error_log stderr;\n\
         events {{ worker_connections 64; }}\n\
         http {{ access_log off; {temporary}\n\
         server {{ listen {address}; root {dir}; location / {{ limit_rate {RATE}; }} }} }}\n"
    )
}

/// What a slow client gets of a download during which a stop begins, and how nginx ends.
fn stop_during_a_download(program: Program, flags: &str) -> Outcome<String> {
    let place = Place::new();
    let address = free_address()?;
    place.file("body", vec![b'x'; BODY], 0o644);
    let conf = place.file("nginx.conf", configuration(&place, address), 0o644);
    let conf = conf.to_str().ok_or_else(|| Fault::new("a strange path"))?;
    let launch = Launch::new(program, Room::PidNs).flags(flags);
    let mut run = launch.command([NGINX, "-c", conf]).start()?;

    let mut client = proc::poll("a connection", || TcpStream::connect(address).ok())?;
    client.set_read_timeout(Some(PATIENCE))?;
    client.write_all(b"GET /body HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut response = vec![0; 4096];
    let begun = client.read(&mut response)?;
    response.truncate(begun);
    ensure!(response.starts_with(b"HTTP/1.1 200 OK"), "no download");

    run.signal("TERM")?;
    match client.read_to_end(&mut response) {
        Ok(_) => {}
        // Cut off with bytes on their way.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => return Err(error.into()),
    }
    let head = response.windows(4).position(|window| window == b"\r\n\r\n");
    let body = response.len() - head.ok_or_else(|| Fault::new("no end of the headers"))? - 4;
    ensure_eq!(run.wait()?, Status::Code(0), "nginx's end");
    Ok(if body == BODY { "whole" } else { "cut off" }.into())
}

fn needs() -> bool {
    need::pid_namespace() && need::program(NGINX)
}

#[test]
fn with_a_rewrite_the_download_is_whole() -> Outcome {
    if needs() {
        let flags = "--grace 60s --rewrite TERM:QUIT";
        ensure_eq!(stop_during_a_download(Program::Graceinit, flags)?, "whole", "the body");
    }
    Ok(())
}

#[test]
fn with_the_profile_the_download_is_whole() -> Outcome {
    if needs() {
        let flags = "--grace 60s --profile nginx";
        ensure_eq!(stop_during_a_download(Program::Graceinit, flags)?, "whole", "the body");
    }
    Ok(())
}

/// The second signal of the profile's ladder: the pid file goes, as it does not when nginx is killed.
#[test]
fn a_request_that_never_finishes_is_cut_off_in_order() -> Outcome {
    if !needs() {
        return Ok(());
    }
    let place = Place::new();
    let (address, upstream) = (free_address()?, Upstream::new()?);
    let pass = format!("proxy_buffering off; proxy_pass http://{}", upstream.address()?);
    let conf = configuration(&place, address).replace("limit_rate", &format!("{pass}; limit_rate"));
    let conf = place.file("nginx.conf", conf, 0o644);
    let conf = conf.to_str().ok_or_else(|| Fault::new("a strange path"))?;
    let mut run = with_profile("nginx", "3s").command([NGINX, "-c", conf]).start()?;
    let (answer, _held) = upstream.held_request(address)?;
    ensure!(place.path("pid").exists(), "no pid file");
    // As the official image has it for its stop signal: it begins a stop like TERM.
    run.signal("QUIT")?;
    ensure_eq!(answer.end()?, "cut off", "the request");
    run.exits(0)?;
    ensure!(!place.path("pid").exists(), "the pid file is still there");
    Ok(())
}

/// dumb-init has the same setting, by number.
#[test]
fn dumb_inits_rewrite_does_the_same() -> Outcome {
    if needs() && need::peer(Program::DumbInit) {
        let flags = "--rewrite 15:3";
        ensure_eq!(stop_during_a_download(Program::DumbInit, flags)?, "whole", "the body");
    }
    Ok(())
}

/// That is why the setting exists; tini and catatonit have none.
#[test]
fn without_one_it_is_cut_off() -> Outcome {
    if !needs() {
        return Ok(());
    }
    for program in [Program::Graceinit, Program::Tini, Program::DumbInit, Program::Catatonit] {
        if program == Program::Graceinit || need::peer(program) {
            let flags = if program == Program::Graceinit { "--grace 60s" } else { "" };
            ensure_eq!(stop_during_a_download(program, flags)?, "cut off", "{program:?}");
        }
    }
    Ok(())
}
