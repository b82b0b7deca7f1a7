//! The checks of `--health` and `--live`, over real sockets.

use super::*;
use crate::sys::dial::{Check, Look};

/// A check of a server at this port.
fn http(port: u16, timeout: Duration) -> Checks {
    let address: std::net::SocketAddr = (Ipv4Addr::LOCALHOST, port).into();
    let look = Look::Http {
        address: Address::Tcp(address),
        host: address.to_string(),
        path: "/up".to_owned(),
    };
    let health = vec![Check { text: "the app".to_owned(), look }];
    Checks { health, live: Vec::new(), timeout }
}

fn health_of(checks: Checks) -> String {
    let server = Running::asking(Limits::default(), Vec::new(), checks);
    let answer = server.probe();
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    format!("{} {body}", status(&answer))
}

#[test]
fn the_answer_of_the_app_is_the_answer() {
    for (said, expected) in [
        ("HTTP/1.1 204 No Content\r\n\r\n", "200 ready"),
        ("HTTP/1.0 302 Found\r\nLocation: /\r\n\r\n", "200 ready"),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nbody", "200 ready"),
        ("HTTP/1.1 500 No \x1b[2Jdatabase\r\n", "unhealthy: the app: 500 No \\u{1b}[2Jdatabase"),
        ("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 404 Not Found\r\n", "unhealthy: the app: 404"),
        ("SSH-2.0-x\r\n", "unhealthy: the app: the answer is not HTTP/1"),
        (&"x".repeat(5000), "unhealthy: the app: the answer is not HTTP/1"),
        ("HTTP/1.1 200", "unhealthy: the app: it closed the connection without an answer"),
    ] {
        let app = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        let port = app.local_addr().expect("an address").port();
        let said = said.to_owned();
        let app = thread::spawn(move || {
            let (mut client, _) = app.accept().expect("a client");
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut buffer = [0; 512];
                let count = client.read(&mut buffer).expect("a request");
                request.extend_from_slice(&buffer[..count]);
            }
            // In crumbs, so that no read sees it all.
            client.set_nodelay(true).expect("no delay");
            let _ = said.as_bytes().chunks(5).try_for_each(|crumb| client.write_all(crumb));
            String::from_utf8(request).expect("text")
        });
        let answer = health_of(http(port, PATIENCE));
        assert!(answer.contains(expected), "{expected}: {answer}");
        let request = app.join().expect("an app");
        assert!(request.starts_with("GET /up HTTP/1.1\r\nHost: 127.0.0.1:"), "{request}");
    }
}

#[test]
fn every_kind_of_check_is_made() {
    let dir = tempfile::tempdir().expect("a directory");
    let (file, sock) = (dir.path().join("up"), dir.path().join("sock"));
    let tcp = std::net::TcpListener::bind("[::1]:0").expect("a socket");
    let v6 = tcp.local_addr().expect("an address");
    let v4 = std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, v6.port()));
    let all = || {
        let looks = [
            Look::File(file.clone()),
            Look::Connect(vec![Address::Unix(sock.clone())]),
            Look::Connect(vec![Address::Tcp(v4), Address::Tcp(v6)]),
        ];
        let texts = ["a file", "a socket", "a port"];
        let both = texts.into_iter().zip(looks);
        let health = both.map(|(text, look)| Check { text: text.to_owned(), look });
        Checks { health: health.collect(), live: Vec::new(), timeout: PATIENCE }
    };
    assert_eq!(
        health_of(all()),
        "503 not ready: unhealthy: a file: no such file; a socket: No such file or directory\n"
    );
    std::fs::write(&file, "").expect("a file");
    let unix = std::os::unix::net::UnixListener::bind(&sock).expect("a socket");
    assert_eq!(health_of(all()), "200 ready\n");
    drop((unix, tcp));
    assert_eq!(
        health_of(all()),
        "503 not ready: unhealthy: a socket: Connection refused; a port: Connection refused\n"
    );
}

/// More probes at a time than there are places, of an app that hangs: each is answered, and so is every other request
/// meanwhile.
#[test]
fn an_app_that_hangs_delays_no_other_answer() {
    let app = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    let port = app.local_addr().expect("an address").port();
    let checks = http(port, Duration::from_secs(2));
    let server = Running::asking(Limits::default(), Vec::new(), checks);
    let mut probes: Vec<TcpStream> = Vec::new();
    for _ in 0..200 {
        let mut probe = server.connect();
        probe.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").expect("sent");
        probes.push(probe);
        assert_eq!(status(&server.hear(b"GET /livez HTTP/1.0\r\n\r\n")), "200");
    }
    // A client that leaves takes nothing with it.
    drop(probes.drain(190..));
    for mut probe in probes {
        let answer = all(&mut probe);
        assert!(
            answer.contains("503") && answer.contains("not ready: unhealthy: the app: no answer")
        );
    }
    let metrics = server.hear(b"GET /metrics HTTP/1.0\r\n\r\n");
    let line =
        "graceinit_health{option=\"health\",check=\"the app\",answer=\"no answer within 2s\"} 0";
    assert!(metrics.contains(line), "{metrics}");
    // All of these asked the app a few times only.
    app.set_nonblocking(true).expect("set");
    let asked = std::iter::from_fn(|| app.accept().ok()).count();
    assert!((1..100).contains(&asked), "{asked}");
}

#[test]
fn the_app_is_asked_only_while_it_serves() {
    let dir = tempfile::tempdir().expect("a directory");
    let look = Look::File(dir.path().join("up"));
    let check = vec![Check { text: "a file".to_owned(), look }];
    let checks = Checks { health: check.clone(), live: check, timeout: PATIENCE };
    let server = Running::asking(Limits::default(), Vec::new(), checks);
    let ask = |path: &str| {
        let answer = server.hear(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes());
        status(&answer).to_owned()
    };
    assert_eq!(["/readyz", "/servez", "/livez"].map(ask), ["503", "503", "503"]);
    // It starts, and it stops: no reason for a restart.
    server.tell("running");
    assert_eq!(["/readyz", "/servez", "/livez"].map(ask), ["503", "503", "200"]);
    server.tell("pre-stop");
    assert_eq!(["/readyz", "/servez", "/livez"].map(ask), ["503", "503", "200"]);
    assert_eq!(server.told(), 1, "the readiness probe during the stop counts, and no other");
}
