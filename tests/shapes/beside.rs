//! Programs beside the app, and parents that keep the signal to themselves.

use super::shape::Proof::{Answer, File, Gone, Text};
use super::shape::{Request, SHAPE, Shape, Sign, Step};

pub(super) const SHAPES: &[Shape] = &[
    Shape {
        id: "tunnel_beside_the_app",
        name: "a tunnel beside `exec app`, which drains 5.8 of 7 s and then needs it (script)",
        files: &[(
            "entry",
            "#!/bin/sh\n./tunnel.py &\nexec ./app.py drain=5.8 through=tunnel.sock\n",
        )],
        ready: &[Sign::File("ready"), Sign::File("tunnel")],
        saved: &[File("saved"), Text("log", "saved")],
        ..SHAPE
    },
    Shape {
        id: "tail_before_the_app",
        name: "sh: `tail -F log & exec app`",
        files: &[("entry", "#!/bin/sh\n: >log\ntail -F log &\nexec ./app.py\n")],
        ready: &[Sign::File("ready"), Sign::Runs("tail")],
        ..SHAPE
    },
    Shape {
        id: "nginx_and_a_reload_loop",
        name: "nginx stopped with QUIT, a reload loop in the background, a download under way",
        needs: &["/usr/sbin/nginx"],
        files: &[
            (
                "entry",
                "#!/bin/sh\n{ seq 7000; echo whole; } >body\nwhile sleep 21600; do nginx -c @D@/nginx.conf -s reload; done &\nexec nginx -c @D@/nginx.conf\n",
            ),
            ("nginx.conf", super::servers::NGINX_CONF),
        ],
        ready: &[Sign::File("http.sock"), Sign::Runs("sleep")],
        request: Some(Request::Unix("http.sock")),
        send: &[Step::Send("QUIT")],
        saved: &[Answer, Gone("nginx.pid")],
        ..SHAPE
    },
    Shape {
        id: "int_and_then_term",
        name: "an app that ignores INT and saves on TERM: INT, 1 s, TERM",
        command: &["./app.py", "ignore=INT"],
        send: &[Step::Send("INT"), Step::Until(None, 1000), Step::Send("TERM")],
        ..SHAPE
    },
    Shape {
        id: "python_that_sets_a_flag",
        name: "python that only sets a flag, above the app",
        command: &["./parent.py", "flag", "./app.py"],
        ..SHAPE
    },
    Shape {
        id: "perl_system",
        name: "perl that only sets a flag, `system(app)`",
        needs: &["/usr/bin/perl", "/usr/bin/python3"],
        command: &["perl", "-e", "$SIG{TERM} = sub { $stop = 1 }; system('./app.py')"],
        ..SHAPE
    },
    Shape {
        id: "supervisor_with_a_long_drain",
        name: "a supervisor that forwards, the app drains 5.8 of 7 s, a second TERM kills it (script)",
        command: &["./parent.py", "forward", "./app.py", "drain=5.8", "second=dies"],
        ..SHAPE
    },
];
