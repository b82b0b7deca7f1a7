//! The command of a hook: a program with its arguments, or a built-in action, which the first word names.

use std::ffi::{CString, OsString};
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use super::address::{NO_TLS, address};
use super::metric::Metric;
use super::parse;
use crate::machine::hooks::HookPhase;
use crate::types::Signal;

/// What a hook does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Task {
    /// Runs a program.
    Command(Vec<OsString>),
    /// Does something that needs no program. Like a program, the action runs in a child of its own.
    Builtin(Builtin),
}

/// The built-in actions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Builtin {
    /// `sleep:5s`
    Sleep(Duration),
    /// `http:POST http://127.0.0.1:9000/drain`; GET without a method. An answer below 400 is a success.
    Http {
        /// GET, POST, PUT ...
        method: String,
        /// With an address, not with a name: a static program has no name service.
        url: String,
    },
    /// `signal:TSTP`, sent to the scope.
    Signal(Signal),
    /// `touch:PATH`
    Touch(CString),
    /// `rm:PATH`; a file that does not exist is a success.
    Remove(CString),
    /// Succeeds if a socket listens on this port of this host. (Probes only.)
    Connect(u16),
    /// Succeeds if this URL is answered with 2xx. (Only `--drained`.)
    Answers(String),
    /// Succeeds if the metric is small enough. (Only `--drained`.)
    Metric(Metric),
    /// Succeeds if the file exists. (Probes only.)
    Exists(CString),
    /// `write:PATH TEXT`, for FIFOs that take commands. `\n` in the text is the end of a line. Waits for a reader.
    Write(CString, Vec<u8>),
    /// `wait:tcp:ADDR`, `wait:http://ADDR/PATH`: looks at an even pace until there is an answer.
    Wait(WaitFor),
}

/// What `wait:` waits for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WaitFor {
    /// A server that accepts a connection.
    Tcp(SocketAddr),
    /// An answer from 200 to 299 to a GET request.
    Http(String),
}

/// Splits a line as a shell would, but leaves the escapes of `write:` to `write`.
pub(super) fn split(line: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let kept = line.trim_ascii_start().starts_with(b"write:").then(|| keep_escapes(line));
    let line = kept.as_deref().unwrap_or(line);
    shlex::bytes::split(line).ok_or_else(|| "a quote is not closed; close it".to_owned())
}

/// Outside of quotes a shell takes the backslash of `\n` away. Twice, it stays.
fn keep_escapes(line: &[u8]) -> Vec<u8> {
    let (mut kept, mut quote, mut bytes) = (Vec::new(), None, line.iter().copied().peekable());
    while let Some(byte) = bytes.next() {
        kept.push(byte);
        match (byte, quote) {
            (b'\\', None) => match bytes.peek() {
                Some(b'n' | b't' | b'r') => kept.push(b'\\'),
                // One backslash for the shell, and one for `write`.
                Some(b'\\') => {
                    bytes.next();
                    kept.extend(b"\\\\\\");
                }
                _ => kept.extend(bytes.next()),
            },
            (b'\\', Some(b'"')) => kept.extend(bytes.next()),
            (b'\'' | b'"', None) => quote = Some(byte),
            (_, Some(open)) if byte == open => quote = None,
            _ => {}
        }
    }
    kept
}

/// `\n`, `\t`, `\r` and `\\`: a variable cannot hold the end of a line, because each of its lines is a value.
fn unescape(text: &[u8]) -> Result<Vec<u8>, String> {
    let (mut plain, mut bytes) = (Vec::new(), text.iter());
    while let Some(byte) = bytes.next() {
        if *byte != b'\\' {
            plain.push(*byte);
            continue;
        }
        plain.push(match bytes.next() {
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b'r') => b'\r',
            Some(b'\\') => b'\\',
            _ => {
                return Err("an escape that write does not know; it knows \\n, \\t, \\r and \\\\"
                    .to_owned());
            }
        });
    }
    Ok(plain)
}

/// The task that the words of a hook of this phase mean.
pub(super) fn task(phase: HookPhase, words: Vec<Vec<u8>>) -> Result<Task, String> {
    let first = usable(&words)?;
    let action = first.iter().position(|byte| *byte == b':').map(|colon| first.split_at(colon));
    let Some((name, rest)) = action else { return Ok(program(words)) };
    // `sleep: 5s` means the same as `sleep:5s`.
    let own = rest.get(1..).filter(|rest| !rest.is_empty());
    let args: Vec<&[u8]> = own.into_iter().chain(words.iter().skip(1).map(Vec::as_slice)).collect();
    let builtin = match name {
        b"sleep" => sleep(&args),
        b"http" => http(&args),
        b"https" => Err(format!("{NO_TLS}; write http:POST http://127.0.0.1:9000/drain")),
        b"signal" => signal(phase, &args),
        b"touch" => path("touch", &args).map(Builtin::Touch),
        b"rm" => path("rm", &args).map(Builtin::Remove),
        b"write" => write(&args),
        b"wait" => wait(&args),
        _ => return Ok(program(words)),
    };
    builtin.map(Task::Builtin)
}

/// The first word; an error if execve(2) cannot take these words.
pub(super) fn usable(words: &[Vec<u8>]) -> Result<&[u8], String> {
    let Some(first) = words.first().filter(|first| !first.is_empty()) else {
        return Err("an empty command; write a program and its arguments".to_owned());
    };
    if words.iter().any(|word| word.contains(&0)) {
        return Err("a NUL byte in a word, which execve(2) cannot pass; remove it".to_owned());
    }
    Ok(first)
}

/// A word that only a shell understands.
pub(super) fn shell_operator(task: &Task) -> Option<&str> {
    const OPERATORS: [&str; 9] = ["&&", "||", "|", ";", "&", ">", ">>", "<", "2>&1"];
    let Task::Command(words) = task else { return None };
    words.iter().filter_map(|word| word.to_str()).find(|word| OPERATORS.contains(word))
}

fn program(words: Vec<Vec<u8>>) -> Task {
    Task::Command(words.into_iter().map(OsString::from_vec).collect())
}

fn text(args: &[&[u8]]) -> Result<String, String> {
    let joined = args.join(&b' ');
    String::from_utf8(joined).map_err(|_| "not UTF-8 text; write it in UTF-8".to_owned())
}

fn sleep(args: &[&[u8]]) -> Result<Builtin, String> {
    if args.is_empty() {
        return Err("sleep needs a time; write sleep:5s".to_owned());
    }
    parse::duration(&text(args)?).map(Builtin::Sleep)
}

fn signal(phase: HookPhase, args: &[&[u8]]) -> Result<Builtin, String> {
    let when = match phase {
        HookPhase::PreStart => "before the start",
        HookPhase::PostStop => "after the stop",
        HookPhase::Ready | HookPhase::Drained => "by a probe",
        HookPhase::OnReady | HookPhase::OnReload | HookPhase::PreStop | HookPhase::OnStop => {
            return match args {
                [name] => parse::signal(&text(&[name])?).map(Builtin::Signal),
                _ => Err("signal needs one signal; write signal:TSTP".to_owned()),
            };
        }
    };
    Err(format!(
        "there is no app to signal {when}; move it to on-ready, on-reload, pre-stop or on-stop"
    ))
}

fn c_path(path: &[u8]) -> Result<CString, String> {
    // `usable` has refused such words already.
    CString::new(path).map_err(|_| "a NUL byte in a path; remove it".to_owned())
}

fn path(action: &str, args: &[&[u8]]) -> Result<CString, String> {
    match args {
        [path] => c_path(path),
        [] => Err(format!("{action} needs a path; write {action}:/run/app/draining")),
        _ => Err(format!("{action} takes one path; write a path with spaces in quotes")),
    }
}

fn write(args: &[&[u8]]) -> Result<Builtin, String> {
    match args {
        [path, words @ ..] if !words.is_empty() => {
            Ok(Builtin::Write(c_path(path)?, unescape(&words.join(&b' '))?))
        }
        _ => Err("write needs a path and a text; write write:/run/app.fifo q".to_owned()),
    }
}

fn wait(args: &[&[u8]]) -> Result<Builtin, String> {
    const EXAMPLE: &str = "wait:http://127.0.0.1:15021/healthz/ready or wait:tcp:127.0.0.1:5432";
    let [target] = args else { return Err(format!("wait needs one target; write {EXAMPLE}")) };
    let target = text(&[target])?;
    let Some(place) = target.strip_prefix("tcp:") else {
        return address(&target, EXAMPLE).map(WaitFor::Http).map(Builtin::Wait);
    };
    let (host, port) = place.rsplit_once(':').unwrap_or(("127.0.0.1", place));
    let host = if host == "localhost" { "127.0.0.1" } else { host };
    match format!("{host}:{port}").parse::<SocketAddr>() {
        Ok(place) if place.port() > 0 => Ok(Builtin::Wait(WaitFor::Tcp(place))),
        Ok(_) | Err(_) => {
            Err(format!("'{place}' is not a numeric address and a port; write {EXAMPLE}"))
        }
    }
}

fn http(args: &[&[u8]]) -> Result<Builtin, String> {
    let words = args.iter().map(|arg| text(&[arg])).collect::<Result<Vec<_>, String>>()?;
    let (method, url) = match &words[..] {
        [url] if url.contains("://") => ("GET", url),
        [method, url] => (&method[..], url),
        [url] if url.starts_with("//") => {
            return Err(format!("the name of the action is missing; write http:GET http:{url}"));
        }
        _ => {
            return Err("http needs a URL, optionally after a method; write http:POST \
                        http://127.0.0.1:9000/drain"
                .to_owned());
        }
    };
    if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(format!("'{method}' is not a method; write GET, POST or PUT"));
    }
    Ok(Builtin::Http { method: method.to_owned(), url: address(url, EXAMPLE)? })
}

const EXAMPLE: &str = "http://127.0.0.1:9000/drain";

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    fn read(line: &str) -> Result<Task, String> {
        task(HookPhase::PreStop, split(line.as_bytes())?)
    }

    #[test]
    fn actions() {
        let c = |text: &str| CString::new(text).expect("no 0");
        let http =
            |method: &str, url: &str| Builtin::Http { method: method.into(), url: url.into() };
        for (line, want) in [
            ("sleep:5s", Builtin::Sleep(Duration::from_secs(5))),
            ("sleep:1m 30s", Builtin::Sleep(Duration::from_secs(90))),
            ("sleep: 2.5", Builtin::Sleep(Duration::from_millis(2500))),
            ("signal:TSTP", Builtin::Signal(Signal::TSTP)),
            ("touch:/run/x", Builtin::Touch(c("/run/x"))),
            ("touch:'/run/a b'", Builtin::Touch(c("/run/a b"))),
            ("rm: x", Builtin::Remove(c("x"))),
            ("write:/run/fifo q", Builtin::Write(c("/run/fifo"), b"q".to_vec())),
            ("write:/run/fifo 'a  b' c", Builtin::Write(c("/run/fifo"), b"a  b c".to_vec())),
            (r"write:/run/fifo stop\n", Builtin::Write(c("/run/fifo"), b"stop\n".to_vec())),
            (r"write:/run/fifo 'stop\n'", Builtin::Write(c("/run/fifo"), b"stop\n".to_vec())),
            (r#"write:/run/fifo "a\tb\r\n""#, Builtin::Write(c("/run/fifo"), b"a\tb\r\n".to_vec())),
            (r"write:/run/fifo a\\n", Builtin::Write(c("/run/fifo"), br"a\n".to_vec())),
            (r"write:/run/fifo a\ \ b", Builtin::Write(c("/run/fifo"), b"a  b".to_vec())),
            ("wait:tcp:localhost:5432", Builtin::Wait(WaitFor::Tcp(([127, 0, 0, 1], 5432).into()))),
            ("wait:tcp:80", Builtin::Wait(WaitFor::Tcp(([127, 0, 0, 1], 80).into()))),
            ("wait:tcp:[::1]:80", Builtin::Wait(WaitFor::Tcp((Ipv6Addr::LOCALHOST, 80).into()))),
            (
                "wait:http://localhost:15021/healthz/ready",
                Builtin::Wait(WaitFor::Http("http://127.0.0.1:15021/healthz/ready".into())),
            ),
            ("http:http://127.0.0.1:9000/a?b=1", http("GET", "http://127.0.0.1:9000/a?b=1")),
            ("http:POST http://localhost/x", http("POST", "http://127.0.0.1:80/x")),
            ("http:PUT http://[::1]:81#top", http("PUT", "http://[::1]:81/")),
            ("http:GET http://[::1]?x", http("GET", "http://[::1]:80/?x")),
        ] {
            assert_eq!(read(line), Ok(Task::Builtin(want)), "{line}");
        }
        for line in ["sleep 5", "/bin/echo http:x", "a:b c", "nginx -s quit"] {
            assert!(matches!(read(line), Ok(Task::Command(_))), "{line}");
        }
    }

    #[test]
    fn an_action_that_cannot_be_done_says_what_to_write() {
        for (line, want) in [
            ("", "an empty command; write a program and its arguments"),
            ("''", "an empty command; write a program and its arguments"),
            ("'a", "a quote is not closed; close it"),
            ("sleep:", "sleep needs a time; write sleep:5s"),
            ("sleep:long", "not a duration; write 10s, 1m 30s, 250ms or a number of seconds"),
            ("signal:", "signal needs one signal; write signal:TSTP"),
            ("signal:HUP USR1", "signal needs one signal; write signal:TSTP"),
            ("signal:NONE", "not a signal; write TERM, SIGTERM, 15 or RTMIN+3"),
            ("touch:", "touch needs a path; write touch:/run/app/draining"),
            ("rm:", "rm needs a path; write rm:/run/app/draining"),
            ("rm:a b", "rm takes one path; write a path with spaces in quotes"),
            ("write:/a", "write needs a path and a text; write write:/run/app.fifo q"),
            ("write:", "write needs a path and a text; write write:/run/app.fifo q"),
            (
                "wait:",
                "wait needs one target; write wait:http://127.0.0.1:15021/healthz/ready or \
                 wait:tcp:127.0.0.1:5432",
            ),
            (
                "wait:tcp:db:5432",
                "'db:5432' is not a numeric address and a port; write \
                 wait:http://127.0.0.1:15021/healthz/ready or wait:tcp:127.0.0.1:5432",
            ),
            (
                "http:",
                "http needs a URL, optionally after a method; write http:POST \
                 http://127.0.0.1:9000/drain",
            ),
            (
                "http:POST",
                "http needs a URL, optionally after a method; write http:POST \
                 http://127.0.0.1:9000/drain",
            ),
            (
                "http://127.0.0.1/x",
                "the name of the action is missing; write http:GET http://127.0.0.1/x",
            ),
            ("http:post http://127.0.0.1/", "'post' is not a method; write GET, POST or PUT"),
            ("http:POST 127.0.0.1/", "not an http:// address; write http://127.0.0.1:9000/drain"),
            ("http:https://127.0.0.1/", "graceinit has no TLS; write http://127.0.0.1:9000/drain"),
            (
                "https://127.0.0.1/",
                "graceinit has no TLS; write http:POST \
                 http://127.0.0.1:9000/drain",
            ),
            (
                "http:http://app.local/",
                "'app.local' is not a numeric address, and graceinit resolves no names; write 127.0.0.1, \
                 [::1] or localhost",
            ),
            (
                "http:http://[::1/",
                "'[:' is not a numeric address, and graceinit resolves no names; write \
                 127.0.0.1, [::1] or localhost",
            ),
            ("http:http://127.0.0.1:0/", "not a port; write a number from 1 to 65535"),
            ("http:http://127.0.0.1:/", "not a port; write a number from 1 to 65535"),
            ("http:http://127.0.0.1:99999/", "not a port; write a number from 1 to 65535"),
            (
                "http:'http://127.0.0.1/a b'",
                "a space or a non-ASCII character in the URL; write a space as %20",
            ),
        ] {
            assert_eq!(read(line), Err(want.to_owned()), "{line}");
        }
        for (phase, when) in
            [(HookPhase::PreStart, "before the start"), (HookPhase::PostStop, "after the stop")]
        {
            let why = task(phase, vec![b"signal:TERM".to_vec()]).expect_err("no app");
            assert_eq!(
                why,
                format!(
                    "there is no app to signal {when}; move it to on-ready, on-reload, pre-stop or \
                     on-stop"
                )
            );
        }
    }
}
