//! Shells with a trap, or that ignore the signal. A trap that forwards does so 0.1 s later: two signals that come
//! together are one.

use super::shape::Proof::{Answer, File, Gone, Line, Text};
use super::shape::{Request, SHAPE, Shape, Sign, Step};

const NODE: &str = "/usr/bin/node";
const JAVA: &str = "/usr/bin/java";
const NGINX: &str = "/usr/sbin/nginx";
const GUNICORN: &str = "/usr/bin/gunicorn";
const PYTHON: &str = "/usr/bin/python3";

pub(super) const SHAPES: &[Shape] = &[
    Shape {
        id: "trap_and_foreground_app",
        name: "bash: trap, app in the foreground",
        files: &[("entry", "#!/bin/bash\ntrap 'exit 0' TERM\n./app.py\n")],
        ..SHAPE
    },
    Shape {
        id: "busybox_trap_and_foreground_app",
        name: "busybox sh: trap, app in the foreground",
        needs: &["/bin/busybox", PYTHON],
        files: &[("entry", "#!/bin/busybox sh\ntrap 'exit 0' TERM\n./app.py\n")],
        ..SHAPE
    },
    Shape {
        id: "trap_in_nested_shells",
        name: "bash in bash, a trap in each, app in the foreground",
        files: &[
            ("entry", "#!/bin/bash\ntrap 'exit 0' TERM\n./inner\n"),
            ("inner", "#!/bin/bash\ntrap 'exit 0' TERM\n./app.py\n"),
        ],
        ..SHAPE
    },
    Shape {
        id: "trap_and_app_that_ignores_int",
        name: "bash: trap, an app in the foreground that ignores INT: INT, 1 s, TERM",
        files: &[("entry", "#!/bin/bash\ntrap 'exit 0' INT TERM\n./app.py ignore=INT\n")],
        send: &[Step::Send("INT"), Step::Until(None, 1000), Step::Send("TERM")],
        ..SHAPE
    },
    Shape {
        id: "trap_and_here_document",
        name: "bash: trap, `app <<END` in the foreground",
        files: &[("entry", "#!/bin/bash\ntrap 'exit 0' TERM\n./app.py <<END\nsettings\nEND\n:\n")],
        ..SHAPE
    },
    Shape {
        id: "trap_and_tini",
        name: "bash: trap, `tini -s -- app` in the foreground",
        needs: &["/usr/bin/tini", PYTHON],
        files: &[(
            "entry",
            "#!/bin/bash\ntrap 'exit 0' TERM\ntini -s -- ./app.py second=dies\n:\n",
        )],
        ..SHAPE
    },
    Shape {
        id: "trap_and_app_behind_a_pipe",
        name: "bash: trap, `tail -f /dev/null \\| app`",
        files: &[("entry", "#!/bin/bash\ntrap 'exit 0' TERM\ntail -f /dev/null | ./app.py\n")],
        ready: &[Sign::File("ready"), Sign::Runs("tail")],
        ..SHAPE
    },
    Shape {
        id: "trap_and_flock",
        name: "bash: trap, `flock lock app` in the foreground",
        needs: &["/usr/bin/flock", PYTHON],
        files: &[("entry", "#!/bin/bash\ntrap 'exit 0' TERM\nflock lock ./app.py\n")],
        ..SHAPE
    },
    Shape {
        id: "trap_and_timeout",
        name: "bash: trap, `timeout 60 app` in the foreground",
        needs: &["/usr/bin/timeout", PYTHON],
        files: &[(
            "entry",
            "#!/bin/bash\ntrap 'exit 0' TERM\ntimeout 60 ./app.py senders=yes second=dies\n",
        )],
        ..SHAPE
    },
    Shape {
        id: "trap_and_reader_with_a_handler",
        name: "bash: trap, `app \\| reader` with a handler in each",
        files: &[
            ("entry", "#!/bin/bash\ntrap 'exit 0' TERM\n./app.py talk=yes | ./reader\n"),
            ("reader", READER),
        ],
        saved: &[File("saved"), Text("log", "last words")],
        ..SHAPE
    },
    Shape {
        id: "trap_and_tail",
        name: "bash: `trap cleanup TERM; tail -f /dev/null`",
        files: &[(
            "entry",
            "#!/bin/bash\ntrap 'printf t >>asked; : >saved; exit 0' TERM\ntail -f /dev/null\n",
        )],
        ready: &[Sign::Runs("tail")],
        ..SHAPE
    },
    Shape {
        id: "trap_and_sleep",
        name: "sh: `trap cleanup TERM; sleep infinity`",
        files: &[(
            "entry",
            "#!/bin/sh\ntrap 'printf t >>asked; : >saved; exit 0' TERM\nsleep infinity\n",
        )],
        ready: &[Sign::Runs("sleep")],
        ..SHAPE
    },
    Shape {
        id: "trap_forwards_one_wait",
        name: "bash: trap that forwards, one `wait`; a second TERM kills the app",
        files: &[(
            "entry",
            "#!/bin/bash\n./app.py second=dies & p=$!\ntrap 'sleep 0.1; kill -TERM $p; sleep 0.1' TERM\n: >set\nwait $p\n",
        )],
        ready: &[Sign::File("ready"), Sign::File("set")],
        ..SHAPE
    },
    Shape {
        id: "trap_forwards_two_waits",
        name: "bash: trap that forwards, two `wait`s; a second TERM kills the app",
        files: &[(
            "entry",
            "#!/bin/bash\n./app.py second=dies & p=$!\ntrap 'sleep 0.1; kill -TERM $p' TERM\n: >set\nwait $p\nwait $p\n",
        )],
        ready: &[Sign::File("ready"), Sign::File("set")],
        ..SHAPE
    },
    Shape {
        id: "trap_forwards_late",
        name: "bash: trap that forwards after 0.2 s, two `wait`s",
        files: &[(
            "entry",
            "#!/bin/bash\n./app.py & p=$!\ntrap 'sleep 0.2; kill -TERM $p' TERM\n: >set\nwait $p\nwait $p\n",
        )],
        ready: &[Sign::File("ready"), Sign::File("set")],
        ..SHAPE
    },
    Shape {
        id: "wait_n_trap_forwards_to_all",
        name: "bash: two apps, `wait -n`, trap that forwards to both",
        files: &[(
            "entry",
            "#!/bin/bash\n./app.py name=-a second=dies & ./app.py name=-b second=dies &\n\
             trap 'sleep 0.1; kill $(jobs -p); wait; exit 0' TERM\n: >set\nwait -n\n",
        )],
        ready: &[Sign::File("ready-a"), Sign::File("ready-b"), Sign::File("set")],
        saved: &[File("saved-a"), File("saved-b")],
        ..SHAPE
    },
    Shape {
        id: "trap_waits_for_its_job",
        name: "bash: trap that tells its job by a file and waits for it",
        files: &[
            (
                "entry",
                "#!/bin/bash\n./job & trap 'printf t >>asked; : >stop; wait; exit 0' TERM\n: >set\nwait\n",
            ),
            (
                "job",
                "#!/bin/bash\n: >ready\nwhile ! [ -e stop ]; do sleep 0.1; done\nsleep 1\n: >saved\n",
            ),
        ],
        ready: &[Sign::File("ready"), Sign::File("set")],
        ..SHAPE
    },
    Shape {
        id: "trap_deregisters",
        name: "bash: trap that works for 2 s (deregisters)",
        files: &[(
            "entry",
            "#!/bin/bash\ntrap 'printf t >>asked; sleep 2; : >saved; exit 0' TERM\n: >set\n\
             while :; do sleep 0.2 & wait $!; done\n",
        )],
        ready: &[Sign::File("set")],
        ..SHAPE
    },
    Shape {
        id: "trap_and_batch_job",
        name: "bash: trap, a batch job of 3 s in the foreground",
        files: &[("entry", "#!/bin/bash\ntrap 'exit 0' TERM\n./app.py catch= work=3\n")],
        ..SHAPE
    },
    Shape {
        id: "trap_and_pool",
        name: "bash: trap, a python pool in the foreground",
        files: &[("entry", "#!/bin/bash\ntrap 'exit 0' TERM\n./pool.py\n")],
        ..SHAPE
    },
    Shape {
        id: "trap_and_node",
        name: "bash: trap, node in the foreground",
        needs: &[NODE],
        files: &[("entry", "#!/bin/bash\ntrap 'exit 0' TERM\nnode app.js\n")],
        ..SHAPE
    },
    Shape {
        id: "trap_and_java",
        name: "bash: trap, java in the foreground",
        needs: &[JAVA],
        files: &[("entry", "#!/bin/bash\ntrap 'exit 0' TERM\njava App.java\n")],
        ..SHAPE
    },
    Shape {
        id: "trap_and_nginx",
        name: "bash: trap, nginx in the foreground",
        needs: &[NGINX],
        files: &[
            ("entry", "#!/bin/bash\ntrap 'exit 0' TERM\nnginx -c @D@/nginx.conf\n"),
            ("nginx.conf", super::servers::NGINX_CONF),
        ],
        ready: &[Sign::File("http.sock"), Sign::File("nginx.pid")],
        saved: &[Gone("nginx.pid"), Gone("http.sock")],
        ..SHAPE
    },
    Shape {
        id: "trap_and_gunicorn",
        name: "bash: trap, gunicorn in the foreground, a request under way",
        needs: &[GUNICORN],
        files: &[(
            "entry",
            "#!/bin/bash\ntrap 'exit 0' TERM\ngunicorn --worker-tmp-dir . -b unix:http.sock web:app\n",
        )],
        ready: &[Sign::File("working")],
        request: Some(Request::Unix("http.sock")),
        saved: &[Answer, Line("Shutting down: Master")],
        asked: Some("Handling signal: term"),
        ..SHAPE
    },
    Shape {
        id: "ignored_and_a_loop",
        name: "bash: `trap '' TERM`, a loop that starts the app",
        files: &[("entry", "#!/bin/bash\ntrap '' TERM\nuntil ./app.py; do :; done\n")],
        ..SHAPE
    },
    Shape {
        id: "mysqld_safe",
        name: "mysqld_safe",
        needs: &["/usr/bin/mysqld_safe", "/usr/sbin/mariadbd", "/usr/bin/mariadb-install-db"],
        files: &[("entry", MYSQLD_SAFE)],
        ready: &[Sign::Text("my.err", "ready for connections")],
        saved: &[Text("my.err", "Shutdown complete")],
        ..SHAPE
    },
];

/// Its handler ends it at once.
const READER: &str = "#!/usr/bin/python3 -IS
import os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: os._exit(1))
for line in sys.stdin:
    with open('log', 'a') as log:
        log.write(line)
";

/// The installation is no part of the shape, but the work of a first start.
const MYSQLD_SAFE: &str = "#!/bin/sh
export TMPDIR=@D@
mariadb-install-db --no-defaults --user=root --auth-root-authentication-method=normal \\
    --skip-test-db --skip-name-resolve --datadir=@D@/data >install.log 2>&1
exec mysqld_safe --no-defaults --user=root --datadir=@D@/data --skip-networking --socket=@D@/my.sock \\
    --pid-file=@D@/my.pid --log-error=@D@/my.err
";
