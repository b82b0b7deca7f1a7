use proptest::prelude::*;

use super::*;

fn micro(count: u64) -> Duration {
    Duration::from_micros(count)
}

#[test]
fn messages_of_real_clients_are_understood() {
    for (datagram, want) in [
        (&b"READY=1"[..], vec![Notice::Ready]),
        (b"READY=1\n", vec![Notice::Ready]),
        (b"READY=1\0", vec![Notice::Ready]),
        (b"READY=1\nSTATUS=up\nMAINPID=42", {
            vec![Notice::MainPid(42), Notice::Ready, Notice::Status("up".into())]
        }),
        // uWSGI
        (b"STATUS=uWSGI is ready\nREADY=1\n", {
            vec![Notice::Ready, Notice::Status("uWSGI is ready".into())]
        }),
        (b"RELOADING=1\nMONOTONIC_USEC=5", vec![Notice::Reloading]),
        (b"STOPPING=1\nX_MINE=1", vec![Notice::Stopping]),
        (b"EXTEND_TIMEOUT_USEC=2500000", vec![Notice::MoreTime(micro(2_500_000))]),
        (b"WATCHDOG=1", vec![Notice::Watchdog]),
        (b"WATCHDOG=trigger", vec![Notice::WatchdogTrigger]),
        (b"WATCHDOG=1\nWATCHDOG_USEC=7", {
            vec![Notice::WatchdogInterval(micro(7)), Notice::Watchdog]
        }),
        (b"ERRNO=2", vec![Notice::Errno(2)]),
        (b"STATUS=", vec![Notice::Status(String::new())]),
        (b"STATUS=a=b", vec![Notice::Status("a=b".into())]),
        (b"BARRIER=1", vec![Notice::Barrier]),
        (b"BARRIER=1\n", vec![Notice::Barrier]),
    ] {
        assert_eq!(parse(datagram), want, "{:?}", datagram.escape_ascii().to_string());
    }
}

#[test]
fn messages_against_the_protocol_are_ignored() {
    for datagram in [
        &b""[..],
        b"\0",
        b"\n\n\n",
        b"READY",
        b"READY=",
        b"READY=0",
        b"READY=11",
        b"READY=yes",
        b"READY=1 ",
        b" READY=1",
        b"ready=1",
        b"XREADY=1",
        b"READY=1\0\0",
        b"READY\0=1",
        b"READY=1\nSTATUS=\0x",
        // A barrier has to be alone.
        b"READY=1\nBARRIER=1",
        b"BARRIER=1\nBARRIER=1",
        b"BARRIER=0",
        b"MAINPID=0",
        b"MAINPID=-5",
        b"MAINPID=+5",
        b"MAINPID=2147483648",
        b"MAINPID=1x",
        b"MAINPID=",
        b"EXTEND_TIMEOUT_USEC=18446744073709551616",
        b"EXTEND_TIMEOUT_USEC=-1",
        b"EXTEND_TIMEOUT_USEC=1s",
        b"WATCHDOG=2",
        b"WATCHDOG_USEC=0",
        b"WATCHDOG_USEC=x",
        b"ERRNO=99999999999",
        b"FDSTORE=1\nFDNAME=x",
        b"BUSERROR=org.example",
        b"X_WHATEVER=READY=1",
        b"\xff\xfe=1",
    ] {
        assert_eq!(parse(datagram), [], "{:?}", datagram.escape_ascii().to_string());
    }
}

#[test]
fn of_several_values_one_counts() {
    assert_eq!(parse(b"RELOADING=1\nREADY=1"), [Notice::Ready]);
    assert_eq!(parse(b"READY=1\nSTOPPING=1\nREADY=0"), [Notice::Stopping]);
    assert_eq!(parse(b"MAINPID=7\nMAINPID=8"), [Notice::MainPid(7)]);
    assert_eq!(parse(b"WATCHDOG=no\nWATCHDOG=1"), []);
    assert_eq!(parse(b"STATUS=a\rSTATUS=b"), [Notice::Status("a".into())]);
}

#[test]
fn a_status_is_one_short_visible_line() {
    let shown = |text: &[u8]| match &parse(&[b"STATUS=", text].concat())[..] {
        [Notice::Status(text)] => text.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(shown(b"\x1b[31mred\x07\ttab"), "\u{fffd}[31mred\u{fffd}\u{fffd}tab");
    assert_eq!(shown("dr\u{fc}ben \u{202e}txt".as_bytes()), "dr\u{fc}ben \u{fffd}txt");
    assert_eq!(shown(b"\xff\xfe"), "\u{fffd}\u{fffd}");
    assert_eq!(shown("\u{fc}".repeat(3000).as_bytes()), "\u{fc}".repeat(200));
    assert_eq!(shown(b"\x1b]0;title"), "\u{fffd}]0;title");
}

proptest! {
    #[test]
    fn any_bytes_are_harmless(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
        prop_assert!(parse(&bytes).len() <= 7);
    }

    #[test]
    fn any_lines_are_harmless(lines in proptest::collection::vec(
        "(READY|STOPPING|RELOADING|STATUS|EXTEND_TIMEOUT_USEC|WATCHDOG|WATCHDOG_USEC|MAINPID|ERRNO|\
          BARRIER|X_Y)?=?(1|0|-1|trigger|[0-9]{1,25}|\\PC{0,9}|.{0,300})", 0..9)
    ) {
        let found = parse(lines.join("\n").as_bytes());
        prop_assert!(found.len() <= 7);
        for notice in found {
            match notice {
                Notice::Status(text) => {
                    prop_assert!(text.chars().count() <= STATUS_MAX);
                    prop_assert!(text.chars().all(is_plain));
                }
                Notice::MainPid(pid) => prop_assert!(pid > 0),
                Notice::WatchdogInterval(span) => prop_assert!(!span.is_zero()),
                _ => {}
            }
        }
    }

    #[test]
    fn a_status_that_is_passed_on_cannot_hold_another_variable(text in any::<String>()) {
        let datagram = Message::Status(text).compose();
        prop_assert!(matches!(&parse(&datagram)[..], [Notice::Status(_)]));
    }

    /// Any relation of pids leads to a decision, and no descendant of a helper may send.
    #[test]
    fn any_relation_of_pids_is_decided(parents in proptest::collection::vec(0i32..60, 60), sender in 0i32..70) {
        let family = Family { own: Pid(2), app: Some(Pid(5)), helpers: &[Pid(6), Pid(7)], own_uid: 9, app_uid: 9 };
        let parent_of = |pid: Pid| {
            usize::try_from(pid.0).ok().and_then(|at| parents.get(at)).map(|parent| Pid(*parent))
        };
        let who = Sender { pid: Pid(sender), uid: 1000, gid: 0 };
        let verdict = family.hear(who, parent_of);
        let mut at = Pid(sender);
        for _ in 0..60 {
            if at == Pid(6) || at == Pid(7) {
                prop_assert_eq!(verdict, Err(Refusal::Helper));
            }
            if at.0 <= 2 || at == Pid(5) {
                break;
            }
            let Some(parent) = parent_of(at) else { break };
            at = parent;
        }
    }
}

const PARENTS: [(i32, i32); 9] = [
    // graceinit is 10, the app 20, a hook 30.
    (20, 10),
    (21, 20),
    (22, 21),
    (30, 10),
    (31, 30),
    // An orphan that graceinit has adopted, a stranger, a process whose parent has ended, a process from outside.
    (40, 10),
    (50, 3),
    (60, 61),
    (70, 0),
];

fn parent_of(pid: Pid) -> Option<Pid> {
    let strangers = [(10, 1), (3, 1)];
    let all = PARENTS.iter().chain(&strangers);
    all.copied().find(|(child, _)| *child == pid.0).map(|(_, parent)| Pid(parent))
}

const FAMILY: Family<'static> =
    Family { own: Pid(10), app: Some(Pid(20)), helpers: &[Pid(30)], own_uid: 1, app_uid: 1000 };

#[test]
fn processes_of_the_app_may_send_and_others_may_not() {
    let hear = |pid: i32, uid: u32| FAMILY.hear(Sender { pid: Pid(pid), uid, gid: 0 }, parent_of);
    // The app, its descendants and adopted orphans, of any user.
    for pid in [20, 21, 22, 40, 10] {
        assert_eq!(hear(pid, 33), Ok(()), "{pid}");
    }
    assert_eq!(hear(0, 0), Err(Refusal::Outside));
    assert_eq!(hear(-1, 0), Err(Refusal::Outside));
    for pid in [30, 31] {
        assert_eq!(hear(pid, 0), Err(Refusal::Helper), "{pid}");
    }
    // A process beside graceinit, one of `docker exec`, and init: not even as root.
    for pid in [50, 70, 3, 1] {
        assert_eq!(hear(pid, 0), Err(Refusal::Stranger), "{pid}");
    }
    // The sender or its parent has ended.
    for pid in [60, 99] {
        for uid in [0, 1, 1000] {
            assert_eq!(hear(pid, uid), Ok(()), "{pid} {uid}");
        }
        assert_eq!(hear(pid, 33), Err(Refusal::OtherUser), "{pid}");
    }
}

#[test]
fn pid_1_hears_every_orphan_but_no_session_from_outside() {
    let family = Family { own: Pid(1), app: None, ..FAMILY };
    let parent_of = |pid: Pid| match pid.0 {
        40 => Some(Pid(1)),
        70 | 1 => Some(Pid(0)),
        _ => None,
    };
    assert_eq!(family.kinship(Pid(40), parent_of), Kinship::App);
    assert_eq!(family.kinship(Pid(70), parent_of), Kinship::Stranger);
    assert_eq!(family.kinship(Pid(71), parent_of), Kinship::Unknown);
}

#[test]
fn a_live_process_of_the_app_may_become_the_main_process() {
    for (pid, may) in [(21, true), (40, true), (20, true)] {
        assert_eq!(FAMILY.may_be_main(Pid(pid), parent_of), may, "{pid}");
    }
    for pid in [10, 30, 31, 50, 60, 99, 1] {
        assert!(!FAMILY.may_be_main(Pid(pid), parent_of), "{pid}");
    }
}

#[test]
fn parents_in_a_circle_are_unknown() {
    let circle = |pid: Pid| Some(Pid(100 + (pid.0 + 1) % 3));
    assert_eq!(FAMILY.kinship(Pid(100), circle), Kinship::Unknown);
}

#[test]
fn messages_to_the_manager() {
    let text = |message: Message| String::from_utf8(message.compose()).expect("UTF-8");
    assert_eq!(text(Message::Ready), "READY=1");
    assert_eq!(text(Message::Stopping), "STOPPING=1");
    let reloading = text(Message::Reloading(Time(5_000_999)));
    assert_eq!(reloading, "RELOADING=1\nMONOTONIC_USEC=5000");
    assert_eq!(text(Message::Status("a\nREADY=1".into())), "STATUS=a\u{fffd}READY=1");
    assert_eq!(text(Message::MoreTime(Duration::from_secs(2))), "EXTEND_TIMEOUT_USEC=2000000");
    assert_eq!(text(Message::WatchdogInterval(micro(3))), "WATCHDOG_USEC=3");
    assert_eq!(text(Message::Watchdog), "WATCHDOG=1");
}

#[test]
fn the_watchdog_of_another_pid_is_ignored() {
    let own = Pid(77);
    let watchdog = |usec: &[u8], pid: Option<&[u8]>| watchdog(Some(usec), pid, own);
    assert_eq!(watchdog(b"30000000", None), Some(Duration::from_secs(30)));
    assert_eq!(watchdog(b"30000000", Some(b"77")), Some(Duration::from_secs(30)));
    for (usec, pid) in [
        (&b"30000000"[..], Some(&b"78"[..])),
        (b"30000000", Some(b"")),
        (b"30000000", Some(b"x")),
        (b"0", None),
        (b"", None),
        (b"-1", None),
        (b"1s", None),
        (b"18446744073709551615", None),
    ] {
        assert_eq!(watchdog(usec, pid), None);
    }
    assert_eq!(super::watchdog(None, Some(b"77"), own), None);
}
