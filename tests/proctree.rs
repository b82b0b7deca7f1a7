//! What a reading of the process tree shows of real processes.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use graceinit::sys::proctree;
use graceinit::types::process::{Process, Tree};
use graceinit::types::{Pid, Signal};
use nix::sys::signal::{Signal as Kill, killpg};

use crate::support::files::Place;
use crate::support::{Fault, Outcome, proc};
use crate::{ensure, ensure_eq};

/// A script in a process group of its own, which ends with the test.
struct Script(Child);

impl Script {
    fn start(text: &str) -> Outcome<Script> {
        // As runc opens it: for reading and writing.
        let null = File::options().read(true).write(true).open("/dev/null");
        let null = null.map_err(|error| Fault::new(format!("/dev/null: {error}")))?;
        let mut bash = Command::new("/bin/bash");
        bash.args(["-c", text]).stdin(null).stdout(Stdio::null()).process_group(0);
        bash.spawn().map(Script).map_err(|error| Fault::new(format!("bash: {error}")))
    }

    fn pid(&self) -> Pid {
        Pid(self.0.id() as i32)
    }

    /// The tree, once it shows the script and so many children of it by their names.
    fn tree(&self, children: &[&str]) -> Outcome<(Tree, Vec<Process>)> {
        proc::poll("the script's children", || {
            let (tree, _) = proctree::read(&[], Signal::TERM)?;
            let find = |name: &&str| {
                let own = |p: &&Process| p.parent == self.pid() && *p.program == **name;
                tree.processes.iter().find(own).cloned()
            };
            let found: Option<Vec<Process>> = children.iter().map(find).collect();
            found.map(|found| (tree, found))
        })
    }

    fn shell(&self, tree: &Tree) -> Outcome<Process> {
        let found = tree.processes.iter().find(|process| process.pid == self.pid());
        found.cloned().ok_or_else(|| Fault::new("the script is not in the tree"))
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = killpg(nix::unistd::Pid::from_raw(self.0.id() as i32), Kill::SIGKILL);
        let _ = self.0.wait();
    }
}

#[test]
fn jobs_and_foreground_children_differ_in_what_they_ignore_and_read() -> Outcome {
    let script = Script::start("trap : TERM; tail -f /dev/null & sleep 1000; :")?;
    let (tree, found) = script.tree(&["tail", "sleep"])?;
    let [tail, sleep] = &found[..] else { return Err(Fault::new("two children")) };
    let shell = script.shell(&tree)?;
    let handling = |process: &Process| process.handling.unwrap_or_default();
    ensure!(handling(&shell).caught.contains(Signal::TERM), "the trap");
    ensure!(handling(tail).ignored.contains(Signal::INT), "the job ignores INT");
    ensure!(!handling(sleep).ignored.contains(Signal::INT), "the other does not");
    let stdin = |process: &Process| process.files.clone().ok().and_then(|files| files.stdin);
    ensure_eq!(stdin(sleep), stdin(&shell), "the foreground child's input");
    ensure!(stdin(tail) != stdin(&shell), "the job has opened its own: {:?}", stdin(tail));
    ensure_eq!((tail.group, &*shell.program), (shell.group, "bash"), "group and program");
    ensure!(sleep.started <= tree.ticks, "{} after {}", sleep.started, tree.ticks);
    ensure!(tail.activity.is_some() && sleep.activity.is_some(), "below a trap it is counted");
    // Parents first.
    let place = |pid| tree.processes.iter().position(|process| process.pid == pid);
    ensure!(place(shell.pid) < place(sleep.pid), "the shell comes after its child");
    Ok(())
}

#[test]
fn both_ends_of_a_pipe_and_a_fifo_are_seen() -> Outcome {
    let place = Place::new();
    let fifo = place.text("fifo");
    let text = format!("mkfifo {fifo}; cat < {fifo} & exec 5> {fifo}; sleep 1000 | awk 1; :");
    let script = Script::start(&text)?;
    let (tree, found) = script.tree(&["cat", "sleep"])?;
    let [cat, sleep] = &found[..] else { return Err(Fault::new("two children")) };
    let shell = script.shell(&tree)?;
    let files = |process: &Process| process.files.clone().unwrap_or_default();
    let stdin = files(cat).stdin.filter(|stdin| stdin.pipe);
    ensure_eq!(stdin.map(|stdin| stdin.target.to_string()), Some(fifo.clone()), "the FIFO");
    let writes = |process: &Process, target: &str| {
        files(process).pipes.iter().any(|end| &*end.target == target && end.writes && !end.reads)
    };
    ensure!(writes(&shell, &fifo), "the script writes to it: {:?}", files(&shell));
    // awk may be a link to any of several programs.
    let reads = |process: &&Process| {
        let pipe = files(process).stdin.filter(|stdin| stdin.target.starts_with("pipe:["));
        pipe.is_some_and(|pipe| pipe.pipe && writes(sleep, &pipe.target))
    };
    ensure!(tree.processes.iter().any(|process| reads(&process)), "sleep writes to awk");
    Ok(())
}

#[test]
fn what_is_excepted_is_left_out_with_all_below_it() -> Outcome {
    let script = Script::start("sleep 1000; :")?;
    script.tree(&["sleep"])?;
    let read = proctree::read(&[script.pid()], Signal::TERM);
    let (tree, _) = read.ok_or_else(|| Fault::new("/proc"))?;
    let of_script =
        |process: &Process| process.pid == script.pid() || process.parent == script.pid();
    ensure!(!tree.processes.iter().any(of_script), "the script is there");
    Ok(())
}

/// It has no program and no command line any more. What is not known of it must not look like the name of a program.
#[test]
fn nothing_is_revealed_of_a_process_that_has_ended() -> Outcome {
    let script = Script::start("read -r line < /dev/zero")?;
    let (tree, _) = script.tree(&[])?;
    let id = script.shell(&tree)?.id();
    ensure_eq!(proctree::reveal(&[id]).len(), 1, "what is revealed of a process that lives");
    let pid = nix::unistd::Pid::from_raw(script.pid().0);
    killpg(pid, Kill::SIGKILL).map_err(|error| Fault::new(format!("kill: {error}")))?;
    proc::poll("a zombie", || proc::process(pid.as_raw()).filter(|p| p.state == 'Z'))?;
    ensure_eq!(proctree::reveal(&[id]), [], "what is revealed of a zombie");
    Ok(())
}
