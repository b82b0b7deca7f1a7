//! The balancer: HAProxy as Debian has it, told by its admin socket which server is in service, or finding it out by
//! its own checks; or Envoy, which checks. Neither repeats anything: what fails once is a failure that a client sees.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::{ORPHANED, SLOTS, Slot, envoy};
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
}

/// Which balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Haproxy,
    /// It always checks.
    Envoy,
}

impl Kind {
    pub(crate) fn program(self) -> PathBuf {
        match self {
            Kind::Haproxy => HAPROXY.into(),
            Kind::Envoy => envoy::program(),
        }
    }
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
}

impl Balancer {
    /// With all slots out of service. `check` is the path of its checks; `pool`: connections
    /// to the servers are kept and used by all, else each request has its own.
    pub(crate) fn start(
        kind: Kind,
        place: &Place,
        slots: &[Slot; SLOTS],
        notice: Notice,
        check: &str,
        pool: bool,
    ) -> Outcome<Balancer> {
        match kind {
            Kind::Haproxy => Balancer::haproxy(place, slots, notice, check, pool),
            Kind::Envoy => Balancer::envoy(place, slots, check, pool),
        }
    }

    fn envoy(place: &Place, slots: &[Slot; SLOTS], check: &str, pool: bool) -> Outcome<Balancer> {
        let [address, admin] =
            [free_port()?, free_port()?].map(|port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
        let text = envoy::config(address, admin, slots, check, pool);
        let conf = place.file("envoy.yaml", text, 0o644);
        let log = std::fs::File::create(place.path("envoy.log"))?;
        let child = Command::new("setpriv")
            .args(ORPHANED)
            .arg(envoy::program())
            // Without a base id, two Envoys of one machine share memory.
            .args(["--concurrency", "1", "--use-dynamic-base-id", "-l", "warn", "-c"])
            .arg(conf)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let balancer = Balancer { address, admin: Admin::Envoy(admin, *slots), child };
        proc::poll("the balancer", || TcpStream::connect(address).ok())?;
        Ok(balancer)
    }

    fn haproxy(
        place: &Place,
        slots: &[Slot; SLOTS],
        notice: Notice,
        check: &str,
        pool: bool,
    ) -> Outcome<Balancer> {
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, free_port()?);
        let admin = place.path("admin");
        let (check, state) = match notice {
            Notice::Told => (String::new(), "disabled"),
            Notice::Checks => {
                (format!(" option httpchk GET {check}\n http-check expect status 200\n"), "")
            }
        };
        let servers: String = slots
            .iter()
            .enumerate()
            .map(|(number, Slot { port, check })| {
                let own = match notice {
                    Notice::Told => String::new(),
                    Notice::Checks => format!("check port {check} inter 500ms fall 1 rise 1"),
                };
                format!(" server r{number} 127.0.0.1:{port} {state} {own}\n")
            })
            .collect();
        let reuse = if pool { "http-reuse always" } else { "option http-server-close" };
        // The timeouts are longer than anything here, and shorter than the servers' own patience with an
        // idle connection. One thread is enough, and costs less than two.
        let text = format!(
            "global\n nbthread 1\n maxconn 9000\n stats socket {admin} mode 600 level admin\n\
             defaults\n mode http\n retries 0\n {reuse}\n\
             timeout connect 5s\n timeout check 5s\n timeout client 60s\n timeout server 60s\n\
             timeout http-request 60s\n timeout queue 60s\n\
             frontend front\n bind {address} backlog 4096\n default_backend back\n\
             backend back\n balance roundrobin\n{check}{servers}",
            admin = admin.display()
        );
        let conf = place.file("haproxy.cfg", text, 0o644);
        let log = std::fs::File::create(place.path("haproxy.log"))?;
        let child = Command::new("setpriv")
            .args(ORPHANED)
            .args([HAPROXY, "-db"])
            .arg("-f")
            .arg(conf)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let balancer = Balancer { address, admin: Admin::Haproxy(admin), child };
        proc::poll("the balancer", || TcpStream::connect(address).ok())?;
        Ok(balancer)
    }

    fn command(&self, line: &str) -> Outcome<String> {
        let Admin::Haproxy(admin) = &self.admin else {
            return Err(Fault::new("Envoy takes no commands"));
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
        if let Admin::Envoy(admin, slots) = &self.admin {
            return envoy::uses(*admin, slots[slot].port);
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
