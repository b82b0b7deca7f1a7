//! `--probe`: asks the graceinit of this container for its state, for images without curl. It is a process of its own,
//! which may block and have threads.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{self as unix, UnixStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::account::document::{Account, Drain};
use crate::account::time::Span;
use crate::account::waiting;
use crate::config::outputs::Question;
use crate::http_client;
use crate::sys::clock;
use crate::sys::listen::Address;
use crate::types::text::is_harmful;

/// The time limit of the whole probe.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The longest answer.
const LONGEST: u64 = 1 << 20;
/// The longest line that is printed: it may come from another program.
const LONGEST_LINE: usize = 1100;

/// Returns the text to print and the exit code: 0 for yes (for `status`: for any answer), else 1.
pub fn run(question: Question, addresses: &[Address]) -> (String, u8) {
    if addresses.is_empty() {
        let why = "there is no address to ask: name the one that graceinit listens on, in this command \
                   too, with --listen or GRACEINIT_LISTEN";
        return (format!("{why}\n"), 1);
    }
    let path = match question {
        Question::Ready => "/readyz",
        Question::Live => "/livez",
        Question::Status => "/debug/graceinit",
    };
    match ask_any(&targets(addresses), path, TIMEOUT) {
        Ok((address, answer)) => judge(question, &address, &answer),
        Err(why) => (format!("{why}\n"), 1),
    }
}

fn judge(question: Question, address: &Address, answer: &Answer) -> (String, u8) {
    let foreign = || {
        let line = first_line(&answer.body);
        let status = answer.status;
        (format!("{address} gave an answer that is not graceinit's: {status} {line}\n"), 1)
    };
    match question {
        Question::Ready | Question::Live => match answer.status {
            200 => (first_line(&answer.body) + "\n", 0),
            503 => (first_line(&answer.body) + "\n", 1),
            _ => foreign(),
        },
        Question::Status => match serde_json::from_slice::<Account>(&answer.body) {
            Ok(account) if answer.status == 200 && account.v > 0 => (status(&account), 0),
            _ => foreign(),
        },
    }
}

// ---- asking -----------------------------------------------------------------------------------

#[derive(Debug)]
struct Answer {
    status: u16,
    body: Vec<u8>,
}

/// The addresses to connect to. An address that stands for all addresses is asked on loopback.
fn targets(addresses: &[Address]) -> Vec<Address> {
    let tcp = |ip: IpAddr, port| Address::Tcp(SocketAddr::new(ip, port));
    addresses
        .iter()
        .flat_map(|address| match address {
            Address::Tcp(all) if all.ip().to_canonical().is_unspecified() => match all.ip() {
                // A listener on [::] accepts IPv4 too, and only IPv4 where there is no IPv6.
                IpAddr::V6(ip) if ip.is_unspecified() => vec![
                    tcp(Ipv6Addr::LOCALHOST.into(), all.port()),
                    tcp(Ipv4Addr::LOCALHOST.into(), all.port()),
                ],
                IpAddr::V4(_) | IpAddr::V6(_) => vec![tcp(Ipv4Addr::LOCALHOST.into(), all.port())],
            },
            other => vec![other.clone()],
        })
        .collect()
}

/// Asks one address after the other until one answers. Each has an equal share of the time that is left.
fn ask_any(
    targets: &[Address],
    path: &'static str,
    timeout: Duration,
) -> Result<(Address, Answer), String> {
    let end = clock::now().after(timeout);
    let mut errors: Vec<String> = Vec::new();
    for (done, address) in targets.iter().enumerate() {
        let parts = u32::try_from(targets.len() - done).unwrap_or(u32::MAX);
        let share = end.since(clock::now()) / parts;
        match ask_within(address, path, share) {
            Ok(answer) => return Ok((address.clone(), answer)),
            Err(why) => errors.push(format!("unable to ask {address}: {why}")),
        }
    }
    Err(errors.join("; "))
}

/// Asks in a thread, which may hang: connect(2) of a Unix socket has no timeout.
fn ask_within(address: &Address, path: &'static str, timeout: Duration) -> Result<Answer, String> {
    let (sender, receiver) = mpsc::channel();
    let asked = address.clone();
    let asker = thread::Builder::new().spawn(move || sender.send(ask(&asked, path)));
    asker.map_err(|error| format!("unable to start a thread: {error}"))?;
    match receiver.recv_timeout(timeout) {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {timeout:.1?}")),
    }
}

fn ask(address: &Address, path: &str) -> io::Result<Answer> {
    match address {
        Address::Tcp(address) => talk(TcpStream::connect(address)?, path),
        Address::Unix(socket) => talk(UnixStream::connect(socket)?, path),
        Address::Abstract(name) => {
            let address = unix::SocketAddr::from_abstract_name(name)?;
            talk(UnixStream::connect_addr(&address)?, path)
        }
    }
}

fn talk(stream: impl Read + Write, path: &str) -> io::Result<Answer> {
    // A loopback address answers requests for this host only.
    let answer = http_client::ask(stream, "GET", "localhost", path)?;
    Ok(Answer { status: answer.status, body: answer.body(LONGEST)? })
}

/// The first line, without control characters: it goes to a terminal or a log.
fn first_line(body: &[u8]) -> String {
    let line = body.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line: String = String::from_utf8_lossy(line).chars().take(LONGEST_LINE).collect();
    line.trim_end().replace(is_harmful, "?")
}

// ---- the account as text ------------------------------------------------------------------

/// The account in a few lines.
pub fn status(account: &Account) -> String {
    let mut out = String::new();
    let now = account.age;
    let ago = |at: Span| short(now.since(at));
    let line = |out: &mut String, name: &str, text: &str| {
        // Both may come from another program that answers here.
        let (name, text) = (first_line(name.as_bytes()), first_line(text.as_bytes()));
        let _ = writeln!(out, "{name:<12} {text}");
    };
    let since =
        account.phases.last().map_or(String::new(), |last| format!(" for {}", ago(last.at)));
    line(&mut out, "phase", &format!("{}{since}", account.phase));
    let started = account.app.started;
    let ready = match (account.ready, account.app.ready_after, started) {
        (true, Some(after), Some(at)) => {
            format!("yes, for {}", ago(Span(at.0.saturating_add(after.0))))
        }
        (true, _, _) => "yes".to_owned(),
        (false, ..) => "no".to_owned(),
    };
    line(&mut out, "ready", &ready);
    if account.stop.is_none() && !account.ready && !account.waiting.is_empty() {
        line(&mut out, "waits for", &waiting::text(&account.waiting));
    }
    for health in &account.health {
        let answer = match health.ago {
            Some(ago) => format!("{}, {} ago", health.answer, short(ago)),
            None => "not asked yet".to_owned(),
        };
        line(&mut out, &health.option, &format!("{}: {answer}", health.check));
    }
    let app = match (account.app.pid, started, &account.app.ended) {
        (_, _, Some(ended)) => format!("{} {} ago", ended.how, ago(ended.at)),
        (Some(pid), Some(at), None) => format!("pid {pid}, started {} ago", ago(at)),
        _ => "not started".to_owned(),
    };
    line(&mut out, "app", &format!("{app}: {}", account.app.command));
    if let Some(stop) = &account.stop {
        let left = match stop.budget {
            Some(budget) => {
                let left = budget.since(now.since(stop.at));
                format!("{} of {} left", short(left), short(budget))
            }
            None => "no deadline".to_owned(),
        };
        let (signal, from, ago) = (&stop.signal, &stop.from, ago(stop.at));
        let text = format!("requested by {signal} from {from} {ago} ago; {left}");
        line(&mut out, "stop", &text);
    }
    hooks(account, &mut |text| line(&mut out, "hook", text));
    let drain = account.drain.as_ref().filter(|drain| drain.ended.is_none());
    if let Some(last) = drain.and_then(|drain| drain.last.as_ref()) {
        let text = format!(
            "{} busy, {} owed an answer, {} idle, {} not accepted yet",
            last.busy, last.owed, last.idle, last.queued
        );
        line(&mut out, "connections", &text);
    }
    for holds in drain.map(Drain::holds).unwrap_or_default() {
        line(&mut out, "waits for", &holds);
    }
    for trouble in account.troubles.iter().rev().take(5).rev() {
        line(&mut out, "trouble", &format!("{} ago: {}", ago(trouble.at), trouble.msg));
    }
    out
}

/// The running hooks.
fn hooks(account: &Account, print: &mut dyn FnMut(&str)) {
    for hook in &account.hooks {
        for attempt in hook.attempts.iter().filter(|attempt| attempt.outcome.is_none()) {
            let again =
                if attempt.n > 1 { format!(", attempt {}", attempt.n) } else { String::new() };
            let (ran, limit) = (short(account.age.since(attempt.at)), short(attempt.limit));
            let (phase, name) = (&hook.phase, &hook.name);
            print(&format!("{phase} {name} runs for {ran} of {limit}{again}"));
        }
    }
}

/// With tenths of a second below a minute.
fn short(span: Span) -> String {
    let whole = Duration::from_micros(span.0);
    match whole.as_secs() {
        0..=59 => format!("{:.1}s", whole.as_secs_f64()),
        seconds => humantime::format_duration(Duration::from_secs(seconds)).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::account::document::{App, Attempt, DrainSample, Health, Hook, Stop, Stretch};

    fn address(text: &str) -> Address {
        Address::parse(text).expect(text)
    }

    #[test]
    fn a_listener_on_all_addresses_is_asked_on_loopback() {
        for (given, asked) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:2", "[::1]:2 127.0.0.1:2"),
            ("[::ffff:0.0.0.0]:3", "127.0.0.1:3"),
            ("10.1.2.3:4", "10.1.2.3:4"),
            ("unix:@x", "unix:@x"),
            ("unix:/x", "unix:/x"),
        ] {
            let found: Vec<String> =
                targets(&[address(given)]).iter().map(Address::to_string).collect();
            assert_eq!(found.join(" "), asked);
        }
    }

    #[test]
    fn a_line_is_harmless_at_a_terminal() {
        assert_eq!(first_line(b"a\x1b[2Jb\r\nc"), "a?[2Jb");
        assert_eq!(first_line(&[b'x'; 5000]).len(), LONGEST_LINE);
    }

    /// One server takes connections and says nothing, the next one is asked all the same.
    #[test]
    fn a_silent_server_does_not_use_up_all_the_time() {
        let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
        let answers = TcpListener::bind("127.0.0.1:0").expect("a port");
        let targets =
            [&silent, &answers].map(|one| Address::Tcp(one.local_addr().expect("a port")));
        let server = thread::spawn(move || {
            let (mut stream, _) = answers.accept().expect("a connection");
            let mut request = [0; 512];
            assert_ne!(stream.read(&mut request).expect("a request"), 0);
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nready\n").expect("sent");
        });
        let limit = Duration::from_secs(4);
        let (address, answer) = ask_any(&targets, "/readyz", limit).expect("an answer");
        assert_eq!((address, answer.status), (targets[1].clone(), 200));
        server.join().expect("a good server");
        let why =
            ask_any(&targets[..1], "/readyz", Duration::from_millis(20)).expect_err("silence");
        // What is left of the limit: a slow machine has used some of it before it asks.
        let left = why.split("no answer within ").nth(1).and_then(|time| time.strip_suffix("ms"));
        let left: f64 = left.and_then(|time| time.parse().ok()).expect("a time");
        assert!(left > 0.0 && left <= 20.0, "{why}");
        drop(silent);
        let why = ask_any(&targets, "/readyz", limit).expect_err("nobody");
        assert_eq!(why.matches("unable to ask").count(), 2, "{why}");
    }

    #[test]
    fn a_foreign_account_is_harmless_at_a_terminal() {
        let health =
            Health { option: "a\u{1b}[2J\nb".into(), check: "\r".into(), ..Health::default() };
        let account = Account { v: 1, health: vec![health], ..Account::default() };
        assert!(
            status(&account).contains("\na?[2J        ?: not asked yet\n"),
            "{}",
            status(&account)
        );
    }

    #[test]
    fn status_is_for_people() {
        let second = |seconds: u64| Span(seconds * 1_000_000);
        let account = Account {
            v: 1,
            phase: "drain".into(),
            age: second(100),
            phases: vec![Stretch { phase: "drain".into(), at: second(97), took: None }],
            app: App {
                command: "server --port 80".into(),
                pid: Some(7),
                started: Some(second(1)),
                ..App::default()
            },
            stop: Some(Stop {
                at: second(96),
                signal: "TERM".into(),
                from: "outside".into(),
                budget: Some(second(15)),
            }),
            hooks: vec![Hook {
                phase: "pre-stop".into(),
                name: "tell".into(),
                attempts: vec![Attempt {
                    n: 2,
                    at: second(98),
                    limit: second(5),
                    ..Attempt::default()
                }],
                ..Hook::default()
            }],
            drain: Some(Drain {
                last: Some(DrainSample { busy: 3, owed: 1, idle: 9, ..DrainSample::default() }),
                ..Drain::default()
            }),
            ..Account::default()
        };
        let expected = "\
phase        drain for 3.0s
ready        no
app          pid 7, started 1m 39s ago: server --port 80
stop         requested by TERM from outside 4.0s ago; 11.0s of 15.0s left
hook         pre-stop tell runs for 2.0s of 5.0s, attempt 2
connections  3 busy, 1 owed an answer, 9 idle, 0 not accepted yet
";
        assert_eq!(status(&account), expected);
    }
}
