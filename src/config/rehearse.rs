//! `--rehearse` and its options.

use std::ffi::CString;
use std::net::SocketAddr;
use std::time::Duration;

use super::platform::choice;
use super::reader::Reader;
use super::source::Source;
use super::{Check, address, parse};
use crate::cli::{Group, OPTIONS, OptionId};

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Url {
    /// As it was written, without the weight.
    pub text: String,
    /// An address of this host.
    pub to: SocketAddr,
    /// One of [`METHODS`].
    pub method: &'static str,
    /// With the query.
    pub path: String,
    /// How often it is asked for, compared with the others.
    pub weight: u32,
}

/// The settings of a rehearsal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rehearsal {
    /// What the load asks for; there is at least one.
    pub urls: Vec<Url>,
    /// The time from the stop signal to SIGKILL, where the word of `--rehearse` has one.
    pub time: Option<Duration>,
    /// Requests in a second.
    pub rate: u32,
    /// How long the balancer goes on sending requests after the stop signal.
    pub lag: Duration,
    /// What the balancer asks instead of being told.
    pub health: Option<Url>,
    /// Clients keep their connections to the app itself, and send on them until it closes them.
    pub pinned: bool,
    /// How many stops must lose nothing.
    pub rounds: u32,
    /// No search.
    pub only: bool,
    /// The result as JSON.
    pub json: bool,
    /// The settings that were found as a file.
    pub toml: bool,
    /// Where the page is written.
    pub html: Option<CString>,
}

/// More would measure the load generator.
const FASTEST: u32 = 5000;
/// More would take hours.
const MOST_ROUNDS: u32 = 100;
/// A longer lag leaves no time for the stop on any platform.
const LONGEST_LAG: Duration = Duration::from_secs(120);
const EXAMPLE: &str = ":8080/path";
/// The methods that a load can have: each of them is answered with a body that has an end (RFC 9110, section 9.3). The
/// requests have an empty body.
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// `None`: there is no rehearsal. It has mistakes of its own, and what it needs is missing: both are recorded.
#[cold]
fn read_all(reader: &mut Reader<'_>) -> Rehearsal {
    let word = reader.one(OptionId::Rehearse, choice::check).flatten();
    let time = match word {
        Some(Check::Limit { time, .. }) => time,
        Some(Check::Plain) | None => None,
    };
    let only = reader.one(OptionId::Only, parse::truth).unwrap_or(false);
    let urls = reader.each(OptionId::Url, url);
    if urls.is_empty() && !reader.has_failed(OptionId::Url) {
        reader.wrong_at_all(format!(
            "--rehearse does not know what to ask the app for; add --url {EXAMPLE}"
        ));
    }
    if reader.lookup.is_set(OptionId::Check) {
        reader.wrong_at_all(
            "unable to use --rehearse together with --check: each of them is a mode of its own; choose one"
                .to_owned(),
        );
    }
    Rehearsal {
        urls,
        time,
        rate: reader.one(OptionId::Rate, |text| number(text, FASTEST)).unwrap_or(200),
        lag: reader.one(OptionId::Lag, lag).unwrap_or(Duration::from_secs(1)),
        health: reader.one(OptionId::RehearseHealth, health),
        pinned: reader.one(OptionId::Pinned, parse::truth).unwrap_or(false),
        rounds: reader.one(OptionId::Rounds, |text| number(text, MOST_ROUNDS)).unwrap_or(if only {
            1
        } else {
            3
        }),
        only,
        json: reader.one(OptionId::Json, parse::truth).unwrap_or(false),
        toml: reader.one(OptionId::RehearseToml, parse::truth).unwrap_or(false),
        html: reader.one_bytes(OptionId::RehearseHtml, |text| parse::file_path(text, "stop.html")),
    }
}

/// The settings of a rehearsal, if there is one.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<Box<Rehearsal>> {
    if reader.lookup.given.options.is_empty() {
        return None;
    }
    if reader.lookup.given.has(OptionId::Rehearse) {
        return Some(Box::new(read_all(reader)));
    }
    let lonely = OPTIONS.iter().filter(|opt| opt.group == Group::Rehearsal);
    for opt in lonely.filter(|opt| reader.lookup.given.has(opt.id)).collect::<Vec<_>>() {
        let flag = Source::Flag(opt.id);
        reader.wrong_at_all(format!(
            "unable to use {flag}: it has no effect without --rehearse; add --rehearse, or leave {flag} out"
        ));
    }
    None
}

fn number(text: &str, most: u32) -> Result<u32, String> {
    match parse::some_count(text) {
        Ok(number) if number <= most => Ok(number),
        _ => Err(format!("not a number from 1 to {most}")),
    }
}

fn lag(text: &str) -> Result<Duration, String> {
    match parse::duration(text)? {
        lag if lag <= LONGEST_LAG => Ok(lag),
        _ => Err(format!("too long; write at most {}", parse::written(LONGEST_LAG))),
    }
}

fn url(text: &str) -> Result<Url, String> {
    let weighted = text.rsplit_once('*').and_then(|(url, number)| {
        // A path may have a star.
        Some((url, number.parse().ok().filter(|weight| (1..=1000).contains(weight))?))
    });
    let (text, weight) = weighted.unwrap_or((text, 1));
    let (method, address) = match text.split_once(':') {
        Some((word, rest)) if !word.is_empty() && word.chars().all(|c| c.is_ascii_uppercase()) => {
            let known = METHODS.iter().find(|method| **method == word);
            let why = || format!("no method of the load; write one of {}", METHODS.join(", "));
            (*known.ok_or_else(why)?, rest)
        }
        _ => ("GET", text),
    };
    let whole = match address.starts_with(':') {
        true => format!("http://127.0.0.1{address}"),
        false => address.to_owned(),
    };
    let whole = address::address(&whole, EXAMPLE)?;
    let rest = whole.strip_prefix("http://").unwrap_or(&whole);
    let (to, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let to: SocketAddr = to.parse().map_err(|_| format!("no address; write {EXAMPLE}"))?;
    if !to.ip().is_loopback() {
        return Err(format!(
            "the rehearsal sends its load to this host only; write {EXAMPLE} or http://127.0.0.1:PORT/PATH"
        ));
    }
    Ok(Url { text: text.to_owned(), to, method, path: path.to_owned(), weight })
}

/// What a balancer asks.
fn health(text: &str) -> Result<Url, String> {
    match url(text)? {
        url if url.method == "GET" => Ok(url),
        _ => Err(format!("a health check is a GET; write {EXAMPLE}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_this_host_are_read_with_their_weight() {
        for (text, to, path, weight) in [
            (":8080/api/slow", "127.0.0.1:8080", "/api/slow", 1),
            (":8080", "127.0.0.1:8080", "/", 1),
            (":8080/a*b*3", "127.0.0.1:8080", "/a*b", 3),
            (":8080/a*b", "127.0.0.1:8080", "/a*b", 1),
            ("http://localhost:1/?q=2", "127.0.0.1:1", "/?q=2", 1),
            ("http://[::1]:1/x", "[::1]:1", "/x", 1),
            ("http://127.1.2.3/", "127.1.2.3:80", "/", 1),
        ] {
            let url = url(text).expect(text);
            assert_eq!((url.to.to_string().as_str(), url.path.as_str()), (to, path), "{text}");
            assert_eq!((url.method, url.weight), ("GET", weight), "{text}");
        }
    }

    #[test]
    fn a_method_stands_before_the_address() {
        for (text, method, to) in [
            ("POST::8080/x*3", "POST", "127.0.0.1:8080"),
            ("DELETE:http://[::1]:1/x", "DELETE", "[::1]:1"),
            ("GET::8080", "GET", "127.0.0.1:8080"),
        ] {
            let url = url(text).expect(text);
            assert_eq!((url.method, url.to.to_string().as_str()), (method, to), "{text}");
        }
        for (text, why) in [
            ("HEAD::8080/x", "GET, POST"),
            ("POST:8080/x", "not an http:// address"),
            ("post::8080/x", "not an http:// address"),
        ] {
            let refusal = url(text).expect_err(text);
            assert!(refusal.contains(why), "{text}: {refusal}");
        }
        assert!(health(":8080/x").is_ok());
        assert!(health("POST::8080/x").is_err());
    }

    #[test]
    fn no_load_leaves_this_host() {
        for (text, why) in [
            ("http://10.0.0.1:80/", "this host only"),
            ("http://0.0.0.0:80/", "this host only"),
            ("http://[2001:db8::1]:80/", "this host only"),
            ("http://example.org/", "no names"),
            ("https://127.0.0.1/", "no TLS"),
            ("8080", "not an http:// address"),
            (":0/", "not a port"),
            (":80/a b", "%20"),
        ] {
            let refusal = url(text).expect_err(text);
            assert!(refusal.contains(why), "{text}: {refusal}");
        }
    }
}
