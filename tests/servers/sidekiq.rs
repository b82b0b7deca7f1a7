//! Sidekiq takes TERM for "finish the running jobs, and put back those that are not done in time".

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddrV4, TcpStream};

use super::apps::{Gate, How, PATIENCE, free_address, needs, said};
use crate::ensure_eq;
use crate::support::{Launch, Outcome, Room, Run, Status, proc};

const SIDEKIQ: &str = "/usr/bin/sidekiq";
const REDIS: &str = "/usr/bin/redis-server";

/// The worker gives itself the job when it is up.
const APP: &str = "require 'sidekiq'

class Slow
  include(defined?(Sidekiq::Job) ? Sidekiq::Job : Sidekiq::Worker)
  sidekiq_options retry: false

  def perform
    File.read(File.join(ENV.fetch('PLACE'), 'gate'))
    File.write(File.join(ENV.fetch('PLACE'), 'done'), 'done')
  end
end

Sidekiq.configure_server do |config|
  config.redis = { url: ENV.fetch('REDIS') }
  config.on(:startup) { Slow.perform_async }
end
";

fn redis(gate: &Gate, address: SocketAddrV4) -> Outcome<Run> {
    let run = Launch::graceinit(Room::PidNs)
        .command([REDIS, "--save", "", "--appendonly", "no", "--daemonize", "no"])
        .app_arg("--bind")
        .app_arg(address.ip().to_string())
        .app_arg("--port")
        .app_arg(address.port().to_string())
        .app_arg("--dir")
        .app_arg(gate.place.path("."))
        .start()?;
    proc::poll("redis", || TcpStream::connect(address).ok())?;
    Ok(run)
}

/// A worker that runs a job.
fn busy(launch: Launch, gate: &Gate, redis: SocketAddrV4, limit: &str) -> Outcome<(Run, File)> {
    let app = gate.place.file("app.rb", APP, 0o644);
    let run = launch
        .env("PLACE", gate.place.text("."))
        .env("REDIS", format!("redis://{redis}/0"))
        .env("PATH", "/usr/bin:/bin")
        .cwd(gate.place.path("."))
        .command([SIDEKIQ, "--concurrency", "1", "--timeout", limit, "--require"])
        .app_arg(app)
        .start()?;
    let held = proc::poll_within(PATIENCE, "the job", || gate.begun().ok())?;
    Ok((run, held))
}

#[test]
fn with_the_profile_a_job_finishes() -> Outcome {
    if !needs(&[SIDEKIQ, REDIS]) {
        return Ok(());
    }
    let gate = Gate::new();
    let address = free_address()?;
    let _redis = redis(&gate, address)?;
    let hook = gate.place.fifo("hook");
    let launch = How::Profile("sidekiq")
        .launch()
        .flags("--hook-timeout 40s --on-stop")
        .words([format!("/bin/cat {}", gate.place.text("hook"))]);
    let (mut run, held) = busy(launch, &gate, address, "25")?;
    run.signal("TERM")?;
    // It takes no new jobs while hooks run, and knows of the end when they are through.
    said(&run, "Received TSTP")?;
    hook.release()?;
    said(&run, "Pausing to allow")?;
    drop(held);
    ensure_eq!(run.wait()?, Status::Code(0), "the worker's end");
    ensure_eq!(gate.place.expect("done")?, "done", "the job's result");
    Ok(())
}

/// How many jobs wait in the queue, as Redis has it: `:1`.
fn waiting(redis: SocketAddrV4) -> Outcome<String> {
    let mut client = TcpStream::connect(redis)?;
    client.set_read_timeout(Some(PATIENCE))?;
    client.write_all(b"LLEN queue:default\r\n")?;
    let mut answer = String::new();
    BufReader::new(client).read_line(&mut answer)?;
    Ok(answer.trim_end().to_string())
}

/// The worker's own limit must lie below that of graceinit: a job that is killed with it is lost.
#[test]
fn a_job_that_is_not_done_in_time_is_put_back_or_lost() -> Outcome {
    if !needs(&[SIDEKIQ, REDIS]) {
        return Ok(());
    }
    let profile = How::Profile("sidekiq");
    for (limit, grace, code, left) in [("1", "60s", 0, ":1"), ("25", "1s", 137, ":0")] {
        let gate = Gate::new();
        let address = free_address()?;
        let _redis = redis(&gate, address)?;
        let launch = profile.launch().flag("--grace", grace);
        let (mut run, held) = busy(launch, &gate, address, limit)?;
        run.signal("TERM")?;
        said(&run, "Shutting down")?;
        ensure_eq!(run.wait()?, Status::Code(code), "the worker's end, limit {limit}");
        ensure_eq!(waiting(address)?, left, "jobs in the queue, limit {limit}");
        drop(held);
    }
    Ok(())
}
