//! The cases of the long form. What is promised for graceinit stands with each.

use std::time::Duration;

use super::REPLICAS;
use super::apps::Server;
use super::balancer::{Kind, Notice};
use super::load::Mix;
use super::replica::Setup;
use super::update::Trial;
use crate::support::Program;

/// The peers, which are the control, and graceinit.
pub(crate) const INITS: [Program; 3] = [Program::Tini, Program::DumbInit, Program::Graceinit];

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// Servers, and requests per second.
    pub(crate) servers: &'static [(Server, u32)],
    pub(crate) mix: Mix,
    /// Of the requests.
    pub(crate) method: &'static str,
    pub(crate) balancer: Kind,
    pub(crate) notice: Notice,
    pub(crate) lag: Duration,
    /// Whether the balancer keeps its connections to the servers. Where they idle they are waited for
    /// (`--drain-idle`).
    pub(crate) pool: bool,
    /// When it closes one of them that has no request; and how often it checks.
    pub(crate) idle: Duration,
    pub(crate) interval: Duration,
    /// graceinit's.
    pub(crate) options: &'static str,
    pub(crate) unprivileged: bool,
    /// The most that a stop under graceinit takes on average, in seconds.
    pub(crate) bar: f64,
    /// Rounds with graceinit; the control has fewer, since one drop is enough.
    pub(crate) rounds: u32,
}

/// As long as a kubelet waits.
const GRACE: Duration = Duration::from_secs(30);
/// Rounds of the peers.
const CONTROL: u32 = 1;

const FAST: &[(Server, u32)] =
    &[(Server::Nginx, 2000), (Server::Node, 2000), (Server::Python, 1000)];

/// What cases have in common.
const BASE: Case = Case {
    name: "late",
    about: "short handlers; the balancer is told 1 s after the stop signal",
    servers: FAST,
    mix: Mix::Short,
    method: "GET",
    balancer: Kind::Haproxy,
    notice: Notice::Told,
    lag: Duration::from_secs(1),
    pool: true,
    idle: Duration::from_secs(60),
    interval: Duration::from_millis(500),
    options: "--grace 25s --drain {port} --drain-idle 1s",
    unprivileged: false,
    bar: 2.4,
    rounds: 5,
};

pub(crate) const CASES: [Case; 19] = [
    BASE,
    CHECKS,
    DEFAULTS,
    Case {
        name: "envoy",
        about: "as `checks`, with Envoy, which keeps its connections",
        balancer: Kind::Envoy,
        pool: true,
        ..CHECKS
    },
    Case {
        name: "full",
        about: "short handlers, 3 s streams and 10 s long polls; told 1 s after the stop signal",
        servers: &[
            (Server::Nginx, 300),
            (Server::Node, 300),
            (Server::Python, 300),
            (Server::Httpd, 200),
            (Server::Gunicorn, 200),
            (Server::Java, 200),
            (Server::Php, 40),
        ],
        mix: Mix::Full,
        bar: 11.0,
        rounds: 2,
        ..BASE
    },
    Case {
        name: "seven",
        about: "as `late`, with all servers",
        servers: &[
            (Server::Nginx, 500),
            (Server::Node, 500),
            (Server::Python, 500),
            (Server::Httpd, 500),
            (Server::Gunicorn, 300),
            (Server::Java, 500),
            (Server::Php, 100),
        ],
        bar: 3.2,
        ..BASE
    },
    Case {
        name: "rare",
        about: "6 requests a second; told 2 s after the stop signal",
        servers: &[(Server::Nginx, 6), (Server::Node, 6), (Server::Python, 6)],
        lag: Duration::from_secs(2),
        options: "--grace 25s --drain {port} --drain-idle 1s --drain-delay 3s",
        bar: 3.6,
        ..BASE
    },
    Case {
        name: "uid",
        about: "as `late`, as uid 1000 with no capabilities and no-new-privileges",
        unprivileged: true,
        ..BASE
    },
    CADDY,
    Case {
        name: "caddy-brief",
        about: "the same; it closes a connection that was idle for 0.5 s, and checks every 0.2 s",
        idle: Duration::from_millis(500),
        interval: Duration::from_millis(200),
        bar: 1.2,
        ..CADDY
    },
    Case {
        name: "caddy-none",
        about: "the same; it keeps no connections",
        pool: false,
        bar: 1.2,
        ..CADDY
    },
    H2,
    Case {
        name: "h2-quick",
        about: "as `envoy`, over HTTP/2",
        servers: &[(Server::NodeHttp2, 1000)],
        balancer: Kind::Envoy,
        pool: true,
        rounds: 3,
        ..CHECKS
    },
    Case {
        name: "grpc",
        about: "as `h2`, unary calls of gRPC",
        servers: &[(Server::Grpc, 100)],
        ..H2
    },
    Case {
        name: "grpc-quick",
        about: "as `h2-quick`, unary calls of gRPC",
        servers: &[(Server::Grpc, 200)],
        balancer: Kind::Envoy,
        pool: true,
        rounds: 3,
        ..CHECKS
    },
    Case {
        name: "tls",
        about: "TLS to the server, a connection for each request; one in ten takes 5 s; every default",
        servers: &[(Server::NodeTls, 200), (Server::PythonTls, 100)],
        mix: Mix::Slow,
        pool: false,
        bar: 14.0,
        rounds: 3,
        ..DEFAULTS
    },
    Case {
        name: "tokens",
        about: "one answer in ten comes in parts, 3 s apart; every default",
        servers: &[(Server::Node, 300), (Server::Python, 300)],
        mix: Mix::Tokens,
        bar: 16.0,
        rounds: 3,
        ..DEFAULTS
    },
    UNIX,
    Case {
        name: "unix-quick",
        about: "the same with handlers of 5 to 35 ms",
        servers: &[(Server::GunicornSync, 500)],
        mix: Mix::Quick,
        ..UNIX
    },
];

const UNIX: Case = Case {
    name: "unix",
    about: "nginx before servers on Unix sockets; POST, which it does not repeat; one answer in ten is a stream of 1 s",
    servers: &[(Server::Fpm, 500), (Server::Uwsgi, 500), (Server::GunicornUnix, 500)],
    mix: Mix::Pieces,
    method: "POST",
    balancer: Kind::Nginx,
    notice: Notice::Files,
    lag: Duration::ZERO,
    pool: false,
    options: "--grace 25s --pre-stop rm:{socket} --drain unix:{socket} --drain-delay 300ms",
    rounds: 3,
    ..BASE
};

/// What the balancer finds out itself.
const CHECKS: Case = Case {
    name: "checks",
    about: "short handlers; the balancer asks /readyz every 0.5 s and nobody tells it anything",
    notice: Notice::Checks,
    lag: Duration::ZERO,
    pool: false,
    options: "--grace 25s --drain {port} --drain-idle 1s --drain-acks 1 --listen {ip}:{check}",
    bar: 1.2,
    ..BASE
};

/// A pool that is kept whatever happens.
const CADDY: Case = Case {
    name: "caddy",
    about: "as `checks`, with Caddy; each connection that it keeps has to be idle",
    servers: &[(Server::Node, 1000), (Server::Python, 500)],
    balancer: Kind::Caddy,
    pool: true,
    bar: 2.0,
    rounds: 3,
    ..CHECKS
};

/// Streams of one connection.
const H2: Case = Case {
    name: "h2",
    about: "as `envoy`, over HTTP/2, where slow and quick requests share connections; every default",
    servers: &[(Server::NodeHttp2, 500)],
    mix: Mix::Slow,
    balancer: Kind::Envoy,
    pool: true,
    options: "--grace 30s --drain {port} --drain-acks 1 --listen {ip}:{check}",
    bar: 20.0,
    rounds: 3,
    ..CHECKS
};

/// What it is told.
const DEFAULTS: Case = Case {
    name: "defaults",
    about: "as `late`, with every default of the drain at --grace 30s",
    options: "--grace 30s --drain {port}",
    bar: 9.5,
    ..BASE
};

impl Case {
    pub(crate) fn trial(&self, server: Server, rate: u32, init: Program) -> Trial {
        let setup = Setup {
            init,
            path: None,
            server,
            options: if init == Program::Graceinit { self.options } else { "" }.to_owned(),
            profile: true,
            unprivileged: self.unprivileged,
        };
        Trial {
            setup,
            balancer: self.balancer,
            notice: self.notice,
            lag: self.lag,
            pool: self.pool,
            idle: self.idle,
            interval: self.interval,
            grace: GRACE,
            mix: self.mix,
            method: self.method,
            rate,
            keep_alive: false,
            rounds: if init == Program::Graceinit { self.rounds } else { CONTROL },
            replaced: REPLICAS,
        }
    }
}
