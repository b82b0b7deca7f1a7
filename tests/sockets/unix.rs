//! Unix sockets.

use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;

use graceinit::machine::connections::Visibility;
use graceinit::sockets::Sampler;
use graceinit::sys::listen::Address;

use super::{RULES, counts, see, until};
use crate::support::Outcome;
use crate::support::files::Place;
use crate::{ensure, ensure_eq};

fn unix_sampler(address: Address, sock_diag: bool) -> Sampler {
    Sampler::with(Some(&[]), RULES, sock_diag, Path::new("/proc")).with_unix(&[address])
}

/// An open connection is waited for, whatever its silence; a queue is seen before it is accepted.
#[test]
fn a_connection_is_waited_for_until_it_is_closed() -> Outcome {
    let place = Place::new();
    let path = place.path("sock");
    let mut sampler = unix_sampler(Address::Unix(path.clone()), true);
    ensure_eq!(
        sampler.missing(&[]),
        Some(format!("nothing listens on unix:{}", path.display())),
        "before it listens"
    );
    let listener = UnixListener::bind(&path)?;
    ensure!(sampler.is_listening(&[]), "it listens");
    let sample = see(&mut sampler, &[]);
    ensure!(sample.over && sample.listening, "no connection: {sample:?}");
    ensure_eq!(sample.visibility, Visibility::Full, "sock_diag");
    let mut client = UnixStream::connect(&path)?;
    let sample = see(&mut sampler, &[]);
    ensure_eq!((sample.queued, sample.over), (1, false), "to be accepted");
    let (mut app, _) = listener.accept()?;
    let sample = see(&mut sampler, &[]);
    ensure_eq!((counts(&sample), sample.over), ((1, 0, 0, 0), false), "open");
    ensure_eq!((sample.cut, sample.uncertain), (0, 1), "nothing tells whether an answer is owed");
    client.write_all(b"?")?;
    ensure_eq!(see(&mut sampler, &[]).cut, 1, "unread");
    app.read_exact(&mut [0])?;
    app.write_all(b"!")?;
    ensure_eq!(see(&mut sampler, &[]).cut, 1, "not read by the client");
    client.read_exact(&mut [0])?;
    // Longer than --drain-idle: the app may still work on an answer.
    let begun = std::time::Instant::now();
    until(&mut sampler, "a long silence", |_| begun.elapsed() > RULES.idle * 3)?;
    ensure!(!see(&mut sampler, &[]).over, "still open");
    drop(client);
    until(&mut sampler, "the client's end is no connection any more", |sample| sample.over)?;
    Ok(())
}

/// The file may be gone, so that no new client finds it: the connections are seen all the same.
#[test]
fn a_socket_whose_file_was_removed_is_seen_by_its_name() -> Outcome {
    let place = Place::new();
    let path = place.path("sock");
    let listener = UnixListener::bind(&path)?;
    let mut sampler = unix_sampler(Address::Unix(path.clone()), true);
    let client = UnixStream::connect(&path)?;
    let app = listener.accept()?;
    std::fs::remove_file(&path)?;
    let sample = see(&mut sampler, &[]);
    ensure!(!sample.over && sample.listening, "{sample:?}");
    drop((client, app));
    until(&mut sampler, "none", |sample| sample.over)?;
    Ok(())
}

/// Two names of one file: a link of the file stands for a bind mount.
#[test]
fn a_socket_is_found_under_another_name_of_its_file() -> Outcome {
    let place = Place::new();
    let (bound, other) = (place.path("bound"), place.path("other"));
    let listener = UnixListener::bind(&bound)?;
    std::fs::hard_link(&bound, &other)?;
    let mut sampler = unix_sampler(Address::Unix(other.clone()), true);
    ensure!(sampler.is_listening(&[]), "by its file");
    let _client = UnixStream::connect(&other)?;
    let _app = listener.accept()?;
    ensure_eq!(see(&mut sampler, &[]).busy, 1, "a connection");
    Ok(())
}

#[test]
fn an_abstract_name_is_seen_too() -> Outcome {
    let name = format!("graceinit-drain-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name)?;
    let listener = UnixListener::bind_addr(&address)?;
    for sock_diag in [true, false] {
        let mut sampler = unix_sampler(Address::Abstract(name.clone()), sock_diag);
        ensure!(sampler.is_listening(&[]), "it listens");
        let _client = UnixStream::connect_addr(&address)?;
        let _app = listener.accept()?;
        until(&mut sampler, "a connection", |sample| sample.busy == 1)?;
    }
    Ok(())
}

#[test]
fn without_sock_diag_the_table_of_proc_shows_them() -> Outcome {
    let place = Place::new();
    let path = place.path("with blank");
    let listener = UnixListener::bind(&path)?;
    let mut sampler = unix_sampler(Address::Unix(path.clone()), false);
    ensure!(see(&mut sampler, &[]).over, "no connection");
    let client = UnixStream::connect(&path)?;
    let sample = see(&mut sampler, &[]);
    ensure_eq!((sample.queued, sample.over), (1, false), "to be accepted");
    let app = listener.accept()?;
    let sample = see(&mut sampler, &[]);
    ensure_eq!((sample.busy, sample.over), (1, false), "open");
    drop((client, app));
    until(&mut sampler, "none", |sample| sample.over)?;
    Ok(())
}
