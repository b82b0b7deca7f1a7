//! `--health`, `--live`, `--health-timeout`: what the observer asks the app when a client asks the observer.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

use super::address;
use super::parse;
use super::reader::Reader;
use super::source::Found;
use crate::cli::OptionId;
use crate::sys::listen::Address;

/// More checks are taken for an error of a template.
const MOST: usize = 16;
const USUAL_TIMEOUT: Duration = Duration::from_secs(1);

/// How a check looks at the app.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Look {
    /// `tcp:PORT`, on loopback.
    Tcp(u16),
    /// `unix:PATH`
    Unix(Address),
    /// `http://ADDRESS:PORT/PATH`
    Http {
        /// Of the server.
        address: SocketAddr,
        /// With the query.
        path: String,
    },
    /// `file:PATH`
    File(PathBuf),
}

/// One `--health` or `--live`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    /// As it was written.
    pub text: String,
    /// How it looks.
    pub look: Look,
}

/// The checks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Health {
    /// `--health`
    pub health: Vec<Check>,
    /// `--live`
    pub live: Vec<Check>,
    /// `--health-timeout`
    pub timeout: Duration,
}

impl Default for Health {
    fn default() -> Health {
        Health { health: Vec::new(), live: Vec::new(), timeout: USUAL_TIMEOUT }
    }
}

#[cold]
pub(super) fn read(reader: &mut Reader<'_>) -> Health {
    let health = checks(reader, OptionId::Health);
    let live = checks(reader, OptionId::Live);
    let timeout = reader.one(OptionId::HealthTimeout, parse::some_time);
    Health { health, live, timeout: timeout.unwrap_or(USUAL_TIMEOUT) }
}

fn checks(reader: &mut Reader<'_>, id: OptionId) -> Vec<Check> {
    let looks = reader.each_bytes(id, look);
    if reader.has_failed(id) {
        return Vec::new();
    }
    let found = reader.all_known(id).to_vec();
    for (index, one) in found.iter().enumerate() {
        if looks.iter().take(index).any(|look| Some(look) == looks.get(index)) {
            reader.wrong(id, one, "it is given twice; give it once");
        } else if index == MOST {
            reader.wrong(id, one, "there are more than 16 checks; write fewer");
            break;
        }
    }
    let texts = found.iter().map(Found::text);
    texts.zip(looks).map(|(text, look)| Check { text, look }).collect()
}

/// Refuses what has no effect.
#[cold]
pub(super) fn conflicts(reader: &mut Reader<'_>, health: &Health) {
    let listens =
        !reader.all_known(OptionId::Listen).is_empty() || reader.has_failed(OptionId::Listen);
    for id in [OptionId::Health, OptionId::Live] {
        let useless = !listens && !reader.has_failed(id);
        if let Some(found) = reader.all_known(id).first().cloned().filter(|_| useless) {
            let why =
                "it has no effect where probes are not answered; add --listen ADDR, or remove it";
            reader.wrong(id, &found, why);
        }
    }
    let none = health.health.is_empty() && health.live.is_empty();
    let failed = [OptionId::Health, OptionId::Live].iter().any(|id| reader.has_failed(*id));
    if let Some(found) = reader.asked(OptionId::HealthTimeout).cloned().filter(|_| none && !failed)
    {
        let why = "it has no effect without a check; add --health http://127.0.0.1:8080/health, or remove it";
        reader.wrong(OptionId::HealthTimeout, &found, why);
    }
}

/// One check.
fn look(text: &OsStr) -> Result<Look, String> {
    let all = text.as_bytes().trim_ascii();
    let colon = all.iter().position(|byte| *byte == b':').unwrap_or(all.len());
    let (kind, rest) = all.split_at(colon);
    let rest = rest.get(1..).unwrap_or_default().trim_ascii();
    let words = |bytes: &[u8]| {
        let text = String::from_utf8(bytes.to_vec());
        text.map_err(|_| "not UTF-8 text; write it in UTF-8".to_owned())
    };
    match kind {
        b"tcp" => {
            let port = parse::port(&words(rest)?);
            port.map(Look::Tcp).map_err(|why| format!("{why} of this host, as in tcp:8080"))
        }
        b"unix" => Address::parse(&words(all)?).map(Look::Unix),
        b"http" | b"https" => {
            let example = "http://127.0.0.1:8080/health";
            let url = address::address(&words(all)?, example)?;
            let rest = url.strip_prefix("http://").unwrap_or(&url);
            let (address, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let address = address.parse().map_err(|_| format!("no address; write {example}"))?;
            Ok(Look::Http { address, path: path.to_owned() })
        }
        b"file" if !rest.is_empty() => {
            let path = parse::path(rest, "file:/run/app/healthy")?;
            Ok(Look::File(OsString::from_vec(path.into_bytes()).into()))
        }
        b"file" => Err("the path is missing; write file:/run/app/healthy".to_owned()),
        _ => {
            Err("not a check; write http://127.0.0.1:8080/health, tcp:8080, unix:/run/app.sock or \
                  file:/run/app/healthy"
                .to_owned())
        }
    }
}
