//! `auto`: the listeners of the processes below us. The tests of this binary are one process, whose
//! own listeners are none of the app's: the puppet's are.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use graceinit::machine::connections::Visibility;
use graceinit::sockets::Sampler;
use graceinit::types::Pid;

use super::{RULES, listen, see};
use crate::support::Outcome;
use crate::support::files::Place;
use crate::support::init::puppet;
use crate::{ensure, ensure_eq};

/// A child that holds the listener, which we let go of.
fn holder(listener: TcpListener) -> Outcome<Child> {
    let mut command = Command::new(puppet());
    command.arg("pause").stdin(OwnedFd::from(listener)).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command.spawn()?)
}

fn end(mut child: Child) -> Outcome {
    child.kill()?;
    child.wait()?;
    Ok(())
}

#[test]
fn the_listeners_of_the_tree_are_found_and_remembered() -> Outcome {
    let (own, not_below_us) = listen("127.0.0.1:0")?;
    let (four, port_four) = listen("127.0.0.1:0")?;
    let (six, port_six) = listen("[::]:0")?;
    let (app, worker) = (holder(four)?, holder(six)?);
    let mut sampler = Sampler::new(None, RULES);
    ensure!(sampler.ports().is_empty(), "not searched yet");
    ensure!(sampler.is_listening(&[]), "it does");
    let sample = see(&mut sampler, &[]);
    ensure!(sample.listening && sample.visibility == Visibility::Full, "{sample:?}");
    for port in [port_four, port_six] {
        ensure!(sampler.ports().contains(&port), "{port} of {:?}", sampler.ports());
    }
    ensure!(!sampler.ports().contains(&not_below_us), "{:?}", sampler.ports());
    end(app)?;
    see(&mut sampler, &[]);
    ensure!(sampler.ports().contains(&port_four), "its connections may live on");
    end(worker)?;
    drop(own);
    Ok(())
}

#[test]
fn the_listeners_of_helpers_are_not_the_apps() -> Outcome {
    let (listener, port) = listen("127.0.0.1:0")?;
    let helper = holder(listener)?;
    let mut sampler = Sampler::new(None, RULES);
    see(&mut sampler, &[Pid(i32::try_from(helper.id())?)]);
    ensure!(!sampler.ports().contains(&port), "{:?}", sampler.ports());
    end(helper)
}

#[test]
fn descriptors_that_cannot_be_read_leave_it_blind() -> Outcome {
    let place = Place::new();
    let (listener, _) = listen("127.0.0.1:0")?;
    let app = holder(listener)?;
    // What is no folder cannot be listed, whoever asks.
    let folder = place.path(&app.id().to_string());
    std::fs::create_dir(&folder)?;
    std::fs::write(folder.join("fd"), "")?;
    let mut sampler = Sampler::with(None, RULES, true, &place.path("."));
    let sample = see(&mut sampler, &[]);
    ensure_eq!(sample.visibility, Visibility::Blind, "the port has to be named");
    ensure!(sample.listening && sampler.is_listening(&[]), "readiness does not wait for it");
    end(app)
}
