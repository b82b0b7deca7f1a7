//! The balancer: HAProxy as Debian has it, told by its admin socket which server is in service, or finding it out by
//! its own checks; Envoy or Caddy, which check; or nginx, which finds the sockets of the servers there or not. What was
//! sent once is not repeated: what fails is a failure that a client sees.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::apps::{Site, Wire};
use super::{ORPHANED, SLOTS, Slot, caddy, envoy, nginx};
use crate::ensure;
use crate::support::files::Place;
use crate::support::port::free_port;
use crate::support::{Fault, Outcome, proc};

pub(crate) const HAPROXY: &str = "/usr/sbin/haproxy";

/// How it learns who is in service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// Somebody tells it, as an endpoints controller does.
    Told,
    /// It asks itself, twice a second: one answer counts.
    Checks,
    /// A server is in service while its Unix socket is there.
    Files,
}

/// Which balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Haproxy,
    /// It always checks.
    Envoy,
    /// It always checks.
    Caddy,
    /// For Unix sockets.
    Nginx,
}

impl Kind {
    pub(crate) fn program(self) -> PathBuf {
        match self {
            Kind::Haproxy => HAPROXY.into(),
            Kind::Envoy => envoy::program(),
            Kind::Caddy => caddy::program(),
            Kind::Nginx => nginx::PROGRAM.into(),
        }
    }
}

/// What it stands before, and how it is set up.
pub(crate) struct Front<'a> {
    pub(crate) site: &'a Site,
    pub(crate) slots: &'a [Slot; SLOTS],
    pub(crate) notice: Notice,
    /// The path of its checks.
    pub(crate) check: &'a str,
    /// Connections to the servers are kept and used by all; else each request has its own.
    pub(crate) pool: bool,
    /// When one that has no request is closed; of Caddy.
    pub(crate) idle: Duration,
    /// Between two checks; of Caddy, and of Envoy.
    pub(crate) interval: Duration,
    pub(crate) wire: Wire,
}

pub(crate) struct Balancer {
    pub(crate) address: SocketAddrV4,
    admin: Admin,
    child: Child,
}

/// Where it is asked.
enum Admin {
    Haproxy(PathBuf),
    Envoy(SocketAddrV4, [Slot; SLOTS]),
    /// Its answers tell which server has given them.
    Caddy([Slot; SLOTS]),
    None,
}

/// Starts a program that ends with the tests, and writes what it says to a file.
fn spawn(place: &Place, log: &str, command: &mut Command) -> Outcome<Child> {
    let log = std::fs::File::create(place.path(log))?;
    Ok(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?)
}

fn command(program: PathBuf) -> Command {
    let mut command = Command::new("setpriv");
    command.args(ORPHANED).arg(program);
    command
}

fn free_address() -> Outcome<SocketAddrV4> {
    Ok(SocketAddrV4::new(Ipv4Addr::LOCALHOST, free_port()?))
}

impl Balancer {
    /// With all slots out of service.
    pub(crate) fn start(kind: Kind, front: &Front<'_>) -> Outcome<Balancer> {
        match kind {
            Kind::Haproxy => Balancer::haproxy(front),
            Kind::Envoy => Balancer::envoy(front),
            Kind::Caddy => Balancer::caddy(front),
            Kind::Nginx => Balancer::nginx(front),
        }
    }

    fn new(address: SocketAddrV4, admin: Admin, child: Child) -> Outcome<Balancer> {
        let balancer = Balancer { address, admin, child };
        proc::poll("the balancer", || TcpStream::connect(address).ok())?;
        Ok(balancer)
    }

    fn envoy(front: &Front<'_>) -> Outcome<Balancer> {
        let (address, admin) = (free_address()?, free_address()?);
        let place = &front.site.place;
        let conf = place.file("envoy.yaml", envoy::config(address, admin, front), 0o644);
        let mut envoy = command(envoy::program());
        // Without a base id, two Envoys of one machine share memory.
        envoy.args(["--concurrency", "1", "--use-dynamic-base-id", "-l", "warn", "-c"]).arg(conf);
        let child = spawn(place, "envoy.log", &mut envoy)?;
        Balancer::new(address, Admin::Envoy(admin, *front.slots), child)
    }

    fn caddy(front: &Front<'_>) -> Outcome<Balancer> {
        let address = free_address()?;
        let place = &front.site.place;
        let conf = place.file("Caddyfile", caddy::config(address, front), 0o644);
        let mut caddy = command(caddy::program());
        caddy.args(["run", "--adapter", "caddyfile", "--config"]).arg(conf);
        caddy.env("HOME", place.path("."));
        let child = spawn(place, "caddy.log", &mut caddy)?;
        Balancer::new(address, Admin::Caddy(*front.slots), child)
    }

    fn nginx(front: &Front<'_>) -> Outcome<Balancer> {
        let address = free_address()?;
        let place = &front.site.place;
        let conf = place.file("front.conf", nginx::config(address, front), 0o644);
        let mut nginx = command(nginx::PROGRAM.into());
        let child = spawn(place, "front.log", nginx.arg("-c").arg(conf))?;
        Balancer::new(address, Admin::None, child)
    }

    fn haproxy(front: &Front<'_>) -> Outcome<Balancer> {
        let Front { slots, notice, check, pool, wire, .. } = *front;
        let address = free_address()?;
        let (check, state) = match notice {
            Notice::Told | Notice::Files => (String::new(), "disabled"),
            Notice::Checks => {
                (format!(" option httpchk GET {check}\n http-check expect status 200\n"), "")
            }
        };
        let tls = if wire == Wire::Tls { "ssl verify none" } else { "" };
        let servers: String = slots
            .iter()
            .enumerate()
            .map(|(number, slot)| {
                let own = match notice {
                    Notice::Told | Notice::Files => String::new(),
                    Notice::Checks => {
                        // graceinit's answers have no TLS.
                        let plain = if slot.check == slot.port { "" } else { "no-check-ssl" };
                        format!("check port {} {plain} inter 500ms fall 1 rise 1", slot.check)
                    }
                };
                format!(" server r{number} {} {tls} {state} {own}\n", slot.address())
            })
            .collect();
        let reuse = if pool { "http-reuse always" } else { "option http-server-close" };
        let text = format!(
            "{reuse}\nfrontend front\n bind {address} backlog 4096\n default_backend back\n\
             backend back\n balance roundrobin\n{check}{servers}",
        );
        Balancer::haproxy_with(&front.site.place, address, &text)
    }

    /// HAProxy with these sections, of which the first is the rest of the defaults.
    pub(crate) fn haproxy_with(
        place: &Place,
        address: SocketAddrV4,
        sections: &str,
    ) -> Outcome<Balancer> {
        let admin = place.path("admin");
        // The timeouts are longer than anything here, and shorter than the servers' own patience with an
        // idle connection. One thread is enough, and costs less than two.
        let text = format!(
            "global\n nbthread 1\n maxconn 9000\n stats socket {admin} mode 600 level admin\n\
             defaults\n mode http\n retries 0\n\
             timeout connect 5s\n timeout check 5s\n timeout client 60s\n timeout server 60s\n\
             timeout http-request 60s\n timeout queue 60s\n {sections}",
            admin = admin.display()
        );
        let conf = place.file("haproxy.cfg", text, 0o644);
        let mut haproxy = command(HAPROXY.into());
        let child = spawn(place, "haproxy.log", haproxy.args(["-db", "-f"]).arg(conf))?;
        Balancer::new(address, Admin::Haproxy(admin), child)
    }

    fn command(&self, line: &str) -> Outcome<String> {
        let Admin::Haproxy(admin) = &self.admin else {
            return Err(Fault::new("only HAProxy takes commands"));
        };
        let mut socket = UnixStream::connect(admin)?;
        writeln!(socket, "{line}")?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// Puts a slot into service (`ready`) or out of it (`maint`). What it is working on goes on.
    pub(crate) fn set(&self, slot: usize, state: &str) -> Outcome {
        let answer = self.command(&format!("set server back/r{slot} state {state}"))?;
        ensure!(answer.trim().is_empty(), "the balancer says {answer:?}");
        Ok(())
    }

    /// Whether it sends requests there.
    pub(crate) fn uses(&self, slot: usize) -> Outcome<bool> {
        match &self.admin {
            Admin::Envoy(admin, slots) => return envoy::uses(*admin, slots[slot].address()),
            Admin::Caddy(slots) => return caddy::uses(self.address, slots[slot].address()),
            Admin::Haproxy(_) | Admin::None => {}
        }
        let states = self.command("show servers state back")?;
        let name = format!("r{slot}");
        // be_id be_name srv_id srv_name srv_addr srv_op_state …, of which 2 is "running".
        let state = states
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .find_map(|words| (*words.get(3)? == name).then(|| words.get(5).copied() == Some("2")));
        ensure!(state.is_some(), "the balancer has no server {name}: {states:?}");
        Ok(state == Some(true))
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
