//! HTTP/1 (RFC 9112): parses requests and writes answers. Pure.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};

/// The longest head of a request.
pub const LONGEST_HEAD: usize = 8192;
/// The most header lines of a request; browsers send fewer than 30.
const HEADERS: usize = 64;
/// The longest body that is read and thrown away. After a longer one the connection ends.
const LONGEST_BODY: u64 = 8192;

/// The result of parsing some bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Parsed {
    /// The beginning of a request: more bytes are needed.
    Partial,
    /// Not a request; the status to refuse it with. Where the next one begins is not known.
    Wrong(u16),
    /// A request.
    Request(Request),
}

/// The parts of a request that matter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// The length of its head.
    pub head: usize,
    /// The length of its body, which is thrown away.
    pub body: u64,
    /// `GET`
    pub method: String,
    /// `/readyz`, without a query.
    pub path: String,
    /// HTTP/1.0
    pub old: bool,
    /// Whether the connection ends after the answer.
    pub close: bool,
    /// Its `Accept`, empty if there is none.
    pub accept: String,
    /// Every host that it names, in `Host` or in its target, is this host. A browser that has looked up `evil.example`
    /// as 127.0.0.1 names `evil.example` (DNS rebinding).
    pub for_this_host: bool,
}

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// `200`
    pub status: u16,
    /// The body.
    pub body: Cow<'static, str>,
    /// The type of the body.
    pub content_type: &'static str,
    /// Further header lines.
    pub headers: &'static [(&'static str, &'static str)],
    /// Whether it counts for `--drain-acks`: it answered "not ready" after a stop request, so the balancer that asked
    /// knows now.
    pub counts: bool,
}

/// An answer in plain text.
pub fn text(status: u16, body: impl Into<Cow<'static, str>>) -> Answer {
    let content_type = "text/plain; charset=utf-8";
    Answer { status, body: body.into(), content_type, headers: &[], counts: false }
}

/// Parses a request at the beginning of `bytes`.
pub fn parse(bytes: &[u8]) -> Parsed {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let head = match request.parse(bytes) {
        Ok(httparse::Status::Complete(head)) if head <= LONGEST_HEAD => head,
        Ok(httparse::Status::Partial) if bytes.len() < LONGEST_HEAD => return Parsed::Partial,
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Parsed::Wrong(431),
        Err(_) => return Parsed::Wrong(400),
    };
    let (Some(method), Some(target), Some(version)) =
        (request.method, request.path, request.version)
    else {
        return Parsed::Wrong(400);
    };
    let old = version == 0;
    let mut close = old;
    let mut body = None;
    let mut accept = String::new();
    let mut for_this_host = authority(target).is_none_or(|host| is_this_host(host.as_bytes()));
    for header in request.headers.iter() {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("connection") {
            for word in header.value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                close |= word.eq_ignore_ascii_case(b"close");
                close &= !(old && word.eq_ignore_ascii_case(b"keep-alive"));
            }
        } else if is("content-length") {
            match length(header.value) {
                Some(length) if body.is_none_or(|known| known == length) => body = Some(length),
                // RFC 9112, section 6.3: it is unknown where the next request begins.
                _ => return Parsed::Wrong(400),
            }
        } else if is("host") {
            for_this_host &= is_this_host(header.value);
        } else if is("accept") {
            // Several lines are one list (RFC 9110, section 5.3), no longer than the head.
            accept.push_str(if accept.is_empty() { "" } else { ", " });
            accept.push_str(&String::from_utf8_lossy(header.value));
        }
    }
    // Such a body is not read: the request is answered without it.
    let unbounded = request.headers.iter().any(|header| {
        ["transfer-encoding", "expect", "upgrade"]
            .iter()
            .any(|name| header.name.eq_ignore_ascii_case(name))
    });
    let body = body.unwrap_or(0);
    if unbounded || body > LONGEST_BODY {
        close = true;
    }
    Parsed::Request(Request {
        head,
        body,
        method: method.to_owned(),
        path: path(target).to_owned(),
        old,
        close,
        accept,
        for_this_host,
    })
}

/// Whether a `Host` is `localhost` or an address of the loopback network, with or without a port.
fn is_this_host(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host.trim_ascii()) else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let six = |host: &str| {
        host.strip_prefix('[')?
            .strip_suffix(']')?
            .parse::<Ipv6Addr>()
            .ok()
            .map(|ip| ip.to_canonical())
    };
    let address = six(host).or_else(|| six(name)).or_else(|| name.parse::<IpAddr>().ok());
    name.trim_end_matches('.').eq_ignore_ascii_case("localhost")
        || address.is_some_and(|address| address.is_loopback())
}

/// The host of a target as for a proxy, `http://host/path`.
fn authority(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    (!scheme.contains(['/', '?'])).then(|| rest.split('/').next().unwrap_or(rest))
}

fn length(digits: &[u8]) -> Option<u64> {
    let valid = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    valid.then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

/// The path of a request's target, which is `/path?query`, or `http://host/path` as for a proxy.
fn path(target: &str) -> &str {
    let target = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains(['/', '?']) => {
            rest.find('/').map_or("/", |slash| &rest[slash..])
        }
        _ => target,
    };
    target.split(['?', '#']).next().unwrap_or(target)
}

/// Appends an answer to `out`, for HEAD without the body.
pub fn write(out: &mut Vec<u8>, answer: &Answer, request: Option<&Request>) {
    let Answer { status, body, content_type, headers, .. } = answer;
    let reason = reason(*status);
    // No cache may keep it: the next answer may differ.
    let mut head = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n",
        body.len()
    );
    for (name, value) in *headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    if *status == 405 {
        head.push_str("Allow: GET, HEAD\r\n");
    }
    match request {
        Some(request) if !request.close && request.old => {
            head.push_str("Connection: keep-alive\r\n");
        }
        Some(request) if !request.close => {}
        _ => head.push_str("Connection: close\r\n"),
    }
    head.push_str("\r\n");
    out.extend_from_slice(head.as_bytes());
    if request.is_none_or(|request| request.method != "HEAD") {
        out.extend_from_slice(body.as_bytes());
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        // The reason may be empty (RFC 9112, section 4).
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(bytes: &str) -> Request {
        match parse(bytes.as_bytes()) {
            Parsed::Request(request) => request,
            other => panic!("{bytes:?}: {other:?}"),
        }
    }

    #[test]
    fn requests() {
        let text = "GET /readyz?verbose HTTP/1.1\r\nHost: x\r\n\r\nGET /next";
        let plain = request(text);
        assert_eq!((plain.method.as_str(), plain.path.as_str()), ("GET", "/readyz"));
        assert_eq!((&text[plain.head..], plain.body), ("GET /next", 0));
        assert!(!plain.old && !plain.close);
        assert_eq!(plain.accept, "");
        assert_eq!(
            request("GET / HTTP/1.1\r\naccept: a/b\r\nACCEPT: */*\r\n\r\n").accept,
            "a/b, */*"
        );
        assert!(request("GET / HTTP/1.0\r\n\r\n").close);
        assert!(!request("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").close);
        assert!(request("GET / HTTP/1.1\r\nconnection: te, CLOSE\r\n\r\n").close);
        assert_eq!(request("GET http://h:1/livez HTTP/1.1\r\n\r\n").path, "/livez");
        assert_eq!(request("GET http://h HTTP/1.1\r\n\r\n").path, "/");
        assert_eq!(request("GET /a?u=http://h/livez HTTP/1.1\r\n\r\n").path, "/a");
        // `printf | nc` ends lines with a mere newline.
        assert_eq!(request("GET /livez HTTP/1.0\n\n").path, "/livez");
    }

    #[test]
    fn hosts() {
        for host in [
            "localhost",
            "LocalHost:9180",
            "localhost.",
            "127.0.0.1",
            "127.9.9.9:1",
            "[::1]",
            "[::1]:9180",
            "[::ffff:127.0.0.1]:9180",
            " 127.0.0.1 ",
        ] {
            let bytes = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert!(request(&bytes).for_this_host, "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:9180",
            "127.0.0.1.evil.example",
            "localhost.evil.example:9180",
            "evil.localhost:9180",
            "10.0.0.1:9180",
            "[2001:db8::1]",
            "127.0.0.1:x",
            "127.0.0.1@evil.example",
            "localhost\r\nHost: evil.example",
            "evil.example\r\nHost: localhost",
        ] {
            let bytes = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert!(!request(&bytes).for_this_host, "{host}");
        }
        assert!(request("GET / HTTP/1.0\r\n\r\n").for_this_host);
        assert!(request("GET / HTTP/1.1\r\n\r\n").for_this_host);
        assert!(request("GET http://localhost:1/ HTTP/1.1\r\n\r\n").for_this_host);
        assert!(
            !request("GET http://evil.example HTTP/1.1\r\nHost: localhost\r\n\r\n").for_this_host
        );
        assert!(request("GET /?u=http://evil.example/ HTTP/1.1\r\n\r\n").for_this_host);
    }

    #[test]
    fn bodies() {
        let small = request("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello");
        assert_eq!((small.body, small.close), (5, false));
        assert!(request("POST / HTTP/1.1\r\nContent-Length: 8193\r\n\r\n").close);
        assert!(request("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n").close);
        assert!(request("POST / HTTP/1.1\r\nExpect: 100-continue\r\n\r\n").close);
        for twisted in
            ["-1", "+1", "1 1", "", "0x1", "99999999999999999999", "1\r\nContent-Length: 2"]
        {
            let bytes = format!("GET / HTTP/1.1\r\nContent-Length: {twisted}\r\n\r\n");
            assert_eq!(parse(bytes.as_bytes()), Parsed::Wrong(400), "{twisted}");
        }
    }

    #[test]
    fn bounds() {
        let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(LONGEST_HEAD));
        assert_eq!(parse(&long.as_bytes()[..LONGEST_HEAD - 1]), Parsed::Partial);
        assert_eq!(parse(&long.as_bytes()[..LONGEST_HEAD]), Parsed::Wrong(431));
        assert_eq!(parse(format!("{long}\r\n\r\n").as_bytes()), Parsed::Wrong(431));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: x\r\n".repeat(HEADERS + 1));
        assert_eq!(parse(many.as_bytes()), Parsed::Wrong(431));
        for garbage in ["\0", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\x16\x03\x01\x02\0\x01"] {
            assert_eq!(parse(garbage.as_bytes()), Parsed::Wrong(400), "{garbage:?}");
        }
    }

    #[test]
    fn answers() {
        let answer = text(503, "not ready: pre-stop\n");
        let mut out = Vec::new();
        write(&mut out, &answer, Some(&request("GET / HTTP/1.1\r\n\r\n")));
        let expected = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: 20\r\nCache-Control: no-store\r\n\
             X-Content-Type-Options: nosniff\r\n\r\nnot ready: pre-stop\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);
        out.clear();
        write(&mut out, &answer, Some(&request("HEAD / HTTP/1.1\r\nConnection: close\r\n\r\n")));
        let out = String::from_utf8_lossy(&out).into_owned();
        assert!(out.contains("Content-Length: 20\r\n") && out.contains("Connection: close\r\n"));
        assert!(out.ends_with("\r\n\r\n"));
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_parsed(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            parse(&bytes);
        }

        #[test]
        fn any_request_ends_within_its_bytes(
            path in "/[a-z?%/]{0,20}",
            name in "[A-Za-z-]{1,20}",
            value in "[ -~]{0,40}",
            cut in 0usize..100,
        ) {
            let bytes = format!("GET {path} HTTP/1.1\r\n{name}: {value}\r\n\r\n");
            if let Parsed::Request(request) = parse(bytes.as_bytes()) {
                prop_assert_eq!(request.head, bytes.len());
            }
            // A part is never taken for the whole.
            let part = &bytes.as_bytes()[..cut.min(bytes.len() - 1)];
            prop_assert!(!matches!(parse(part), Parsed::Request(_)));
        }
    }
}
