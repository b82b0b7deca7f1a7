//! A shell that does not exec and dies of TERM, or a helper that has gone its own way: what they leave.

use super::shape::Proof::{Answer, File, Line};
use super::shape::{Request, SHAPE, Shape, Sign, Step};

const GUNICORN: &str = "/usr/bin/gunicorn";
const CELERY: &str = "/usr/bin/celery";

const TASK: Shape = Shape { needs: &[CELERY], asked: Some("shutdown (MainProcess)"), ..SHAPE };

pub(super) const SHAPES: &[Shape] = &[
    Shape {
        id: "sh_c_without_exec",
        name: "`sh -c 'app; true'`",
        command: &["sh", "-c", "./app.py; true"],
        ..SHAPE
    },
    Shape {
        id: "wait_n",
        name: "bash: two apps in the background, `wait -n`",
        files: &[(
            "entry",
            "#!/bin/bash\n./app.py name=-a & ./app.py name=-b &\n: >set\nwait -n\n",
        )],
        ready: &[Sign::File("ready-a"), Sign::File("ready-b"), Sign::File("set")],
        saved: &[File("saved-a"), File("saved-b")],
        ..SHAPE
    },
    Shape {
        id: "background_app_and_tail",
        name: "bash: app in the background, `tail -F log`",
        files: &[("entry", "#!/bin/bash\n: >log\n./app.py talk=yes >>log & tail -F log\n")],
        ready: &[Sign::File("ready"), Sign::Runs("tail")],
        ..SHAPE
    },
    Shape {
        id: "daemonised_workers",
        name: "daemonised workers, `exec tail -f /dev/null`",
        files: &[(
            "entry",
            "#!/bin/sh\nsetsid --fork ./app.py name=-a\nsetsid --fork ./app.py name=-b\n\
             exec tail -f /dev/null\n",
        )],
        ready: &[Sign::File("ready-a"), Sign::File("ready-b"), Sign::Runs("tail")],
        saved: &[File("saved-a"), File("saved-b")],
        ..SHAPE
    },
    Shape {
        id: "int_and_a_leftover",
        name: "an app that saves on INT beside `exec sleep infinity`, which ends at once: INT",
        files: &[(
            "entry",
            "#!/bin/sh\nsetsid --fork ./app.py catch=INT second=dies\nexec sleep infinity\n",
        )],
        ready: &[Sign::File("ready"), Sign::Runs("sleep")],
        send: &[Step::Send("INT")],
        ..SHAPE
    },
    Shape {
        id: "supervisor_in_its_own_session",
        name: "a supervisor that forwards, in a session of its own (script)",
        files: &[(
            "entry",
            "#!/bin/sh\nsetsid --fork ./parent.py forward ./app.py\nexec tail -f /dev/null\n",
        )],
        ready: &[Sign::File("ready"), Sign::Runs("tail")],
        ..SHAPE
    },
    Shape {
        id: "pool_behind_sh",
        name: "sh without exec, a python pool",
        command: &["sh", "-c", "./pool.py; true"],
        ..SHAPE
    },
    Shape {
        id: "celery_behind_sh",
        name: "sh without exec, celery with a task of 1 s",
        files: &[("entry", "#!/bin/sh\ncelery -A tasks worker -c 2\necho ended\n")],
        ..TASK
    },
    Shape {
        id: "celery_detached",
        name: "`celery --detach`, `exec tail -F log`",
        files: &[(
            "entry",
            "#!/bin/sh\n: >celery.log\n\
             celery -A tasks worker -c 2 --detach --pidfile=@D@/celery.pid --logfile=@D@/celery.log -l INFO\n\
             exec tail -F celery.log\n",
        )],
        asked: None,
        ..TASK
    },
    Shape {
        id: "gunicorn_behind_sh",
        name: "sh without exec, gunicorn, a request under way",
        needs: &[GUNICORN],
        files: &[(
            "entry",
            "#!/bin/sh\ngunicorn --worker-tmp-dir . -b unix:http.sock web:app\necho ended\n",
        )],
        ready: &[Sign::File("working")],
        request: Some(Request::Unix("http.sock")),
        saved: &[Answer, Line("Shutting down: Master")],
        asked: Some("Handling signal: term"),
        ..SHAPE
    },
    Shape {
        id: "runsvdir",
        name: "runsvdir with a service",
        needs: &["/usr/bin/runsvdir", "/usr/bin/python3"],
        files: &[("services/app/run", "#!/bin/sh\nexec @D@/app.py\n")],
        command: &["runsvdir", "@D@/services"],
        ..SHAPE
    },
];
