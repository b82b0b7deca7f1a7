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
    pub(crate) balancer: Kind,
    pub(crate) notice: Notice,
    pub(crate) lag: Duration,
    /// Whether the balancer keeps its connections to the servers. Where they idle they are waited for
    /// (`--drain-idle`).
    pub(crate) pool: bool,
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

pub(crate) const CASES: [Case; 13] = [
    Case {
        name: "late",
        about: "short handlers; the balancer is told 1 s after the stop signal",
        servers: FAST,
        mix: Mix::Short,
        balancer: Kind::Haproxy,
        notice: Notice::Told,
        lag: Duration::from_secs(1),
        pool: true,
        options: "--grace 25s --drain {port} --drain-idle 1s",
        unprivileged: false,
        bar: 2.4,
        rounds: 5,
    },
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
        balancer: Kind::Haproxy,
        notice: Notice::Told,
        lag: Duration::from_secs(1),
        pool: true,
        options: "--grace 25s --drain {port} --drain-idle 1s",
        unprivileged: false,
        bar: 11.0,
        rounds: 2,
    },
    Case {
        name: "rare",
        about: "6 requests a second; told 2 s after the stop signal",
        servers: &[(Server::Nginx, 6), (Server::Node, 6), (Server::Python, 6)],
        mix: Mix::Short,
        balancer: Kind::Haproxy,
        notice: Notice::Told,
        lag: Duration::from_secs(2),
        pool: true,
        options: "--grace 25s --drain {port} --drain-idle 1s --drain-delay 3s",
        unprivileged: false,
        bar: 3.6,
        rounds: 5,
    },
    Case {
        name: "uid",
        about: "as `late`, as uid 1000 with no capabilities and no-new-privileges",
        servers: FAST,
        mix: Mix::Short,
        balancer: Kind::Haproxy,
        notice: Notice::Told,
        lag: Duration::from_secs(1),
        pool: true,
        options: "--grace 25s --drain {port} --drain-idle 1s",
        unprivileged: true,
        bar: 2.4,
        rounds: 5,
    },
    Case {
        name: "caddy",
        about: "as `checks`, with Caddy; each connection that it keeps has to be idle",
        servers: &[(Server::Node, 1000), (Server::Python, 500)],
        balancer: Kind::Caddy,
        pool: true,
        bar: 2.0,
        ..CHECKS
    },
    H2,
    Case {
        name: "grpc",
        about: "as `h2`, unary calls of gRPC; only in the tests",
        servers: &[],
        ..H2
    },
    Case {
        name: "tls",
        about: "TLS to the server, a connection for each request; one in ten takes 5 s; every default",
        servers: &[(Server::NodeTls, 200), (Server::PythonTls, 100)],
        mix: Mix::Slow,
        pool: false,
        bar: 14.0,
        rounds: 2,
        ..DEFAULTS
    },
    Case {
        name: "tokens",
        about: "one answer in ten comes in parts, 3 s apart; every default",
        servers: &[(Server::Node, 300), (Server::Python, 300)],
        mix: Mix::Tokens,
        bar: 16.0,
        rounds: 2,
        ..DEFAULTS
    },
    Case {
        name: "unix",
        about: "nginx before servers on Unix sockets; one answer in ten is a stream of 1 s",
        servers: &[(Server::Fpm, 100), (Server::Uwsgi, 100), (Server::GunicornUnix, 200)],
        mix: Mix::Pieces,
        balancer: Kind::Nginx,
        notice: Notice::Files,
        lag: Duration::ZERO,
        pool: false,
        options: "--grace 25s --pre-stop rm:{socket} --drain unix:{socket} --drain-delay 300ms",
        unprivileged: false,
        bar: 2.4,
        rounds: 3,
    },
];

/// What the balancer finds out itself.
const CHECKS: Case = Case {
    name: "checks",
    about: "short handlers; the balancer asks /readyz every 0.5 s and nobody tells it anything",
    servers: FAST,
    mix: Mix::Short,
    balancer: Kind::Haproxy,
    notice: Notice::Checks,
    lag: Duration::ZERO,
    pool: false,
    options: "--grace 25s --drain {port} --drain-idle 1s --drain-acks 1 --listen {ip}:{check}",
    unprivileged: false,
    bar: 1.2,
    rounds: 5,
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
    rounds: 2,
    ..CHECKS
};

/// What it is told.
const DEFAULTS: Case = Case {
    name: "defaults",
    about: "as `late`, with every default of the drain at --grace 30s",
    servers: FAST,
    mix: Mix::Short,
    balancer: Kind::Haproxy,
    notice: Notice::Told,
    lag: Duration::from_secs(1),
    pool: true,
    options: "--grace 30s --drain {port}",
    unprivileged: false,
    bar: 9.5,
    rounds: 5,
};

impl Case {
    pub(crate) fn trial(&self, server: Server, rate: u32, init: Program) -> Trial {
        let setup = Setup {
            init,
            path: None,
            server,
            options: if init == Program::Graceinit { self.options } else { "" }.to_owned(),
            unprivileged: self.unprivileged,
        };
        Trial {
            setup,
            balancer: self.balancer,
            notice: self.notice,
            lag: self.lag,
            pool: self.pool,
            grace: GRACE,
            mix: self.mix,
            rate,
            keep_alive: false,
            rounds: if init == Program::Graceinit { self.rounds } else { CONTROL },
            replaced: REPLICAS,
        }
    }
}
