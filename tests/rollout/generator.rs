//! The load generator itself: a server that does each thing wrong, and whether each is named rightly; and
//! whether the rate is what was asked for, whatever the server does.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use graceinit::tools::rehearse::answer::Class;
use graceinit::tools::rehearse::tally::Tally;

use super::backend::Backend;
use super::load::{Mix, Plan, expected, start};
use crate::support::{Outcome, proc};
use crate::{ensure, ensure_eq};

/// What the server does with a request once it has read it.
type Deed = fn(TcpStream, &str) -> std::io::Result<()>;

/// A server that does the same with every request, until the process ends.
fn server(deed: Deed) -> Outcome<SocketAddrV4> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, listener.local_addr()?.port());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone()?);
                let mut line = String::new();
                reader.read_line(&mut line)?;
                let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
                while !line.trim_end().is_empty() {
                    line.clear();
                    reader.read_line(&mut line)?;
                }
                deed(stream, &path)
            });
        }
    });
    Ok(address)
}

fn plan(to: SocketAddrV4) -> Plan {
    Plan {
        to,
        rate: 200,
        mix: Mix::Short,
        method: "GET",
        timeout: Duration::from_secs(30),
        limit: 20,
        keep_alive: false,
    }
}

fn whole(path: &str) -> Vec<u8> {
    let body = expected(path);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), &body].concat()
}

/// Twenty requests to such a server are all of this class.
fn all_are(class: Class, deed: Deed) -> Outcome<Tally> {
    let tally = start(plan(server(deed)?))?.end()?.tally;
    ensure_eq!((tally.sent, tally.count(class)), (20, 20), "{class} ({})", tally.drops_by_class());
    ensure_eq!(tally.drops(), if class == Class::Ok { 0 } else { 20 }, "drops");
    Ok(tally)
}

#[test]
fn whole_answers_are_ok() -> Outcome {
    all_are(Class::Ok, |mut stream, path| stream.write_all(&whole(path))).map(drop)
}

#[test]
fn an_answer_in_single_bytes_is_ok() -> Outcome {
    all_are(Class::Ok, |mut stream, path| {
        stream.set_nodelay(true)?;
        whole(path).iter().try_for_each(|byte| stream.write_all(&[*byte]))
    })
    .map(drop)
}

#[test]
fn nobody_listening_is_refused() -> Outcome {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let to = SocketAddrV4::new(Ipv4Addr::LOCALHOST, listener.local_addr()?.port());
    drop(listener);
    let tally = start(plan(to))?.end()?.tally;
    ensure_eq!(tally.drops_by_class(), "refused:20", "no listener");
    Ok(())
}

#[test]
fn closing_without_a_word_is_empty() -> Outcome {
    all_are(Class::Empty, |_, _| Ok(())).map(drop)
}

#[test]
fn a_reset_without_a_word_is_empty() -> Outcome {
    all_are(Class::Empty, |stream, _| reset(stream)).map(drop)
}

#[test]
fn half_an_answer_is_cut() -> Outcome {
    all_are(Class::Cut, |mut stream, path| {
        let answer = whole(path);
        stream.write_all(&answer[..answer.len() - 1])
    })
    .map(drop)
}

#[test]
fn a_reset_in_the_middle_is_cut() -> Outcome {
    all_are(Class::Cut, |mut stream, path| {
        let answer = whole(path);
        stream.write_all(&answer[..answer.len() - 1])?;
        reset(stream)
    })
    .map(drop)
}

#[test]
fn chunks_without_an_end_are_cut() -> Outcome {
    all_are(Class::Cut, |mut stream, path| {
        let body = String::from_utf8_lossy(&expected(path)).into_owned();
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        write!(stream, "{head}{:x}\r\n{body}\r\n", body.len())
    })
    .map(drop)
}

#[test]
fn an_error_is_known_by_its_status() -> Outcome {
    all_are(Class::Status(503), |mut stream, _| {
        stream.write_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
    })
    .map(drop)
}

#[test]
fn the_answer_to_another_request_is_wrong() -> Outcome {
    all_are(Class::Wrong, |mut stream, _| stream.write_all(&whole("/sleep/1/4711"))).map(drop)
}

#[test]
fn silence_is_a_timeout() -> Outcome {
    let to = server(|stream, _| drop_when_closed(stream))?;
    let plan = Plan { timeout: Duration::from_millis(300), ..plan(to) };
    let tally = start(plan)?.end()?.tally;
    ensure_eq!(tally.drops_by_class(), "timeout:20", "a silent server");
    Ok(())
}

/// Bytes that come too slowly do not prolong it.
#[test]
fn half_an_answer_and_then_silence_is_a_timeout() -> Outcome {
    let to = server(|mut stream, path| {
        let answer = whole(path);
        stream.write_all(&answer[..answer.len() - 1])?;
        drop_when_closed(stream)
    })?;
    let plan = Plan { timeout: Duration::from_millis(300), ..plan(to) };
    let tally = start(plan)?.end()?.tally;
    ensure_eq!(tally.drops_by_class(), "timeout:20", "a server that stops in the middle");
    Ok(())
}

/// The handler's time is in the latency and not in what comes beyond it.
#[test]
fn delay_is_latency() -> Outcome {
    let backend = Backend::start()?;
    let tally = start(Plan { limit: 100, ..plan(backend.address) })?.end()?.tally;
    ensure_eq!((tally.count(Class::Ok), tally.drops()), (100, 0), "{}", tally.drops_by_class());
    // Of the handlers, which take 5 to 300 ms, more than half take longer than 50.
    ensure!(tally.latency(50) >= 50.0, "half within {} ms", tally.latency(50));
    ensure!(tally.latency(99) >= tally.beyond(99) + 50.0, "the handlers' time does not count");
    Ok(())
}

#[test]
fn streams_and_long_polls_arrive_whole() -> Outcome {
    let backend = Backend::start()?;
    let plan = Plan { limit: 300, mix: Mix::Full, ..plan(backend.address) };
    let tally = start(plan)?.end()?.tally;
    ensure_eq!((tally.count(Class::Ok), tally.drops()), (300, 0), "{}", tally.drops_by_class());
    // One in a hundred takes ten seconds, three in a hundred take three.
    ensure!(tally.latency(97) >= 3000.0, "no stream");
    ensure!(tally.latency(100) >= 10_000.0, "no long poll");
    Ok(())
}

#[test]
fn connections_are_kept_if_asked_for() -> Outcome {
    let backend = Backend::start()?;
    let send = |keep_alive| start(Plan { keep_alive, limit: 200, ..plan(backend.address) });
    let (kept, new) = (send(true)?.end()?.tally, send(false)?.end()?.tally);
    ensure_eq!((kept.count(Class::Ok), new.count(Class::Ok)), (200, 200), "answers");
    ensure_eq!(new.connections, 200, "a connection for each");
    ensure!(kept.connections < 200, "none was used twice");
    // A server that says that it closes is believed: no request is sent into the end of a connection.
    let tally = start(Plan { keep_alive: true, ..plan(server(closing)?) })?.end()?.tally;
    ensure_eq!((tally.count(Class::Ok), tally.connections), (20, 20), "{}", tally.drops_by_class());
    Ok(())
}

fn closing(mut stream: TcpStream, path: &str) -> std::io::Result<()> {
    let answer = String::from_utf8_lossy(&whole(path)).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    write!(stream, "{head}\r\nConnection: close\r\n\r\n{body}")
}

/// A closed loop would send one request, or one per connection of its pool, and wait.
#[test]
fn a_server_that_stalls_gets_no_fewer_requests() -> Outcome {
    let (good, stalled) = (Backend::start()?, server(|stream, _| drop_when_closed(stream))?);
    let send = |to| Plan { rate: 500, limit: 400, ..plan(to) };
    let stalled = Plan { timeout: Duration::from_millis(500), ..send(stalled) };
    // Side by side: the time that both have is the same.
    let (good, stalled) = (start(send(good.address))?, start(stalled)?);
    let (good, stalled) = (good.end()?.tally, stalled.end()?.tally);
    ensure_eq!((good.sent, good.count(Class::Ok)), (400, 400), "{}", good.drops_by_class());
    ensure_eq!((stalled.sent, stalled.count(Class::Timeout)), (400, 400), "the stalled one");
    Ok(())
}

/// Not one more than the rate and the time make. (Whether there are fewer is seen in the test above.)
#[test]
fn the_rate_is_what_was_asked_for() -> Outcome {
    let backend = Backend::start()?;
    let begun = Instant::now();
    let load = start(Plan { rate: 1000, limit: u64::MAX, ..plan(backend.address) })?;
    proc::poll("a second's requests", || (load.sent() >= 1000).then_some(()))?;
    let tally = load.stop()?;
    // The first is sent at once, the next a millisecond later.
    let most = begun.elapsed().as_millis() as u64 + 1;
    ensure!((1000..=most).contains(&tally.sent), "{} in {most} ms", tally.sent);
    ensure_eq!(tally.drops(), 0, "{}", tally.drops_by_class());
    Ok(())
}

/// Holds the connection until the client gives it up.
fn drop_when_closed(stream: TcpStream) -> std::io::Result<()> {
    std::io::copy(&mut &stream, &mut std::io::sink()).map(drop)
}

/// Closes so that the client gets a reset instead of an end.
fn reset(stream: TcpStream) -> std::io::Result<()> {
    super::reset::close_with_reset(stream)
}
