//! Readiness, the drain, and who is answered.

use super::{NO_COUNT, NO_PORT, NO_SIGNAL, NO_TIME, each_is_refused};
use crate::support::Outcome;

const NO_CONDITION: &str = "not a condition; write notify, fd:3, tcp:8080, http://127.0.0.1:8080/ready, \
    exec:CMD, signal:USR1, file:PATH or after:5s";

#[test]
fn a_bad_value_of_each_option() -> Outcome {
    each_is_refused(&[
        ("ready", "READY", "listening", NO_CONDITION),
        ("ready", "READY", "notify:1", NO_CONDITION),
        ("ready", "READY", "fd:", "the number is missing; write fd:3"),
        ("ready", "READY", "fd:2", "descriptors 0 to 2 are the app's stdio; write fd:3 or higher"),
        ("ready", "READY", "fd:1024", "not a descriptor; write a number from 3 to 1023"),
        ("ready", "READY", "fd:x", "not a descriptor; write a number from 3 to 1023"),
        ("ready", "READY", "tcp", "the port is missing; write tcp:8080"),
        (
            "ready",
            "READY",
            "tcp:db:5432",
            "not a port; write a number from 1 to 65535 of this host, as in tcp:8080",
        ),
        (
            "ready",
            "READY",
            "http://app.local/",
            "'app.local' is not a numeric address, and graceinit resolves no names; write \
             127.0.0.1, [::1] or localhost",
        ),
        (
            "ready",
            "READY",
            "https://127.0.0.1/",
            "graceinit has no TLS; write http://127.0.0.1:8080/ready",
        ),
        (
            "ready",
            "READY",
            "http:GET http://127.0.0.1/",
            "not an http:// address; write http://127.0.0.1:8080/ready",
        ),
        ("ready", "READY", "exec:", "the command is missing; write exec:pg_isready --quiet"),
        ("ready", "READY", "exec:'a", "a quote is not closed; close it"),
        ("ready", "READY", "exec:''", "an empty command; write a program and its arguments"),
        ("ready", "READY", "signal:", "the signal is missing; write signal:USR1"),
        ("ready", "READY", "signal:X", NO_SIGNAL),
        (
            "ready",
            "READY",
            "signal:CHLD",
            "CHLD cannot report readiness; name a signal that can be caught",
        ),
        ("ready", "READY", "file:", "the path is missing; write file:/run/app/ready"),
        ("ready", "READY", "after:soon", NO_TIME),
        ("ready", "READY", "after:0", "zero is not allowed; write at least 1ms"),
        (
            "health",
            "HEALTH",
            "exec:true",
            "not a check; write http://127.0.0.1:8080/health, tcp:8080, unix:/run/app.sock or \
             file:/run/app/healthy",
        ),
        (
            "health",
            "HEALTH",
            "https://[::1]/",
            "graceinit has no TLS; write http://127.0.0.1:8080/health",
        ),
        (
            "live",
            "LIVE",
            "unix:run",
            "a socket's path begins with '/'; write unix:/run/graceinit.sock",
        ),
        ("live", "LIVE", "file:", "the path is missing; write file:/run/app/healthy"),
        ("health-timeout", "HEALTH_TIMEOUT", "0", "zero is not allowed; write at least 1ms"),
        ("ready-timeout", "READY_TIMEOUT", "0", "zero is not allowed; write at least 1ms"),
        ("drain", "DRAIN", "http", NO_PORT),
        ("drain", "DRAIN", "0", NO_PORT),
        (
            "drain",
            "DRAIN",
            "unix:run",
            "a socket's path begins with '/'; write unix:/run/graceinit.sock",
        ),
        ("drain", "DRAIN", "+80", NO_PORT),
        ("drain", "DRAIN", "80,65536", &format!("'65536' is {NO_PORT}")),
        (
            "drain",
            "DRAIN",
            "80,auto",
            "'auto' is not allowed beside ports; write auto, or the ports",
        ),
        ("drain-delay", "DRAIN_DELAY", "x", NO_TIME),
        ("drain-acks", "DRAIN_ACKS", "0", "zero is not allowed; write at least 1"),
        ("drain-acks", "DRAIN_ACKS", "x", NO_COUNT),
        ("drain-idle", "DRAIN_IDLE", "x", NO_TIME),
        ("drain-max", "DRAIN_MAX", "x", NO_TIME),
        ("drain-quiet", "DRAIN_QUIET", "x", NO_TIME),
        ("drain-owed", "DRAIN_OWED", "0", "zero is not allowed; write at least 1ms"),
        (
            "drained",
            "DRAINED",
            "tcp:80",
            "not a condition; write exec:CMD, http://127.0.0.1:8080/idle or \
             metric:http://127.0.0.1:9090/metrics jobs_running <= 0",
        ),
        ("drained", "DRAINED", "exec:", "the command is missing; write exec:bin/is-idle"),
        ("drained", "DRAINED", "exec:'a", "a quote is not closed; close it"),
        (
            "drained",
            "DRAINED",
            "http://app/idle",
            "'app' is not a numeric address, and graceinit resolves no names; write 127.0.0.1, [::1] or \
             localhost",
        ),
        (
            "drained",
            "DRAINED",
            "metric:",
            "the address and the metric are missing; write metric:http://127.0.0.1:9090/metrics \
             jobs_running <= 0",
        ),
        (
            "drained",
            "DRAINED",
            "metric:http://127.0.0.1:1/metrics jobs == 0",
            "'<= NUMBER' is missing behind the name; write metric:http://127.0.0.1:9090/metrics \
             jobs_running <= 0",
        ),
        ("listen", "LISTEN", "localhost:9180", "names are not looked up; write 127.0.0.1:9180"),
        (
            "listen",
            "LISTEN",
            ":0",
            "port 0 is any free port, which clients cannot know; choose a port",
        ),
    ])
}
