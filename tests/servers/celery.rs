//! A Celery worker takes TERM for "finish the running tasks" - in its main process. Its pool's processes
//! have no handler for it: a TERM for the whole group kills the task that the main process waits for.

use std::fs::{self, File};

use super::apps::{Gate, How, PATIENCE, needs, said};
use crate::ensure_eq;
use crate::support::{Outcome, Run, Status, proc};

const CELERY: &str = "/usr/bin/celery";

/// The broker is a directory; the worker gives itself the task as soon as it can.
const APP: &str = "import os
from celery import Celery
from celery.signals import worker_ready
from celery.worker.request import Request

PLACE = os.environ['PLACE']
app = Celery('app', broker='filesystem://')
app.conf.broker_transport_options = {
    'data_folder_in': PLACE + '/queue',
    'data_folder_out': PLACE + '/queue',
}

@app.task
def slow():
    with open(PLACE + '/gate') as gate:
        gate.read()
    with open(PLACE + '/done', 'w') as done:
        done.write('done')

known = Request.on_accepted

def on_accepted(self, *args):
    known(self, *args)
    print('accepted', flush=True)

Request.on_accepted = on_accepted

@worker_ready.connect
def ready(**_):
    slow.delay()
";

/// A worker whose stop has begun while it runs a task.
fn stopping(how: How, gate: &Gate) -> Outcome<(Run, File)> {
    gate.place.file("app.py", APP, 0o644);
    fs::create_dir(gate.place.path("queue"))?;
    let run = how
        .launch()
        .env("PLACE", gate.place.text("."))
        // Debian's launcher runs the first python3 of the path, which must be Debian's.
        .env("PATH", "/usr/bin:/bin")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .cwd(gate.place.path("."))
        .command([CELERY, "-A", "app", "worker", "--pool", "prefork", "--concurrency", "2"])
        .app_arg("--without-mingle")
        .app_arg("--without-gossip")
        .app_arg("--without-heartbeat")
        .start()?;
    let held = proc::poll_within(PATIENCE, "the task", || gate.begun().ok())?;
    // Not before the main process knows who has the task: if that one is killed earlier, the task is given
    // to another (on_job_process_down in celery/concurrency/asynpool.py).
    said(&run, "accepted")?;
    run.signal("TERM")?;
    said(&run, "worker: Warm shutdown")?;
    Ok((run, held))
}

#[test]
fn with_the_profile_a_task_finishes() -> Outcome {
    if !needs(&[CELERY]) {
        return Ok(());
    }
    let gate = Gate::new();
    let (mut run, held) = stopping(How::Profile("celery"), &gate)?;
    drop(held);
    ensure_eq!(run.wait()?, Status::Code(0), "the worker's end");
    ensure_eq!(gate.place.expect("done")?, "done", "the task's result");
    Ok(())
}

/// That is why the profile tells the main process alone, which otherwise goes on waiting for a dead task.
#[test]
fn a_term_for_the_group_kills_the_task() -> Outcome {
    if !needs(&[CELERY]) {
        return Ok(());
    }
    let gate = Gate::new();
    let (run, held) = stopping(How::Plain, &gate)?;
    said(&run, "exited with 'signal 15 (SIGTERM)'")?;
    // The task's process is dead before the gate opens: it cannot have finished.
    gate.deserted()?;
    drop(held);
    ensure_eq!(gate.place.read("done"), None, "the task's result");
    Ok(())
}
