//! One container of a test.

use std::sync::atomic::{AtomicU32, Ordering};

use super::engine::{Engine, Running};
use crate::support::{Fault, Outcome, proc};

/// A container that runs; removed when dropped.
pub struct Container {
    engine: &'static Engine,
    pub name: String,
    /// Follows what the container prints: `out` is the app's, `err` graceinit's.
    pub log: Running,
}

/// A name for a container that nobody else has.
pub fn fresh_name() -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("graceinit-test-{}-{number}", std::process::id())
}

impl Container {
    /// `docker run` with these options: `words` is the command behind the image's entry point.
    pub fn run(engine: &'static Engine, options: &[&str], words: &str) -> Outcome<Container> {
        let words: Vec<&str> = words.split_whitespace().collect();
        Container::start(engine, &engine.image, options, &words)
    }

    /// [`Container::run`] with another image.
    pub fn of(
        engine: &'static Engine,
        image: &str,
        options: &[&str],
        words: &str,
    ) -> Outcome<Container> {
        let words: Vec<&str> = words.split_whitespace().collect();
        Container::start(engine, image, options, &words)
    }

    /// `docker run --init`: the app under the engine's own init, without the image's entry point.
    pub fn under_init(engine: &'static Engine, options: &[&str], app: &str) -> Outcome<Container> {
        let (program, words) = app.split_once(' ').unwrap_or((app, ""));
        let init = ["--init", "--entrypoint", program];
        Container::run(engine, &[&init, options].concat(), words)
    }

    /// [`Container::run`] with flags of graceinit's own, for which the image's entry point leaves no room.
    pub fn with_flags(engine: &'static Engine, flags: &[&str], app: &str) -> Outcome<Container> {
        let app: Vec<&str> = app.split_whitespace().collect();
        let words = [flags, &["--"], &app].concat();
        Container::start(engine, &engine.image, &["--entrypoint", "/graceinit"], &words)
    }

    fn start(
        engine: &'static Engine,
        image: &str,
        options: &[&str],
        words: &[&str],
    ) -> Outcome<Container> {
        let name = fresh_name();
        let run = ["run", "--detach", "--name", &name];
        // A network of its own with nothing but loopback: every container may use every port.
        let alone: &[&str] =
            if options.contains(&"--network") { &[] } else { &["--network", "none"] };
        engine.docker(&[&run, alone, options, &[image], words].concat())?;
        let mut follow = engine.client();
        follow.args(["logs", "--follow", &name]);
        Ok(Container { engine, log: Running::start(follow, &format!("docker logs {name}"))?, name })
    }

    /// A docker command about this container: its name comes last.
    pub fn docker(&self, words: &[&str]) -> Outcome<String> {
        self.engine.docker(&[words, &[&self.name]].concat())
    }

    /// Runs a program inside, and waits for its end; gives what it printed.
    pub fn exec(&self, words: &str) -> Outcome<String> {
        let words: Vec<&str> = words.split_whitespace().collect();
        self.engine.docker(&[&["exec", &self.name][..], &words].concat())
    }

    /// Runs a program inside, beside the test.
    pub fn exec_beside(&self, words: &str) -> Outcome<Running> {
        let mut exec = self.engine.client();
        exec.args(["exec", &self.name]).args(words.split_whitespace());
        Running::start(exec, &format!("docker exec {words}"))
    }

    /// Waits for its end: the exit code, as Docker knows it.
    pub fn exit_code(&self) -> Outcome<i32> {
        let format = "{{.State.Status}} {{.State.ExitCode}}";
        let state = proc::poll("the end of the container", || {
            let state = self.docker(&["inspect", "--format", format]).ok()?;
            state.strip_prefix("exited ").map(str::to_string)
        })?;
        state.parse().map_err(|_| Fault::new(format!("no exit code: {state}")))
    }

    /// Everything that graceinit logged, once the container has ended.
    pub fn whole_log(&self) -> Outcome<Vec<String>> {
        Ok(self.log.err.all()?.into_iter().map(|line| line.0).collect())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        drop(self.docker(&["rm", "--force", "--volumes"]));
    }
}
