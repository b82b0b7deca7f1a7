//! The address of an HTTP server.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

pub(super) const NO_TLS: &str = "graceinit has no TLS";

/// `http://ADDRESS:PORT/PATH` with the address in numbers, and the port written out. A message about another text
/// shows `example`.
pub(super) fn address(url: &str, example: &str) -> Result<String, String> {
    let Some(rest) = url.strip_prefix("http://") else {
        let why = if url.starts_with("https://") { NO_TLS } else { "not an http:// address" };
        return Err(format!("{why}; write {example}"));
    };
    if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("a space or a non-ASCII character in the URL; write a space as %20".to_owned());
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let path = path.split('#').next().unwrap_or_default();
    let slash = if path.starts_with('/') { "" } else { "/" };
    let (host, port) = match authority.rsplit_once(':') {
        // The colons of an IPv6 address without a port.
        Some(_) if authority.ends_with(']') => (authority, None),
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let ip = match (bare, host) {
        (Some(bare), _) => bare.parse().ok().map(IpAddr::V6),
        (None, "localhost") => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        (None, host) => host.parse().ok().map(IpAddr::V4),
    };
    let Some(ip) = ip else {
        return Err(format!(
            "'{host}' is not a numeric address, and graceinit resolves no names; write \
             127.0.0.1, [::1] or localhost"
        ));
    };
    let port = match port.map(str::parse::<u16>) {
        None => 80,
        Some(Ok(port)) if port > 0 => port,
        Some(_) => return Err("not a port; write a number from 1 to 65535".to_owned()),
    };
    Ok(format!("http://{}{slash}{path}", SocketAddr::new(ip, port)))
}
