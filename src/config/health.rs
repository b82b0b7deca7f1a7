//! `--health`, `--live`, `--health-timeout`: what the observer asks the app when a client asks the observer.

use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::address;
use super::parse;
use super::reader::Reader;
use super::source::Found;
use crate::cli::OptionId;
use crate::sys::dial::{Check, Checks, Look};
use crate::sys::listen::Address;

/// More checks are taken for an error of a template.
const MOST: usize = 16;
#[cold]
pub(super) fn read(reader: &mut Reader<'_>) -> Checks {
    let health = checks(reader, OptionId::Health);
    let live = checks(reader, OptionId::Live);
    let timeout = reader.one(OptionId::HealthTimeout, parse::some_time);
    Checks { health, live, timeout: timeout.unwrap_or(Checks::default().timeout) }
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
pub(super) fn conflicts(reader: &mut Reader<'_>, health: &Checks) {
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

/// An app may listen on one family only.
fn on_loopback(port: u16) -> Look {
    let on = |ip: IpAddr| Address::Tcp(SocketAddr::new(ip, port));
    Look::Connect(vec![on(Ipv4Addr::LOCALHOST.into()), on(Ipv6Addr::LOCALHOST.into())])
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
            port.map(on_loopback).map_err(|why| format!("{why} of this host, as in tcp:8080"))
        }
        b"unix" => Address::parse(&words(all)?).map(|address| Look::Connect(vec![address])),
        b"http" | b"https" => {
            let example = "http://127.0.0.1:8080/health";
            let url = address::address(&words(all)?, example)?;
            let rest = url.strip_prefix("http://").unwrap_or(&url);
            let (address, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let address: SocketAddr =
                address.parse().map_err(|_| format!("no address; write {example}"))?;
            let (host, path) = (address.to_string(), path.to_owned());
            Ok(Look::Http { address: Address::Tcp(address), host, path })
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
