//! Messages of sd_notify, the tables of users, metrics of the app, and what graceinit's own processes tell it.

use std::time::Duration;

use graceinit::config::metric::Metric;
use graceinit::config::user::{self, User};
use graceinit::life::hooks::environment::Trace;
use graceinit::life::{reveal, survivors};
use graceinit::machine::fact::Survivor;
use graceinit::notify::{self, Message, Notice};
use graceinit::observer::snapshot::Snapshot;
use graceinit::sys::proctree::Revealed;
use graceinit::types::process::{Files, Opened, PipeEnd, Unreadable};
use graceinit::types::{Pid, Time};

use super::{Draw, assert_plain};

/// Messages of the app.
pub(super) fn notify(bytes: &[u8]) {
    let notices = notify::parse(bytes);
    assert!(notices.len() <= 7, "{notices:?}");
    let barrier = notices.contains(&Notice::Barrier);
    assert!(!barrier || notices.len() == 1, "{notices:?}");
    for (place, notice) in notices.iter().enumerate() {
        let same = |other: &Notice| std::mem::discriminant(other) == std::mem::discriminant(notice);
        assert!(!notices[..place].iter().any(same), "{notices:?}");
        match notice {
            Notice::Status(text) => {
                assert!(text.chars().count() <= 200, "{text:?}");
                assert_plain(text, false);
                assert!(!text.contains('\t'), "{text:?}");
            }
            Notice::MainPid(pid) => assert!(*pid > 0),
            Notice::WatchdogInterval(span) => assert!(!span.is_zero()),
            Notice::Errno(errno) => assert!(*errno >= 0),
            Notice::Ready
            | Notice::Stopping
            | Notice::Reloading
            | Notice::MoreTime(_)
            | Notice::Watchdog
            | Notice::WatchdogTrigger
            | Notice::Barrier => {}
        }
        // What is passed on to a service manager means the same there.
        if let Some(message) = passed_on(notice) {
            assert_eq!(notify::parse(&message.compose()), std::slice::from_ref(notice));
        }
    }
    // A C program may send the NUL at the end of its string.
    if !bytes.ends_with(b"\0") {
        assert_eq!(notify::parse(&[bytes, b"\0"].concat()), notices);
    }
    // A first READY does not outlive what follows it.
    if !bytes.contains(&0) && !barrier {
        let later = notify::parse(&[b"READY=1\n", bytes, b"\nSTOPPING=1"].concat());
        let not_a_barrier =
            !bytes.split(|b| matches!(b, b'\n' | b'\r')).any(|line| line == b"BARRIER=1");
        assert_eq!(later.contains(&Notice::Stopping), not_a_barrier);
        assert!(!later.contains(&Notice::Ready));
    }
    let span = notify::watchdog(Some(bytes), None, Pid(1));
    assert!(span.is_none_or(|span| !span.is_zero()));
}

fn passed_on(notice: &Notice) -> Option<Message> {
    Some(match notice {
        Notice::Ready => Message::Ready,
        Notice::Stopping => Message::Stopping,
        Notice::Reloading => Message::Reloading(Time(1)),
        Notice::Status(text) => Message::Status(text.clone()),
        Notice::MoreTime(span) => Message::MoreTime(*span),
        Notice::Watchdog => Message::Watchdog,
        Notice::WatchdogInterval(span) => Message::WatchdogInterval(*span),
        Notice::WatchdogTrigger | Notice::MainPid(_) | Notice::Errno(_) | Notice::Barrier => {
            return None;
        }
    })
}

/// `--user` with /etc/passwd and /etc/group: three parts, divided by NUL.
pub(super) fn users(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut parts = text.splitn(3, '\0');
    let mut part = || parts.next().unwrap_or_default();
    let (wanted, passwd, group) = (part(), part(), part());
    let found = user::resolve(wanted, passwd, group);
    if let Ok(User { uid, gid, groups }) = &found {
        assert!(*uid != u32::MAX && *gid != u32::MAX && !groups.contains(&u32::MAX), "{found:?}");
        assert!(!groups.contains(gid), "{found:?}");
        assert!(groups.len() <= group.lines().count());
        let once: std::collections::BTreeSet<_> = groups.iter().collect();
        assert_eq!(once.len(), groups.len(), "{found:?}");
    }
    if let Err(why) = &found {
        assert!(why.contains("; ") || why.contains(": "), "{why}");
    }
    // Digits are ids, whatever the tables say.
    let draw = &mut Draw(bytes);
    let (uid, gid) = (draw.word() % u32::MAX, draw.word() % u32::MAX);
    let both = user::resolve(&format!("{uid}:{gid}"), passwd, group);
    assert_eq!(both, Ok(User { uid, gid, groups: Vec::new() }));
    let alone = user::resolve(&uid.to_string(), passwd, group).expect("a number");
    assert_eq!(alone.uid, uid);
    // The first entry of a name counts, whatever follows it.
    let passwd = format!("n\u{1}:x:{uid}:{gid}::/:/bin/sh\n{passwd}");
    let named = user::resolve("n\u{1}", &passwd, group).expect("an entry");
    assert_eq!((named.uid, named.gid), (uid, gid));
}

/// `metric:` of `--drained`: the condition, a NUL, and what the app answers.
pub(super) fn metric(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (condition, answer) = text.split_once('\0').unwrap_or((&text, ""));
    if let Err(why) = Metric::parse(condition) {
        assert!(why.contains("; write "), "{why}");
    }
    let full = format!("http://127.0.0.1:1/m {condition}");
    if let Ok(metric) = Metric::parse(&full) {
        let first = metric.check(answer);
        // Comments and other metrics change nothing.
        let comment = condition.replace('\n', " ");
        let more = format!("# {comment}\n0ther 1\n{answer}\n\n");
        assert_eq!(first, metric.check(&more));
    }
    reads_back(&mut Draw(bytes));
}

/// The sum of series as an app writes them.
fn reads_back(draw: &mut Draw<'_>) {
    let mut answer = String::new();
    let mut sum = 0u64;
    let value = draw.text(20);
    let escaped =
        |value: &str| value.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"");
    // A carriage return would end the line for `str::lines`, and an app writes none.
    let value = value.replace('\r', "");
    for _ in 0..draw.byte() % 5 {
        let number = u64::from(draw.short());
        let other = draw.text(10).replace('\r', "");
        let (one, two) = (escaped(&value), escaped(&other));
        answer += &format!("jobs{{a=\"{one}\", b=\"{two}\"}} {number} 1700000000000\n");
        answer += &format!("jobs_total{{a=\"{one}\"}} 9\njobs{{a=\"{one}x\"}} 5\n");
        sum += number;
    }
    let label = escaped(&value);
    let holds = |most: u64| {
        let condition = format!("http://127.0.0.1:1/m jobs{{a=\"{label}\"}} <= {most}");
        Metric::parse(&condition).expect("a condition").check(&answer).is_ok()
    };
    assert_eq!(holds(sum), !answer.is_empty());
    assert!(sum == 0 || !holds(sum - 1));
}

/// What a helper, the environment and PID 1 tell in lines and messages of their own.
pub(super) fn records(bytes: &[u8]) {
    let (found, _) = survivors::complete_records(bytes);
    assert!(found.len() <= bytes.len() / 14 + 1, "{} records", found.len());
    let text = String::from_utf8_lossy(bytes);
    for line in text.split_inclusive('\n') {
        if let Some(revealed) = reveal::parse(line) {
            let again = reveal::parse(&reveal::render(&revealed)).expect("its own line");
            assert_eq!((again.id, &again.files.is_ok()), (revealed.id, &revealed.files.is_ok()));
        }
    }
    if let Some(trace) = Trace::parse(&text) {
        let hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
        assert!(trace.id().len() == 32 && trace.id().chars().all(hex), "{trace:?}");
        let child = Trace::parse(&trace.child()).expect("a traceparent");
        assert_eq!(child.id(), trace.id());
    }
    if let Some(snapshot) = Snapshot::read(bytes) {
        assert_eq!(Snapshot::read(&snapshot.message()), Some(snapshot));
    }
    let draw = &mut Draw(bytes);
    let survivor = survivor(draw);
    let whole = survivors::render(&survivor);
    let (found, more) = survivors::complete_records(format!("{whole}+7\n{whole}").as_bytes());
    assert_eq!((found, more), (vec![survivor.clone(), survivor.clone()], 7));
    let cut = &whole[..whole.len() - 1];
    assert_eq!(survivors::complete_records(format!("{whole}{cut}").as_bytes()).0, [survivor]);
    let revealed = revealed(draw);
    let line = reveal::render(&revealed);
    assert_eq!(reveal::parse(&line), Some(revealed), "{line}");
    assert_eq!(reveal::parse(&line[..line.len() - 1]), None);
}

fn survivor(draw: &mut Draw<'_>) -> Survivor {
    let wchan = survivors::one_line(draw.some(20));
    Survivor {
        pid: Pid(draw.word() as i32),
        parent: Pid(draw.word() as i32),
        state: char::from(b"RSDZTt"[usize::from(draw.byte()) % 6]),
        threads: draw.word(),
        age: Duration::from_millis(u64::from(draw.word())),
        wchan: (!wchan.is_empty()).then_some(wchan),
        connections: (draw.byte() % 2 == 0).then_some(usize::from(draw.short())),
        unread: ["", "wchan", "wchan,connections"][usize::from(draw.byte()) % 3].to_owned(),
        command: survivors::one_line(draw.some(300)),
    }
}

fn revealed(draw: &mut Draw<'_>) -> Revealed {
    // A name has no control characters once it is written.
    let mut name = || draw.text(30).replace(|c: char| c.is_control(), "");
    let (program, target, pipe) = (name(), name(), name());
    let id = (Pid(draw.word() as i32), draw.long());
    let opened = Opened {
        target: target.into(),
        pipe: draw.byte() % 2 == 0,
        mount: draw.long(),
        flags: draw.word(),
    };
    let stdin = (draw.byte() % 2 == 0).then_some(opened);
    let end = PipeEnd { target: pipe.into(), reads: draw.byte() % 2 == 0, writes: false };
    let pipes = vec![end; usize::from(draw.byte() % 3)];
    let files = if draw.byte() % 4 == 0 { Err(Unreadable) } else { Ok(Files { stdin, pipes }) };
    Revealed { id, program: program.into(), files }
}
