//! `--rehearse` in an image that holds nothing else, without a right, without a network, on a file system that cannot be
//! written.

use super::engine::engine;
use crate::support::Outcome;
use crate::{ensure, ensure_eq};

#[test]
fn a_rehearsal_needs_no_shell_no_user_no_network_and_no_file() -> Outcome {
    let Some(engine) = engine() else { return Ok(()) };
    let run = |settings: &str| {
        let options = "run --rm --user 65534 --network none --read-only --cap-drop ALL --entrypoint /graceinit";
        let rehearsal = "--rehearse --only --rate 50 --url :8080/";
        let words = format!("{options} {} {rehearsal} {settings} -- /server 8080", engine.image);
        engine.try_docker(&words.split_whitespace().collect::<Vec<_>>())
    };
    let (code, drained, errors) = run("--drain 8080 --drain-idle 1s")?;
    ensure_eq!(code, 0, "{drained}{errors}");
    ensure!(drained.contains("graceinit is a subreaper"), "{drained}");
    ensure!(drained.contains("platform  docker: TERM, SIGKILL after 10s"), "{drained}");
    let (code, plain, errors) = run("--stop-signal KILL")?;
    ensure_eq!(code, 1, "{plain}{errors}");
    ensure!(plain.contains(" lost"), "{plain}");
    Ok(())
}
