//! The apps that are more than a few instructions: this program itself, started again by the init.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::sys;

/// Runs the app of that name.
pub fn run(name: &str, numbers: &[usize]) -> ! {
    match (name, numbers) {
        ("echo", []) => echo(),
        ("orphans", [count, alive]) => orphans(*count, *alive),
        ("family", [count]) => family(*count),
        ("deaf", []) => deaf(),
        _ => panic!("no such app: {name}"),
    }
}

/// The children of an init.
pub fn children(init: i32) -> Vec<i32> {
    let list = fs::read_to_string(format!("/proc/{init}/task/{init}/children"));
    list.unwrap_or_default().split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// The children of an init that are not the app.
pub fn own_children(init: i32, app: &Path) -> Vec<i32> {
    let pids = children(init).into_iter();
    pids.filter(|pid| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe != app))
        .collect()
}

/// Asks the server behind this socket whether it is ready, and waits for the answer.
pub fn ask(socket: &Path) {
    let mut stream = UnixStream::connect(socket).expect("a server");
    stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").expect("a reader");
    stream.read_to_end(&mut Vec::new()).expect("an answer");
}

/// Tells for each USR1 when it came.
fn echo() -> ! {
    sys::each(libc::SIGUSR1, || println!("{}", sys::clock()))
}

/// Does not hear TERM.
fn deaf() -> ! {
    sys::ignore(libc::SIGTERM);
    println!("ready");
    loop {
        sys::pause();
    }
}

/// Has that many children, who end at TERM as it does itself.
fn family(count: usize) -> ! {
    for _ in 0..count {
        if sys::fork() == 0 {
            loop {
                sys::pause();
            }
        }
    }
    println!("ready");
    loop {
        sys::pause();
    }
}

/// Makes `alive` orphans that stay and then `count` that end all at once while the init is stopped, and tells when
/// the last of these was reaped. Those that stay come first: the kernel looks at children from the oldest on.
fn orphans(count: usize, alive: usize) -> ! {
    let (mut gate, open) = sys::pipe();
    let (mut told, mut tell) = sys::pipe();
    if sys::fork() == 0 {
        drop(open);
        for index in 0..count + alive {
            let pid = sys::fork();
            if pid == 0 {
                drop(tell);
                if index >= alive {
                    // Ends when the gate does.
                    let _ = gate.read(&mut [0]);
                    sys::exit(0);
                }
                loop {
                    sys::pause();
                }
            }
            if index >= alive {
                tell.write_all(&pid.to_ne_bytes()).expect("a reader");
            }
        }
        sys::exit(0);
    }
    drop(tell);
    let mut pids = Vec::new();
    told.read_to_end(&mut pids).ok();
    let pids: Vec<i32> =
        pids.chunks_exact(4).map(|b| i32::from_ne_bytes([b[0], b[1], b[2], b[3]])).collect();
    assert_eq!(pids.len(), count);
    // Who made them is ours.
    sys::wait(-1);
    println!("made");
    sys::until("an init that is held", || state(1) == Some('t'));
    drop(open);
    for pid in &pids {
        sys::until_ended(*pid);
    }
    println!("ended");
    for pid in pids {
        sys::until("an orphan reaped", || !sys::kill(pid, 0));
    }
    println!("{}", sys::clock());
    sys::exit(0)
}

/// The letter in /proc/PID/stat.
fn state(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// The numbers in a file of /proc that has lines like `Rss:   696 kB`.
pub fn of_proc(pid: i32, file: &str, key: &str) -> Option<f64> {
    let mut text = String::new();
    File::open(format!("/proc/{pid}/{file}")).ok()?.read_to_string(&mut text).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}
