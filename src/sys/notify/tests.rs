//! Tests with real sockets in this process.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use super::*;
use crate::sys::helper::tests::alone;
use crate::sys::helper::{Descriptors, Given, Helper};

fn value(socket: &Socket) -> String {
    let variable = socket.variable().into_string().expect("ASCII");
    variable.strip_prefix("NOTIFY_SOCKET=").expect("the name").to_owned()
}

fn client(socket: &Socket) -> UnixDatagram {
    let client = UnixDatagram::unbound().expect("a socket");
    match &socket.name {
        Name::Path(path) => client.connect(path).expect("to connect"),
        Name::Abstract(name) => {
            let address = SocketAddr::from_abstract_name(name).expect("a name");
            client.connect_addr(&address).expect("to connect");
        }
    }
    client
}

fn all(socket: &mut Socket) -> Vec<Datagram> {
    let mut found = Vec::new();
    loop {
        let before = found.len();
        socket.receive(&mut found);
        if found.len() == before {
            return found;
        }
    }
}

fn open_descriptors() -> Vec<String> {
    let entries = fs::read_dir("/proc/self/fd").expect("/proc");
    let links = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    links.map(|link| link.display().to_string()).collect()
}

/// Sends a message with copies of `fds`.
fn send_descriptors(client: &UnixDatagram, text: &[u8], fds: &[i32]) {
    let mut control = Control([0; ALL]);
    let mut part = libc::iovec { iov_base: text.as_ptr().cast_mut().cast(), iov_len: text.len() };
    let data = mem::size_of_val(fds) as u32;
    // SAFETY: all buffers are live, and the control buffer has room for 253 descriptors.
    unsafe {
        let mut header: libc::msghdr = mem::zeroed();
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = libc::CMSG_SPACE(data) as _;
        let at = libc::CMSG_FIRSTHDR(&raw const header);
        (*at).cmsg_level = libc::SOL_SOCKET;
        (*at).cmsg_type = libc::SCM_RIGHTS;
        (*at).cmsg_len = libc::CMSG_LEN(data) as _;
        ptr::copy_nonoverlapping(fds.as_ptr().cast(), libc::CMSG_DATA(at), data as usize);
        let sent = libc::sendmsg(client.as_raw_fd(), &raw const header, 0);
        assert_eq!(usize::try_from(sent), Ok(text.len()), "{}", io::Error::last_os_error());
    }
}

#[test]
fn a_message_comes_with_its_sender() {
    let mut socket = Socket::open().expect("a socket");
    let client = client(&socket);
    client.send(b"READY=1").expect("to send");
    client.send(b"").expect("to send nothing");
    let found = all(&mut socket);
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].bytes.as_deref(), Some(&b"READY=1"[..]));
    assert_eq!(found[0].sender.pid, process::own_pid());
    // SAFETY: the calls take nothing and cannot fail.
    assert_eq!(found[0].sender.uid, unsafe { libc::geteuid() });
    assert_eq!(found[1].bytes.as_deref(), Some(&b""[..]));
    let parent = process::parent();
    let family = Family { own: parent, app: None, helpers: &[], own_uid: 1, app_uid: 1 };
    assert_eq!(hear(&family, found[0].sender), Ok(()));
    let family = Family { helpers: &[parent], ..family };
    assert_eq!(hear(&family, found[0].sender), Err(Refusal::Helper));
}

#[test]
fn every_user_may_write_and_the_file_is_removed() {
    let socket = Socket::open().expect("a socket");
    let path = PathBuf::from(value(&socket));
    assert!(path.starts_with("/dev/shm") || path.starts_with("/run"), "{path:?}");
    let mode = fs::metadata(&path).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o666);
    let other = Socket::open().expect("another");
    assert_ne!(value(&other), value(&socket));
    drop(socket);
    assert!(!path.exists());
}

#[test]
fn a_message_over_an_abstract_name_arrives() {
    let fd = unix_datagram().expect("a socket");
    let name = random_name();
    bind(&fd, &[b"\0", name.as_bytes()].concat()).expect("to bind");
    let mut socket = Socket { fd, name: Name::Abstract(name), failure: None };
    assert!(value(&socket).starts_with("@graceinit-"), "{}", value(&socket));
    client(&socket).send(b"X").expect("to send");
    // Bound without SO_PASSCRED: a message without credentials has the sender 0.
    let found = all(&mut socket);
    assert_eq!((found.len(), found[0].sender.pid), (1, Pid(0)));
}

#[test]
fn a_message_that_is_too_long_has_no_text() {
    let mut socket = Socket::open().expect("a socket");
    let client = client(&socket);
    let longest = [b'x'; LONGEST];
    client.send(&longest).expect("to send");
    client.send(&[&b"READY=1\n"[..], &longest].concat()).expect("to send");
    let found = all(&mut socket);
    assert_eq!(found[0].bytes.as_deref(), Some(&longest[..]));
    assert_eq!(found[1].bytes, None);
}

#[test]
fn a_flood_is_read_in_portions() {
    let mut socket = Socket::open().expect("a socket");
    let client = client(&socket);
    client.set_nonblocking(true).expect("to set");
    let mut sent = 0;
    while client.send(b"WATCHDOG=1").is_ok() {
        sent += 1;
    }
    let mut found = Vec::new();
    socket.receive(&mut found);
    assert_eq!(found.len(), sent.min(BATCH));
    found.extend(all(&mut socket));
    assert_eq!(found.len(), sent);
}

/// Takes the first message in a helper, as graceinit does.
fn take_in_a_helper(socket: &Socket) {
    let (said, says) = fd::pipe().expect("a pipe");
    let keep = [socket.as_fd(), says.as_fd()];
    let files = DESCRIPTORS as u64 + 16;
    let given = Given {
        name: c"graceinit-test",
        user: None,
        trusted: false,
        log: false,
        descriptors: Descriptors::Only(&keep),
        files,
    };
    let work = || {
        take(socket.as_fd(), &|| fd::say(says.as_fd()));
        0
    };
    let helper = Helper::start(&given, &work).expect("a helper");
    helper.wait_for_end(Duration::from_secs(10));
    assert_eq!(helper.reap(), Some(crate::types::Status::Code(0)));
    assert_eq!(fd::read(said.as_fd(), &mut [0]), Read::Bytes(1));
}

/// The descriptors of the tests' own files are found by the name of the file.
#[test]
fn descriptors_stay_in_the_socket_until_a_helper_takes_them() {
    alone(|| {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("sent");
        let copies = || {
            let name = path.display().to_string();
            open_descriptors().iter().filter(|link| **link == name).count()
        };
        let mut socket = Socket::open().expect("a socket");
        let client = client(&socket);
        let file = fs::File::create(&path).expect("a file");
        let many = vec![file.as_raw_fd(); DESCRIPTORS];
        let long = [b'x'; LONGEST + 1];
        for text in [&b"READY=1"[..], b"FDSTORE=1", b"BARRIER=1\nREADY=1", b"", &long] {
            for count in [1, 2, DESCRIPTORS] {
                send_descriptors(&client, text, &many[..count]);
                client.send(b"STATUS=behind").expect("to send");
                let mut found = Vec::new();
                assert!(socket.receive(&mut found));
                // It comes again, and nothing else does.
                assert!(socket.receive(&mut found));
                let text = Some(text).filter(|text| text.len() <= LONGEST);
                assert!(found.iter().all(|datagram| datagram.bytes.as_deref() == text));
                assert_eq!((found.len(), copies()), (2, 1));
                take_in_a_helper(&socket);
                found.clear();
                assert!(!socket.receive(&mut found));
                assert_eq!(found[0].bytes.as_deref(), Some(&b"STATUS=behind"[..]));
                assert_eq!((found.len(), copies()), (1, 1));
            }
        }
    });
}

#[test]
fn the_sender_of_a_barrier_waits_until_it_is_taken() {
    alone(|| {
        let mut socket = Socket::open().expect("a socket");
        let client = client(&socket);
        for (text, count) in [(&b"BARRIER=1"[..], 1), (b"BARRIER=1\n", 2)] {
            let (mut ready, write) = ReadyPipe::open().expect("a pipe");
            client.send(b"READY=1").expect("to send");
            send_descriptors(&client, text, &vec![write.as_raw_fd(); count]);
            client.send(b"STOPPING=1").expect("to send");
            drop(write);
            let mut found = Vec::new();
            // The messages after the barrier are not read yet.
            assert!(socket.receive(&mut found));
            assert_eq!(found.len(), 2);
            assert_eq!(ready.read(), Line::Pending);
            take_in_a_helper(&socket);
            assert_eq!(ready.read(), Line::Closed);
            assert_eq!(all(&mut socket).len(), 1);
        }
        // Without a descriptor no sender waits.
        client.send(b"BARRIER=1").expect("to send");
        assert!(!socket.receive(&mut Vec::new()));
    });
}

// ---- upwards --------------------------------------------------------------------------------------

fn manager() -> (tempfile::TempDir, UnixDatagram, Upward) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    manager.set_nonblocking(true).expect("to set");
    let upward = Upward::new(path.as_os_str().as_bytes()).expect("a path");
    (dir, manager, upward)
}

fn received(manager: &UnixDatagram) -> Vec<String> {
    let mut bytes = [0; 1000];
    let texts = std::iter::from_fn(|| manager.recv(&mut bytes).ok().map(|n| bytes[..n].to_vec()));
    texts.map(|text| String::from_utf8(text).expect("UTF-8")).collect()
}

#[test]
fn messages_reach_a_manager_by_path_and_by_abstract_name() {
    let (dir, manager, mut upward) = manager();
    assert!(matches!(upward.send(Time(0), &Message::Ready), Sent::Yes));
    assert_eq!(received(&manager), ["READY=1"]);
    drop(manager);
    assert!(matches!(upward.send(Time(0), &Message::Watchdog), Sent::Failed(_)));
    // The manager was restarted and has another socket of the same name.
    let path = dir.path().join("notify");
    fs::remove_file(&path).expect("to remove");
    assert!(matches!(upward.send(Time(0), &Message::Stopping), Sent::Failed(_)));
    assert_eq!(upward.due(), None);
    let manager = UnixDatagram::bind(&path).expect("a socket");
    manager.set_nonblocking(true).expect("to set");
    assert!(matches!(upward.send(Time(0), &Message::Stopping), Sent::Yes));
    assert_eq!(received(&manager), ["STOPPING=1"]);

    let name = random_name();
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let manager = UnixDatagram::bind_addr(&address).expect("a socket");
    manager.set_nonblocking(true).expect("to set");
    let mut upward = Upward::new(format!("@{name}").as_bytes()).expect("a name");
    assert!(matches!(upward.send(Time(0), &Message::Status("up".into())), Sent::Yes));
    assert_eq!(received(&manager), ["STATUS=up"]);
}

#[test]
fn only_the_last_state_is_sent_again_to_a_full_socket() {
    let (_dir, manager, mut upward) = manager();
    let ms = |count: u64| Time(count * 1_000_000);
    while matches!(upward.send(ms(0), &Message::Watchdog), Sent::Yes) {}
    assert_eq!(upward.due(), None);
    assert!(matches!(upward.send(ms(0), &Message::Ready), Sent::Full));
    assert_eq!(upward.due(), Some(ms(100)));
    assert!(matches!(upward.retry(ms(100)), Sent::Full));
    assert_eq!(upward.due(), Some(ms(300)));
    assert!(matches!(upward.send(ms(200), &Message::Stopping), Sent::Full));
    assert_eq!(upward.due(), Some(ms(300)));
    received(&manager);
    assert!(matches!(upward.send(ms(250), &Message::Status("x".into())), Sent::Yes));
    assert_eq!(received(&manager), ["STOPPING=1", "STATUS=x"]);
    assert_eq!(upward.due(), None);
    assert!(matches!(upward.retry(ms(300)), Sent::Yes));
    assert_eq!(received(&manager), Vec::<String>::new());
}

#[test]
fn an_address_that_cannot_be_used_is_refused() {
    let long = ["/", &"x".repeat(107)].concat();
    for value in ["vsock:2:1234", "vsock-stream:2:1", "@", "relative", "3", &long] {
        let error = Upward::new(value.as_bytes()).expect_err("to be refused");
        assert!(error.starts_with("unable to use NOTIFY_SOCKET="), "{error}");
    }
    assert!(Upward::new(&long.as_bytes()[..107]).is_ok());
}

// ---- a line on a descriptor -----------------------------------------------------------------------

#[test]
fn an_app_is_ready_when_it_writes_a_newline() {
    let write = |fd: &OwnedFd, text: &[u8]| {
        assert_eq!(nix::unistd::write(fd, text), Ok(text.len()));
    };
    let (mut pipe, app) = ReadyPipe::open().expect("a pipe");
    assert_eq!(pipe.read(), Line::Pending);
    write(&app, b"almost");
    assert_eq!(pipe.read(), Line::Pending);
    write(&app, b" there\nand more");
    assert_eq!(pipe.read(), Line::Ready);
    drop(app);
    assert_eq!(pipe.read(), Line::Closed);

    // Written and closed at once, as s6 specifies.
    let (mut pipe, app) = ReadyPipe::open().expect("a pipe");
    write(&app, b"\n");
    drop(app);
    assert_eq!(pipe.read(), Line::Ready);

    let (mut pipe, app) = ReadyPipe::open().expect("a pipe");
    write(&app, &[b'x'; 60_000]);
    assert_eq!(pipe.read(), Line::Pending);
    drop(app);
}
