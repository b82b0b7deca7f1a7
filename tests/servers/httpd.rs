//! The Apache HTTP server takes TERM for "drop everything" and WINCH, of all signals, for "finish what
//! you are doing".

use std::net::SocketAddrV4;

use super::common::{Upstream, free_address, until_refused, with_profile, without};
use crate::support::files::Place;
use crate::support::{Fault, Launch, Outcome, need};
use crate::{ensure, ensure_eq};

const HTTPD: &str = "/usr/sbin/apache2";
const MODULES: &str = "/usr/lib/apache2/modules";

/// As a proxy: that is how the test can hold a request. `mpm` is the way it has its processes.
fn configuration(place: &Place, mpm: &str, address: SocketAddrV4, upstream: &str) -> String {
    let dir = place.text(".");
    let modules: String = [&format!("mpm_{mpm}"), "authz_core", "proxy", "proxy_http"]
        .iter()
        .map(|name| format!("LoadModule {name}_module {MODULES}/mod_{name}.so\n"))
        .collect();
    format!(
        "ServerRoot {dir}\nServerName x\nPidFile {dir}/pid\nDefaultRuntimeDir {dir}\nListen {address}\n\
         {modules}ErrorLog /proc/self/fd/2\nUser www-data\nGroup www-data\n\
         ProxyPass / http://{upstream}/\n"
    )
}

fn command(launch: Launch, place: &Place, conf: &str) -> Outcome<Launch> {
    let conf = place.file("httpd.conf", conf, 0o644);
    let conf = conf.to_str().ok_or_else(|| Fault::new("a strange path"))?;
    Ok(launch.command([HTTPD, "-f", conf, "-DFOREGROUND"]))
}

fn needs() -> bool {
    // It changes to another user.
    need::root() && need::pid_namespace() && need::program(HTTPD)
}

fn finishes_with_the_profile(mpm: &str) -> Outcome {
    let place = Place::new();
    let (address, upstream) = (free_address()?, Upstream::new()?);
    let conf = configuration(&place, mpm, address, &upstream.address()?);
    let mut run = command(with_profile("httpd", "60s"), &place, &conf)?.start()?;
    let (answer, held) = upstream.held_request(address)?;
    run.signal("TERM")?;
    until_refused(address)?;
    held.release()?;
    ensure_eq!(answer.end()?, "whole", "the request");
    run.exits(0)
}

/// What Debian runs by default.
#[test]
fn a_request_finishes_with_the_profile_and_mpm_event() -> Outcome {
    if needs() { finishes_with_the_profile("event") } else { Ok(()) }
}

#[test]
fn a_request_finishes_with_the_profile_and_mpm_prefork() -> Outcome {
    if needs() { finishes_with_the_profile("prefork") } else { Ok(()) }
}

/// The second signal of the ladder: the pid file goes, as it does not when httpd is killed.
#[test]
fn one_that_never_finishes_is_cut_off_in_order() -> Outcome {
    if !needs() {
        return Ok(());
    }
    let place = Place::new();
    let (address, upstream) = (free_address()?, Upstream::new()?);
    let conf = configuration(&place, "prefork", address, &upstream.address()?);
    let mut run = command(with_profile("httpd", "4s"), &place, &conf)?.start()?;
    let (answer, _held) = upstream.held_request(address)?;
    ensure!(place.path("pid").exists(), "no pid file");
    run.signal("TERM")?;
    ensure_eq!(answer.end()?, "cut off", "the request");
    run.exits(0)?;
    ensure!(!place.path("pid").exists(), "the pid file is still there");
    Ok(())
}

/// That is why the profile exists.
#[test]
fn without_it_a_request_is_cut_off() -> Outcome {
    if !needs() {
        return Ok(());
    }
    let place = Place::new();
    let (address, upstream) = (free_address()?, Upstream::new()?);
    let conf = configuration(&place, "prefork", address, &upstream.address()?);
    let mut run = command(without("60s"), &place, &conf)?.start()?;
    let (answer, _held) = upstream.held_request(address)?;
    run.signal("TERM")?;
    ensure_eq!(answer.end()?, "cut off", "the request");
    run.exits(0)
}
