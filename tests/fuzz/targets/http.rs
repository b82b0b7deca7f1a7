//! HTTP: requests to the observer, and answers of other servers.

use graceinit::http_client;
use graceinit::observer::accept;
use graceinit::observer::health::take_status;
use graceinit::observer::http::{self, LONGEST_HEAD, Parsed, Request};
use graceinit::tools::rehearse::answer::{Answer, Class, End, Want};

use super::{Draw, Replay, pieces};

/// The longest body that is accepted here.
const LONGEST: u64 = 1000;

/// Requests of clients, and the answers to them.
pub(super) fn request(bytes: &[u8]) {
    match http::parse(bytes) {
        Parsed::Partial => assert!(bytes.len() < LONGEST_HEAD),
        Parsed::Wrong(status) => {
            assert!([400, 431].contains(&status), "{status}");
            // What follows makes no request of it.
            let more = http::parse(&[bytes, b"\r\n\r\n"].concat());
            assert!(matches!(more, Parsed::Wrong(_)), "{more:?}");
        }
        Parsed::Request(request) => understood(bytes, &request),
    }
}

fn understood(bytes: &[u8], request: &Request) {
    let head = request.head;
    assert!(head <= LONGEST_HEAD && head <= bytes.len(), "{request:?}");
    // The head alone decides, and no part of it.
    assert_eq!(http::parse(&bytes[..head]), Parsed::Request(request.clone()));
    assert_eq!(http::parse(&bytes[..head - 1]), Parsed::Partial);
    assert!(!request.path.contains(['?', '#', ' ', '\n']), "{request:?}");
    // Bytes that are not UTF-8 become three.
    let texts = [&request.method, &request.path, &request.accept];
    assert!(texts.iter().map(|text| text.len()).sum::<usize>() <= 3 * head, "{request:?}");
    for kind in ["text/html", "application/json", "application/openmetrics-text"] {
        let wanted = accept::wanted(&request.accept, kind, &["1.0.0"]);
        assert!(wanted.weight <= 1000 && wanted.specific <= 3, "{wanted:?}");
    }
    // A client understands the answer.
    let mut out = Vec::new();
    http::write(&mut out, &http::text(503, "not ready: drain\n"), Some(request));
    if request.method == "HEAD" {
        assert!(out.ends_with(b"\r\n\r\n"));
        return;
    }
    let answer = http_client::ask(Replay::whole(&out), "GET", "h", "/").expect("an answer");
    assert_eq!((answer.status, &*answer.reason), (503, "503 Service Unavailable"));
    assert_eq!(answer.body(LONGEST).expect("a body"), b"not ready: drain\n");
    let mut seen = Answer::new(Want::Body(b"not ready: drain\n".to_vec()));
    seen.take(&out);
    assert_eq!(seen.class(End::Open), Some(Class::Status(503)));
    assert_eq!(seen.closes(), request.close);
}

/// Answers to hooks, `wait:http`, `--drained` and `--probe`.
pub(super) fn answer(bytes: &[u8]) {
    let heard = |piece: usize| {
        let replay = Replay { left: bytes, piece };
        let answer = http_client::ask(replay, "GET", "h", "/").ok()?;
        let (status, reason) = (answer.status, answer.reason.clone());
        Some((status, reason, answer.body(LONGEST).ok()))
    };
    let whole = heard(usize::MAX);
    assert_eq!(whole, heard(1 + bytes.len() % 5), "in pieces");
    if let Some((status, reason, body)) = &whole {
        // Three digits (RFC 9112, section 4).
        assert!(
            (0..=999).contains(status) && reason.starts_with(&format!("{status:03}")),
            "{reason}"
        );
        assert!(reason.len() <= 3 * 1024);
        assert!(body.as_ref().is_none_or(|body| body.len() as u64 <= LONGEST));
    }
    let draw = &mut Draw(bytes);
    let (status, form) = (200 + draw.short() % 400, draw.byte());
    let cut = usize::from(draw.byte());
    let body = draw.some(LONGEST as usize);
    let (text, ends) = written(status, form, body);
    let read = |text: &[u8]| {
        let answer = http_client::ask(Replay::whole(text), "GET", "h", "/")?;
        Ok::<_, std::io::Error>((answer.status, answer.body(LONGEST)?))
    };
    assert_eq!(read(&text).expect("an answer"), (status, body.to_vec()));
    // Without a length the end of the connection is the end of the body. A last chunk says all.
    let ends = ends.unwrap_or(0);
    if let Some(cut) = ends.checked_sub(1 + cut) {
        assert!(read(&text[..cut]).is_err(), "cut at {cut} of {ends}");
    }
}

/// An answer with a body in one of three forms, and where it is whole; `None`: at the end of the connection.
fn written(status: u16, form: u8, body: &[u8]) -> (Vec<u8>, Option<usize>) {
    let head = format!("HTTP/1.1 {status} Because\r\nServer: x\r\n");
    match form % 3 {
        0 => {
            let head = format!("{head}content-length: {}\r\n\r\n", body.len());
            let text = [head.as_bytes(), body].concat();
            let end = text.len();
            (text, Some(end))
        }
        1 => ([head.as_bytes(), b"Connection: close\r\n\r\n", body].concat(), None),
        _ => {
            let mut text = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
            for piece in pieces(body) {
                text.extend(format!("{:x};n=v\r\n", piece.len()).as_bytes());
                text.extend(piece);
                text.extend(b"\r\n");
            }
            text.extend(b"0\r\n");
            let end = text.len();
            text.extend(b"\r\n");
            (text, Some(end))
        }
    }
}

/// Answers to `--health` and `--live`, read as they arrive.
pub(super) fn check(bytes: &[u8]) {
    // A connection is given up after the first error, and not read further after the status.
    let heard = |all: &mut dyn Iterator<Item = &[u8]>| {
        let mut input = Vec::new();
        for piece in all {
            input.extend_from_slice(piece);
            match take_status(&mut input) {
                Ok(None) => assert!(input.len() <= 8192),
                Ok(Some((status, text))) => return Some(Some((status, text))),
                Err(_) => return None,
            }
        }
        Some(None)
    };
    let whole = heard(&mut std::iter::once(bytes));
    assert_eq!(whole, heard(&mut pieces(bytes)), "in pieces");
    if let Some(Some((status, text))) = &whole {
        assert!((0..=999).contains(status) && !(100..200).contains(status), "{status}");
        assert!(text.starts_with(&format!("{status:03}")), "{text}");
        assert!(text.len() <= 3 * 1024 && !text.contains('\n'));
    }
    let draw = &mut Draw(bytes);
    let status = 200 + draw.short() % 400;
    let hints = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n".repeat(usize::from(draw.byte() % 3));
    let mut input = [&hints[..], format!("HTTP/1.1 {status} Because\r\n").as_bytes()].concat();
    let read = take_status(&mut input).expect("an answer").expect("a status");
    assert_eq!(read, (status, format!("{status} Because")));
}

/// Answers to the load of `--rehearse`.
pub(super) fn rehearsal(bytes: &[u8]) {
    const ENDS: [End; 3] = [End::Open, End::Closed, End::Reset];
    for want in [Want::Body(b"body".to_vec()), Want::Good] {
        let (mut whole, mut slow) = (Answer::new(want.clone()), Answer::new(want));
        whole.take(bytes);
        pieces(bytes).for_each(|piece| slow.take(piece));
        for end in ENDS {
            assert_eq!(whole.class(end), slow.class(end), "{end:?}");
        }
        assert_eq!(whole.closes(), slow.closes());
        // Of the body as much as is compared; else the head, or the line in front of a chunk.
        assert!(whole.held() <= 64 * 1024 + 4096 && slow.held() <= 64 * 1024 + 4096);
        if let Some(Class::Status(status)) = whole.class(End::Closed) {
            assert!((0..=999).contains(&status), "{status}");
        }
        // The end of a connection leaves nothing open.
        assert!(whole.class(End::Closed).is_some() && whole.class(End::Reset).is_some());
    }
    let draw = &mut Draw(bytes);
    let (status, form) = (200 + draw.short() % 400, draw.byte());
    let body = draw.some(LONGEST as usize);
    let (text, end) = written(status, form, body);
    let judged = |text: &[u8], end| {
        let mut answer = Answer::new(Want::Body(body.to_vec()));
        answer.take(text);
        answer.class(end)
    };
    let expected = match status {
        200 => Class::Ok,
        // These have no body, whatever the head says: what follows belongs to no request.
        204 | 304 => Class::Status(status),
        _ => Class::Status(status),
    };
    assert_eq!(judged(&text, End::Closed), Some(expected));
    if end.is_some() {
        assert_eq!(judged(&text, End::Open), Some(expected));
    }
}
