//! Output that goes through a pipe: what reads it must outlive the app.

use super::shape::Proof::{File, Text};
use super::shape::{SHAPE, Shape};

const LAST: Shape = Shape { saved: &[File("saved"), Text("log", "last words")], ..SHAPE };

pub(super) const SHAPES: &[Shape] = &[
    Shape {
        id: "app_to_while_read",
        name: "bash: `app \\| while read`",
        files: &[(
            "entry",
            "#!/bin/bash\n./app.py talk=yes | while read -r line; do echo \"$line\" >>log; done\n",
        )],
        ..LAST
    },
    Shape {
        id: "app_to_tee",
        name: "bash: `app 2>&1 \\| tee log`",
        files: &[("entry", "#!/bin/bash\n./app.py talk=yes 2>&1 | tee log\n")],
        ..LAST
    },
    Shape {
        id: "app_to_awk",
        name: "sh: `app \\| awk`",
        files: &[("entry", "#!/bin/sh\n./app.py talk=yes | awk '{ print \"app:\", $0 }' >log\n")],
        ..LAST
    },
    Shape {
        id: "trap_and_a_pipeline",
        name: "bash: trap, `app \\| tee log`",
        files: &[("entry", "#!/bin/bash\ntrap 'exit 0' TERM\n./app.py talk=yes | tee log\n")],
        ..LAST
    },
    Shape {
        id: "exec_to_tee_and_a_trap",
        name: "bash: `exec > >(tee log)`, trap",
        files: &[(
            "entry",
            "#!/bin/bash\nexec > >(tee log) 2>&1\n\
             trap 'printf t >>asked; echo draining; sleep 0.5; echo last words; : >saved; exit 0' TERM\n\
             : >ready\nwhile :; do sleep 0.1; done\n",
        )],
        ..LAST
    },
    Shape {
        id: "exec_to_tee_and_exec",
        name: "bash: `exec > >(tee log); exec app`",
        files: &[("entry", "#!/bin/bash\nexec > >(tee log) 2>&1\nexec ./app.py talk=yes\n")],
        ..LAST
    },
    Shape {
        id: "exec_to_tee_and_ignored",
        name: "bash: `exec > >(tee log); trap '' TERM; app`",
        files: &[(
            "entry",
            "#!/bin/bash\nexec > >(tee log) 2>&1\ntrap '' TERM\n./app.py talk=yes\n:\n",
        )],
        ..LAST
    },
    Shape {
        id: "app_to_fifo",
        name: "sh: `tee log <fifo & exec app >fifo`",
        files: &[(
            "entry",
            "#!/bin/sh\nmkfifo fifo\ntee log <fifo &\nexec ./app.py talk=yes >fifo\n",
        )],
        ..LAST
    },
    Shape {
        id: "long_drain_to_tee",
        name: "bash: `exec > >(tee log); exec app`, which drains 5.8 of 7 s",
        files: &[(
            "entry",
            "#!/bin/bash\nexec > >(tee log) 2>&1\nexec ./app.py talk=yes drain=5.8\n",
        )],
        ..LAST
    },
];
