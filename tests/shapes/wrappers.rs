//! Programs that run another, and supervisors.

use super::shape::Proof::{File, Text};
use super::shape::{SHAPE, Shape, Sign};

/// As in a container: the init is root without CAP_SYS_PTRACE, and the processes are another user's, so that most of
/// their /proc cannot be read.
const UNREADABLE: Shape = Shape {
    needs: &["/usr/sbin/gosu", "/usr/bin/setpriv", PYTHON],
    command: &["gosu", "nobody", "./entry"],
    wrap: &["setpriv", "--bounding-set", "-sys_ptrace"],
    ..SHAPE
};

const PYTHON: &str = "/usr/bin/python3";

pub(super) const SHAPES: &[Shape] = &[
    Shape {
        id: "su",
        name: "su",
        needs: &["/usr/bin/su", PYTHON],
        command: &["su", "-s", "/bin/sh", "nobody", "-c", "./app.py"],
        ..SHAPE
    },
    Shape {
        id: "sudo",
        name: "sudo",
        needs: &["/usr/bin/sudo", PYTHON],
        command: &["sudo", "-u", "nobody", "./app.py"],
        ..SHAPE
    },
    Shape {
        id: "gosu",
        name: "gosu",
        needs: &["/usr/sbin/gosu", PYTHON],
        command: &["gosu", "nobody", "./app.py"],
        ..SHAPE
    },
    Shape {
        id: "trap_and_setpriv",
        name: "bash: trap, `setpriv` to another user in the foreground",
        needs: &["/usr/bin/setpriv", PYTHON],
        files: &[(
            "entry",
            "#!/bin/bash\ntrap 'exit 0' TERM\n\
             setpriv --reuid 65534 --regid 65534 --clear-groups ./app.py\n",
        )],
        ..SHAPE
    },
    Shape {
        id: "unreadable_trap_and_foreground_app",
        name: "gosu, bash: trap, app in the foreground; no CAP_SYS_PTRACE",
        files: &[("entry", "#!/bin/bash\ntrap 'exit 0' TERM\n./app.py\n")],
        ..UNREADABLE
    },
    Shape {
        id: "unreadable_app_to_while_read",
        name: "gosu, bash: `app \\| while read`; no CAP_SYS_PTRACE",
        files: &[(
            "entry",
            "#!/bin/bash\n./app.py talk=yes | while read -r line; do echo \"$line\" >>log; done\n",
        )],
        saved: &[File("saved"), Text("log", "last words")],
        ..UNREADABLE
    },
    Shape {
        id: "unreadable_exec_to_tee_and_exec",
        name: "gosu, bash: `exec > >(tee log); exec app`; no CAP_SYS_PTRACE",
        files: &[("entry", "#!/bin/bash\nexec > >(tee log) 2>&1\nexec ./app.py talk=yes\n")],
        saved: &[File("saved"), Text("log", "last words")],
        ..UNREADABLE
    },
    Shape {
        id: "unreadable_exec_to_tee_and_ignored",
        name: "gosu, bash: `exec > >(tee log); trap '' TERM; app`; no CAP_SYS_PTRACE",
        files: &[(
            "entry",
            "#!/bin/bash\nexec > >(tee log) 2>&1\ntrap '' TERM\n./app.py talk=yes\n:\n",
        )],
        saved: &[File("saved"), Text("log", "last words")],
        ..UNREADABLE
    },
    Shape {
        id: "unreadable_trap_forwards_one_wait",
        name: "gosu, bash: trap that forwards, one `wait`; no CAP_SYS_PTRACE",
        files: &[(
            "entry",
            "#!/bin/bash\n./app.py second=dies & p=$!\ntrap 'kill -TERM $p' TERM\n: >set\nwait $p\n",
        )],
        ready: &[Sign::File("ready"), Sign::File("set")],
        ..UNREADABLE
    },
    Shape {
        id: "npm",
        name: "npm start",
        needs: &["/usr/bin/npm", "/usr/bin/node"],
        files: &[(
            "package.json",
            r#"{"name": "app", "version": "1.0.0", "scripts": {"start": "node app.js"}}"#,
        )],
        command: &["npm", "start", "--no-update-notifier"],
        ..SHAPE
    },
    Shape {
        id: "uv",
        name: "uv run",
        needs: &["@TARGET@/python/bin/uv", PYTHON],
        command: &[
            "@TARGET@/python/bin/uv",
            "run",
            "--no-project",
            "--offline",
            "--python",
            PYTHON,
            "app.py",
            "second=dies",
        ],
        ..SHAPE
    },
    Shape {
        id: "xvfb_run",
        name: "xvfb-run",
        needs: &["/usr/bin/xvfb-run", "/usr/bin/xauth", PYTHON],
        files: &[("entry", XVFB_RUN)],
        ..SHAPE
    },
    Shape {
        id: "timeout",
        name: "`timeout 60 app`",
        needs: &["/usr/bin/timeout", PYTHON],
        command: &["timeout", "60", "./app.py", "senders=yes", "second=dies"],
        ..SHAPE
    },
    Shape {
        id: "timeout_and_a_job",
        name: "`timeout 60 sh -c 'app & wait'`",
        needs: &["/usr/bin/timeout", PYTHON],
        command: &["timeout", "60", "sh", "-c", "./app.py senders=yes second=dies & wait"],
        ..SHAPE
    },
    Shape {
        id: "flock",
        name: "`flock lock app`",
        needs: &["/usr/bin/flock", PYTHON],
        command: &["flock", "@D@/lock", "./app.py"],
        ..SHAPE
    },
    Shape {
        id: "unshare_fork",
        name: "`unshare --fork app`",
        command: &["unshare", "--fork", "--mount", "./app.py"],
        ..SHAPE
    },
    Shape {
        id: "strace",
        name: "`strace -f app`",
        needs: &["/usr/bin/strace", PYTHON],
        command: &["strace", "-f", "-o", "strace.log", "./app.py"],
        ..SHAPE
    },
    Shape {
        id: "supervisord",
        name: "supervisord",
        needs: &["/usr/bin/supervisord", PYTHON],
        files: &[(
            "supervisord.conf",
            "[supervisord]\nnodaemon=true\nuser=root\nlogfile=@D@/supervisord.log\n\
             pidfile=@D@/supervisord.pid\nchildlogdir=@D@\n[program:app]\ncommand=@D@/app.py\n",
        )],
        command: &["supervisord", "-c", "@D@/supervisord.conf"],
        ..SHAPE
    },
    Shape {
        id: "pm2_runtime",
        name: "pm2-runtime",
        needs: &["@TARGET@/node/node_modules/.bin/pm2-runtime", "/usr/bin/node"],
        command: &["@TARGET@/node/node_modules/.bin/pm2-runtime", "start", "app.js"],
        ready: &[Sign::File("ready"), Sign::Line("online")],
        ..SHAPE
    },
    Shape {
        id: "pm2_runtime_cluster",
        name: "pm2-runtime, two processes",
        needs: &["@TARGET@/node/node_modules/.bin/pm2-runtime", "/usr/bin/node"],
        command: &[
            "@TARGET@/node/node_modules/.bin/pm2-runtime",
            "start",
            "app.js",
            "-i",
            "2",
            "--",
            "numbered",
        ],
        ready: &[Sign::File("ready0"), Sign::File("ready1")],
        saved: &[File("saved0"), File("saved1")],
        ..SHAPE
    },
];

/// An X server that is killed leaves its files in /tmp: here it has one of its own, with the shape's directory in it.
const XVFB_RUN: &str = "#!/bin/sh
mkdir tmp
mount -t tmpfs none tmp
case $PWD in /tmp/*)
    mkdir -p tmp/${PWD#/tmp/}
    mount --bind . tmp/${PWD#/tmp/}
esac
mount --rbind tmp /tmp
cd $PWD
exec xvfb-run -n @PORT@ ./app.py
";
