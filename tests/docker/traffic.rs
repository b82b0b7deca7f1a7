//! What stands between the world and the containers that are stopped: HAProxy, which asks each one's
//! health, under a load of which every request is accounted for.

use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::process::{Child, Command, Stdio};

use graceinit::tools::rehearse::load::Load;

use crate::ensure;
use crate::rollout::load::{Mix, Plan, start};
use crate::servers::common::free_address;
use crate::support::files::Place;
use crate::support::{Outcome, PATIENCE, need, proc};

const HAPROXY: &str = "/usr/sbin/haproxy";

pub fn needs() -> bool {
    need::program(HAPROXY)
}

/// One of those behind the balancer: where it serves, and where its health is asked.
#[derive(Clone, Copy, Debug)]
pub struct Backend {
    pub serves: SocketAddrV4,
    pub health: SocketAddrV4,
    pub path: &'static str,
}

impl Backend {
    /// Waits until it says that it is ready.
    pub fn ready(&self) -> Outcome {
        let what = format!("a 200 of {}", self.health);
        proc::poll(&what, || request(self.health, self.path).ok()).map(drop)
    }

    /// What the server says there.
    pub fn hello(&self) -> Outcome<String> {
        request(self.serves, "/")
    }
}

/// HAProxy before them. It takes an answer for what it is: no second try, no other server.
pub struct Balancer {
    child: Child,
    pub address: SocketAddrV4,
    _place: Place,
}

impl Balancer {
    /// Asks each one's health once in `interval`; one failure puts it out, one success in.
    pub fn start(backends: &[Backend], interval: &str) -> Outcome<Balancer> {
        let (place, address) = (Place::new(), free_address()?);
        let mut conf = format!(
            "global\n maxconn 1000\n\
             defaults\n mode http\n retries 0\n\
             timeout connect 5s\n timeout check 5s\n timeout client 10s\n timeout server 10s\n\
             frontend front\n bind {address}\n default_backend back\n\
             backend back\n balance roundrobin\n\
             default-server check inter {interval} fall 1 rise 1\n"
        );
        for (number, backend) in backends.iter().enumerate() {
            let (serves, health) = (backend.serves, backend.health);
            let (ip, port) = (health.ip(), health.port());
            if number == 0 {
                conf.push_str(&format!(" option httpchk GET {}\n", backend.path));
            }
            conf.push_str(&format!(" server s{number} {serves} addr {ip} port {port}\n"));
        }
        let conf = place.file("haproxy.cfg", conf, 0o644);
        let mut haproxy = Command::new(HAPROXY);
        haproxy.arg("-db").arg("-f").arg(conf);
        haproxy.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let balancer = Balancer { child: haproxy.spawn()?, address, _place: place };
        proc::poll("an answer through HAProxy", || request(address, "/").ok())?;
        Ok(balancer)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A constant load of so many requests a second, under way. Handlers take 5 to 300 ms, so that some
/// requests are always in the middle.
pub fn load(balancer: &Balancer, rate: u32) -> Outcome<Load> {
    let load = start(Plan {
        to: balancer.address,
        rate,
        mix: Mix::Short,
        method: "GET",
        timeout: PATIENCE,
        limit: u64::MAX,
        keep_alive: false,
    })?;
    more(&load, 50)?;
    Ok(load)
}

/// Waits until there are so many more answers.
pub fn more(load: &Load, answers: u64) -> Outcome {
    let goal = load.answered() + answers;
    proc::poll("more answers", || (load.answered() >= goal).then_some(()))
}

/// The body of a 200.
fn request(address: SocketAddrV4, path: &str) -> Outcome<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    ensure!(head.starts_with("HTTP/1.1 200 "), "{address} says {head:?}");
    Ok(body.trim_end().to_string())
}
