//! Tools that start no app end by a signal like any other program, although every signal is blocked when they begin.

use crate::ensure_eq;
use crate::support::{Launch, Outcome, Room, Status, need, proc};

/// `--render -` reads its standard input, which has no end.
fn ends_by(room: Room, signal: &str) -> Outcome<Status> {
    let (input, _kept_open) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    let launch = Launch::graceinit(room).words(["--render", "-"]).without_dashes().stdin(input);
    let mut run = launch.start()?;
    let init = run.init()?;
    // Asleep in its read: by then it hears signals.
    proc::poll("a tool that waits", || proc::process(init).filter(|tool| tool.state == 'S'))?;
    run.signal(signal)?;
    run.wait()
}

#[test]
fn a_tool_ends_by_ctrl_c_and_term() -> Outcome {
    for (signal, number) in [("INT", 2), ("TERM", 15), ("HUP", 1), ("QUIT", 3)] {
        ensure_eq!(ends_by(Room::Plain, signal)?, Status::Signal(number), "{signal}");
        if need::pid_namespace() {
            // PID 1 cannot die of a signal, and has no default actions.
            ensure_eq!(ends_by(Room::PidNs, signal)?, Status::Code(128 + number), "{signal}");
        }
    }
    Ok(())
}
