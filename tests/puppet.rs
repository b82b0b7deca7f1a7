//! The application that the tests wrap. Its arguments are its script, its standard output is the
//! account that a test reads: one line per event, each written whole. docs/development.md lists the words.
//!
//! It has no Rust runtime below it (`no_main`), which would set SIGPIPE to ignored and open closed
//! descriptors before anything here could look at what it was given.

#![no_main]
#![allow(unsafe_code, reason = "the symbol that the C library starts")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::disallowed_methods, reason = "an app of its own, with its own clock and exit")]

#[path = "support/signals.rs"]
mod signals;
#[path = "support/sys.rs"]
mod sys;

use std::ffi::{CString, OsStr, OsString, c_char, c_int};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Pid, getpgid, getpid, getppid, getsid, pipe, setpgid, setsid};
use signals::{name_of, number_of};
use sys::Disposition;

const EVERYTHING: u64 = u64::MAX;

/// The descriptor of the account, where it goes to a file. High up, so that it takes no number that a script wants to
/// look at; below the soft limit of an engine, which may be 1024. Scripts see the descriptors below it alone.
const ACCOUNT: i32 = 1000;

#[unsafe(no_mangle)]
extern "C" fn main(_argc: c_int, argv: *const *const c_char) -> c_int {
    // Before anything else: this is what the init under test handed over.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    // SAFETY: the C library hands over a null-terminated array of C strings.
    let argv = unsafe { sys::strings(argv) };
    let script = argv.get(1..).unwrap_or_default().to_vec();
    let mut puppet = Puppet {
        status,
        environ: sys::raw_environ(),
        argv,
        name: String::new(),
        account: None,
        gate: None,
        told: None,
    };
    puppet.play(&script);
    0
}

struct Puppet {
    status: String,
    environ: Vec<Vec<u8>>,
    argv: Vec<Vec<u8>>,
    name: String,
    /// Where lines go; standard output when `None`.
    account: Option<File>,
    /// The write end whose closing ends the orphans of `orphans=N`.
    gate: Option<OwnedFd>,
    /// Closed at `ready`: the parent of a spawned puppet waits for that.
    told: Option<OwnedFd>,
}

impl Puppet {
    fn play(&mut self, script: &[Vec<u8>]) {
        let mut words = script.iter();
        while let Some(word) = words.next() {
            let text = String::from_utf8_lossy(word).into_owned();
            let (verb, value) = text.split_once('=').unwrap_or((&text, ""));
            match verb {
                "--" => return,
                "exec" => self.exec(words.as_slice()),
                "race" => return self.race(value, words.as_slice()),
                _ => self.act(verb, value),
            }
        }
    }

    fn act(&mut self, verb: &str, value: &str) {
        match verb {
            "ready" => self.ready(),
            "block" => drop(sys::set_mask(EVERYTHING)),
            "mask" => drop(sys::set_mask(list(value).fold(0, |mask, s| mask | sys::bit(s)))),
            "ignore" => list(value).for_each(|s| dispose(s, Disposition::Ignore)),
            "default" => list(value).for_each(|s| dispose(s, Disposition::Default)),
            "clean" => {
                (1..=64).for_each(|signal| dispose(signal, Disposition::Default));
                sys::set_mask(0);
            }
            "echo" => self.echo(value),
            "helper" => self.helper(value),
            "wait" => self.wait(number_of(value)),
            "status" | "argv" | "environ" | "env" | "cwd" | "umask" | "limits" | "fds" | "ids"
            | "tty" => self.tell_given(verb, value),
            "spawn" => self.spawn(value),
            "orphans" => self.orphans(number(value), true),
            "live-orphans" => self.orphans(number(value), false),
            "release" => self.gate = None,
            "children" => self.reap_children(),
            "raise" => sys::kill(getpid().as_raw(), number_of(value)).expect("raise"),
            "kill" | "queue" | "flood" => self.send(verb, value),
            "read" | "write" | "append" | "stdin" | "lines" | "to" => self.files(verb, value),
            "say" => self.line(value),
            "eat" => eat(number(value)),
            "notify" => self.notify(value),
            "complain" => drop(sys::write(2, format!("{value}\n").as_bytes())),
            "name" => self.name = format!("{value}: "),
            "close" => sys::close(number(value) as i32),
            // What the tests themselves inherited from whoever runs them.
            "alone" => (3..ACCOUNT).for_each(sys::close),
            "open" => {
                let (fd, path) = two(value);
                let file =
                    OpenOptions::new().read(true).append(true).create(true).open(path).expect(path);
                // By way of a high number: it may be the wanted one already, but is closed on exec.
                const HIGH: i32 = ACCOUNT - 1;
                sys::dup_to(file.as_raw_fd(), HIGH).expect("dup2");
                drop(file);
                sys::dup_to(HIGH, number(fd) as i32).expect("dup2");
                sys::close(HIGH);
            }
            "limit" => {
                let mut parts = value.splitn(3, ':').map(number);
                let mut next = || parts.next().expect("limit=N:SOFT:HARD");
                sys::set_limit(next() as u32, next(), next()).expect("prlimit");
            }
            "set-umask" => {
                umask(Mode::from_bits_truncate(u32::from_str_radix(value, 8).expect("octal")));
            }
            "setenv" => self.environ.push(value.as_bytes().to_vec()),
            "entry" => self.environ.push(from_hex(value)),
            "drop-env" => {
                let start = format!("{value}=").into_bytes();
                self.environ.retain(|entry| !entry.starts_with(&start));
            }
            "clear-env" => self.environ.clear(),
            "listen-pid" => self.environ.push(format!("LISTEN_PID={}", getpid()).into_bytes()),
            "regroup" => sys::leave_group().expect("setpgid"),
            "leaderless" => {
                std::thread::spawn(|| std::thread::park_timeout(Duration::from_secs(3600)));
                sys::exit_thread();
            }
            "pause" => loop {
                sys::wait_signal(0, None);
            },
            "exit" => sys::exit_now(number(value) as i32),
            "die" => die(number_of(value)),
            _ => panic!("puppet: no such word: {verb}"),
        }
    }

    /// One line in one write: several processes share the pipe.
    fn line(&self, text: &str) {
        let whole = format!("{}{text}\n", self.name);
        let fd = self.account.as_ref().map_or(1, |file| file.as_raw_fd());
        let mut rest = whole.as_bytes();
        while let Ok(written @ 1..) = sys::write(fd, rest) {
            rest = &rest[written..];
        }
    }

    fn ready(&mut self) {
        let (pid, ppid) = (getpid(), getppid());
        let pgid = getpgid(None).expect("getpgid");
        let sid = getsid(None).expect("getsid");
        self.line(&format!("ready pid={pid} pgid={pgid} ppid={ppid} sid={sid}"));
        self.told = None;
    }

    fn echo(&mut self, quits: &str) {
        let quits: Vec<(i32, i32)> = quits
            .split(',')
            .filter(|q| !q.is_empty())
            .map(two)
            .map(|(signal, code)| (number_of(signal), number(code) as i32))
            .collect();
        loop {
            let Some(info) = sys::wait_signal(EVERYTHING, None) else { continue };
            // The end of a child is told by the kernel, not by a sender.
            if info.signal == libc::SIGCHLD && info.code > 0 {
                continue;
            }
            self.got(&info);
            if let Some((_, code)) = quits.iter().find(|(signal, _)| *signal == info.signal) {
                sys::exit_now(*code);
            }
        }
    }

    /// Waits for one signal and drops all others.
    fn wait(&self, signal: i32) {
        loop {
            match sys::wait_signal(EVERYTHING, None) {
                Some(info) if info.signal == signal => return self.got(&info),
                _ => {}
            }
        }
    }

    fn got(&self, info: &sys::Info) {
        let sys::Info { signal, code, pid, value } = info;
        self.line(&format!("got {} code={code} pid={pid} value={value}", name_of(*signal)));
    }

    /// A helper with unsaved work: it needs some time after TERM and counts how often it was told.
    fn helper(&mut self, value: &str) {
        let (span, path) = two(value);
        let span = Duration::from_millis(number(span));
        let (mut end, mut terms) = (None::<Instant>, 0);
        loop {
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            match sys::wait_signal(EVERYTHING, left) {
                Some(info) if info.signal == libc::SIGTERM => {
                    self.got(&info);
                    terms += 1;
                    end = end.or(Some(Instant::now() + span));
                }
                Some(_) => {}
                None => break,
            }
        }
        std::fs::write(path, format!("saved terms={terms}")).expect(path);
        sys::exit_now(0);
    }

    fn tell_given(&self, what: &str, value: &str) {
        match what {
            "status" => {
                for field in ["SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd"] {
                    let text = self
                        .status
                        .lines()
                        .find_map(|line| line.strip_prefix(field)?.strip_prefix(":\t"))
                        .unwrap_or("unknown");
                    self.line(&format!("status {field}={text}"));
                }
            }
            "argv" => self.argv.iter().for_each(|word| self.line(&format!("argv {}", hex(word)))),
            "environ" => {
                self.environ.iter().for_each(|e| self.line(&format!("environ {}", hex(e))));
                self.line("environ-end");
            }
            "env" => {
                let found = self
                    .environ
                    .iter()
                    .filter_map(|e| e.strip_prefix(value.as_bytes())?.strip_prefix(b"="))
                    .next();
                match found {
                    Some(text) => {
                        self.line(&format!("env {value}={}", String::from_utf8_lossy(text)))
                    }
                    None => self.line(&format!("env {value} unset")),
                }
            }
            "cwd" => {
                let cwd = std::env::current_dir().expect("getcwd");
                self.line(&format!("cwd {}", hex(cwd.as_os_str().as_bytes())));
            }
            "umask" => {
                let now = umask(Mode::empty());
                umask(now);
                self.line(&format!("umask {:03o}", now.bits()));
            }
            "limits" => {
                for n in 0..16 {
                    if let Some((soft, hard)) = sys::limit(n) {
                        self.line(&format!("limit {n} {soft} {hard}"));
                    }
                }
            }
            "fds" => {
                for fd in (0..ACCOUNT).filter(|fd| sys::descriptor_flags(*fd).is_some()) {
                    self.line(&format!("fd {fd} {}", sys::identity(fd).expect("fstat")));
                }
                self.line("fds-end");
            }
            "ids" => {
                let (uid, euid, gid, egid) = sys::ids();
                let groups: String = self
                    .status
                    .lines()
                    .find_map(|line| line.strip_prefix("Groups:"))
                    .unwrap_or("")
                    .split_whitespace()
                    .collect::<Vec<_>>()
                    .join(",");
                let nnp = u8::from(sys::no_new_privileges());
                self.line(&format!(
                    "ids uid={uid} euid={euid} gid={gid} egid={egid} groups={groups} nnp={nnp}"
                ));
            }
            _ => {
                let shown = |n: Option<i32>| n.map_or("none".to_string(), |n| n.to_string());
                let (rows, columns) = sys::window_size(0).unwrap_or_default();
                let foreground = shown(sys::foreground_group(0));
                self.line(&format!("tty tpgid={foreground} rows={rows} columns={columns}"));
            }
        }
    }

    /// Runs a script in a child and goes on when that child said `ready` or is gone.
    fn spawn(&mut self, value: &str) {
        let (how, script) = two(value);
        let script: Vec<Vec<u8>> =
            script.split(';').map(|word| word.replace('|', ";").into_bytes()).collect();
        let (wait, told) = pipe().expect("pipe");
        // A child that becomes another program is as good as ready.
        fcntl(&told, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).expect("fcntl");
        let pid = sys::fork().expect("fork");
        if pid == 0 {
            drop(wait);
            self.gate = None;
            self.told = Some(told);
            match how {
                "same" => {}
                "group" => setpgid(Pid::from_raw(0), Pid::from_raw(0)).expect("setpgid"),
                "setsid" => drop(setsid().expect("setsid")),
                "orphan" | "double" => {
                    let parent = getpid();
                    if sys::fork().expect("fork") != 0 {
                        sys::exit_now(0);
                    }
                    if how == "double" {
                        setsid().expect("setsid");
                    }
                    // An orphan is one only when the kernel has given it its new parent.
                    while getppid() == parent {
                        std::thread::yield_now();
                    }
                }
                _ => panic!("puppet: no such way to spawn: {how}"),
            }
            self.play(&script);
            sys::exit_now(0);
        }
        drop(told);
        if how == "orphan" || how == "double" {
            sys::wait_pid(pid, 0).expect("waitpid");
        }
        // End of file: the child closed its end at `ready`.
        drop(File::from(wait).read(&mut [0]));
    }

    /// N processes whose parent is gone. Gated ones live until `release`, all at once.
    fn orphans(&mut self, count: u64, gated: bool) {
        let (wait, gate) = pipe().expect("pipe");
        let pid = sys::fork().expect("fork");
        if pid == 0 {
            drop(gate);
            self.gate = None;
            for _ in 0..count {
                if sys::fork().expect("fork") == 0 {
                    // They hold neither the account open nor each other.
                    sys::close(1);
                    if gated {
                        drop(File::from(wait).read(&mut [0]));
                    } else {
                        drop(wait);
                        sys::set_mask(0);
                        sys::wait_signal(0, None);
                    }
                    sys::exit_now(0);
                }
            }
            sys::exit_now(0);
        }
        let (_, status) = sys::wait_pid(pid, 0).expect("waitpid");
        assert_eq!(status, 0, "the parent of the orphans failed");
        if gated {
            self.gate = Some(gate);
        }
        self.line(&format!("orphans {count}"));
    }

    /// A message of sd_notify(3).
    fn notify(&self, text: &str) {
        let path = self.environ.iter().find_map(|entry| entry.strip_prefix(b"NOTIFY_SOCKET="));
        let path = OsStr::from_bytes(path.expect("NOTIFY_SOCKET"));
        let socket = std::os::unix::net::UnixDatagram::unbound().expect("socket");
        socket.send_to(text.as_bytes(), path).expect("sendto");
    }

    fn reap_children(&self) {
        while let Ok((pid, status)) = sys::wait_pid(-1, 0) {
            self.line(&format!("reaped pid={pid} status={status}"));
        }
    }

    fn send(&self, verb: &str, value: &str) {
        let parts: Vec<&str> = value.split(':').collect();
        let target = match parts.last().copied() {
            Some("parent") => getppid().as_raw(),
            Some(pid) => number(pid) as i32,
            None => 0,
        };
        let signal = number_of(parts[0]);
        match verb {
            "kill" => sys::kill(target, signal).expect("kill"),
            "queue" => sys::queue(target, signal, number(parts[1]) as i32).expect("sigqueue"),
            _ => (0..number(parts[1]))
                .for_each(|n| sys::queue(target, signal, n as i32).expect("sigqueue")),
        }
    }

    fn files(&mut self, verb: &str, value: &str) {
        let appending = || OpenOptions::new().create(true).append(true).clone();
        match verb {
            // A FIFO: opening waits for the writer, reading for its text.
            "read" => {
                let text = std::fs::read_to_string(value).expect(value);
                self.line(&format!("read {}", text.trim_end()));
            }
            "write" => {
                let (path, text) = two(value);
                std::fs::write(path, text).expect(path);
            }
            "append" => {
                let (path, text) = two(value);
                let mut file = appending().open(path).expect(path);
                file.write_all(format!("{text}\n").as_bytes()).expect(path);
            }
            "to" => {
                let file = appending().open(value).expect(value);
                let high = FcntlArg::F_DUPFD_CLOEXEC(ACCOUNT);
                let fd = fcntl(&file, high).expect("fcntl");
                self.account = Some(sys::owned(fd).into());
            }
            "lines" => {
                for text in std::io::stdin().lines().map_while(Result::ok) {
                    self.line(&format!("line {text}"));
                }
                self.line("stdin-end");
            }
            _ => {
                let mut bytes = Vec::new();
                match std::io::stdin().read_to_end(&mut bytes) {
                    Ok(_) => self.line(&format!("stdin {}", hex(&bytes))),
                    Err(e) => self.line(&format!("stdin error {e}")),
                }
            }
        }
    }

    fn exec(&self, command: &[Vec<u8>]) -> ! {
        let c_strings = |list: &[Vec<u8>]| -> Vec<CString> {
            list.iter().map(|word| CString::new(word.as_slice()).expect("no NUL")).collect()
        };
        let path = find(command.first().expect("exec PROGRAM"));
        let path = CString::new(path.into_os_string().into_vec()).expect("no NUL");
        let error = sys::exec(&path, &c_strings(command), &c_strings(&self.environ));
        drop(sys::write(2, format!("puppet: exec {path:?}: {error}\n").as_bytes()));
        sys::exit_now(99)
    }

    /// The start race, measured where a test process would be too slow: a signal so many
    /// microseconds after the exec of PROGRAM, as PID 1 (`pidns`) or not (`plain`). Says whether the
    /// signal was blocked just before it was sent: from then on it must not be lost.
    fn race(&mut self, value: &str, command: &[Vec<u8>]) {
        let (room, rest) = two(value);
        let (micros, signal) = two(rest);
        let signal = number_of(signal);
        let inside = room == "pidns";
        if inside {
            sys::unshare(libc::CLONE_NEWPID).expect("unshare");
        }
        let (wait, told) = pipe().expect("pipe");
        fcntl(&told, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).expect("fcntl");
        let pid = sys::fork().expect("fork");
        if pid == 0 {
            drop(wait);
            if inside {
                // In the child only: the parent has to look at it through its own /proc.
                sys::unshare(libc::CLONE_NEWNS).expect("unshare");
                sys::mount_proc().expect("mount");
            }
            // Everything is mapped and ready: the clock of the race starts here.
            sys::write(told.as_raw_fd(), b"x").expect("pipe");
            self.exec(command);
        }
        drop(told);
        let mut wait = File::from(wait);
        wait.read_exact(&mut [0]).expect("the child did not come to its exec");
        let start = Instant::now();
        let span = Duration::from_micros(number(micros));
        // The delay is what is measured, not a way to wait for something.
        while start.elapsed() < span {
            std::hint::spin_loop();
        }
        // Closed by exec: before it, the process is not the program under test yet.
        let ours = matches!(poll_closed(&wait), Some(true));
        let blocked = ours && blocks(pid, signal);
        sys::kill(pid, signal).expect("kill");
        self.line(&format!("sent pid={pid} blocked={}", u8::from(blocked)));
        let (_, status) = sys::wait_pid(pid, 0).expect("waitpid");
        self.line(&format!("ended {}", describe(status)));
    }
}

/// Whether the other end is closed; `None` when that cannot be told.
fn poll_closed(file: &File) -> Option<bool> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).ok()?;
    fds[0].revents().map(|r| r.contains(PollFlags::POLLHUP))
}

/// Whether the signal is blocked in the process.
fn blocks(pid: i32, signal: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigBlk:\t"))
        .and_then(|mask| u64::from_str_radix(mask, 16).ok())
        .is_some_and(|mask| mask & sys::bit(signal) != 0)
}

fn describe(status: i32) -> String {
    if libc::WIFEXITED(status) {
        format!("code={}", libc::WEXITSTATUS(status))
    } else {
        format!("signal={}", libc::WTERMSIG(status))
    }
}

/// Ends by the default action of a signal, whatever mask and disposition say now.
fn die(signal: i32) -> ! {
    // A core file would only cost time.
    drop(sys::set_limit(libc::RLIMIT_CORE, 0, 0));
    dispose(signal, Disposition::Default);
    sys::set_mask(0);
    sys::kill(getpid().as_raw(), signal).expect("kill");
    panic!("puppet: still there after signal {signal}");
}

/// KILL and STOP have no disposition; asking for one is no fault of the script.
fn dispose(signal: i32, what: Disposition) {
    let fixed = signal == libc::SIGKILL || signal == libc::SIGSTOP;
    assert!(sys::set_disposition(signal, what).is_ok() || fixed, "sigaction {signal}");
}

/// As execvp looks for it, so that scripts can name `unshare` or `sh`.
fn find(program: &[u8]) -> PathBuf {
    let name = Path::new(OsStr::from_bytes(program));
    let search = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin:/bin"));
    let found = || std::env::split_paths(&search).map(|dir| dir.join(name)).find(|p| p.exists());
    if program.contains(&b'/') { None } else { found() }.unwrap_or_else(|| name.to_path_buf())
}

fn list(text: &str) -> impl Iterator<Item = i32> {
    text.split(',').filter(|part| !part.is_empty()).map(number_of)
}

fn two(text: &str) -> (&str, &str) {
    text.split_once(':').unwrap_or_else(|| panic!("puppet: {text}: a colon is missing"))
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("puppet: {text}: no number"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).expect("hex"))
        .collect()
}

/// Takes so many MiB of memory, and writes to each page.
fn eat(mebibytes: u64) {
    for _ in 0..mebibytes {
        std::mem::forget(vec![1u8; 1 << 20]);
    }
}
