//! Readiness towards others: the observer's answers, the file, the service manager above; and what the
//! app says of itself.

use std::ffi::{CString, OsStr};
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;

use super::Hands;
use crate::account::incident::{Incident, Kin};
use crate::account::journal;
use crate::config::user::User;
use crate::config::{Config, When};
use crate::life::background_write::exit_code;
use crate::life::children::Role;
use crate::life::files::Files;
use crate::machine::Machine;
use crate::machine::phase::PhaseName;
use crate::machine::ready::Notice;
use crate::notify::{self, Family, Message, Sender};
use crate::observer::{Listener, Observer, Snapshot};
use crate::sys::launch::spawn::{self, Setup, Task};
use crate::sys::notify::{self as socket, Datagram, Line, Sent, Socket, Upward};
use crate::sys::{process, reap};
use crate::types::{Pid, Status, Time};

/// The file of `--ready-file`. It is made and removed by children, one at a time: a file system that
/// hangs must not hold up PID 1.
#[derive(Debug)]
pub(super) struct ReadyFile {
    path: CString,
    /// Whether it is to exist.
    wanted: bool,
    /// Whether it does, or what the child at work makes of it.
    exists: bool,
}

impl ReadyFile {
    /// Removes what an earlier life has left. Nothing depends on us yet, so this may fail.
    pub(super) fn new(path: CString) -> Result<ReadyFile, String> {
        let file = ReadyFile { path, wanted: false, exists: false };
        match fs::remove_file(file.path()) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(format!(
                "unable to remove {}: {error}; name a file that can be made and removed with \
                 --ready-file",
                file.path().display()
            )),
            Ok(()) | Err(_) => Ok(file),
        }
    }

    fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(self.path.to_bytes()))
    }
}

/// Never through a link: in a directory that the app can write, it could have us make any file.
fn make(path: &Path) -> io::Result<()> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    OpenOptions::new().create(true).append(true).custom_flags(flags).open(path).map(drop)
}

impl Hands {
    /// The app can be sent work from now on, or not any more.
    pub(super) fn set_ready(&mut self, ready: bool, now: Time) {
        if let Some(file) = &mut self.opened.ready_file {
            file.wanted = ready;
        }
        self.write_ready_file();
        if ready {
            self.tell(now, &Message::Ready);
        } else if !self.told_stopping {
            self.told_stopping = true;
            self.tell(now, &Message::Stopping);
        }
    }

    fn write_ready_file(&mut self) {
        let Some(file) = &mut self.opened.ready_file else { return };
        if file.wanted == file.exists || self.children.pid(Role::ReadyFileWriter).is_some() {
            return;
        }
        file.exists = file.wanted;
        let (path, wanted) = (file.path(), file.wanted);
        let call = || exit_code(if wanted { make(path) } else { fs::remove_file(path) });
        match spawn::spawn(Task::Call(&call), &Setup::CLEAN) {
            Ok(child) => self.children.add(child.pid, Role::ReadyFileWriter),
            // Nobody may be sent here because a limit of processes is reached. That the file system
            // hangs as well is the lesser danger.
            Err(error) => {
                log::debug!("unable to start what writes the file of --ready-file: {error}");
                let code = call();
                self.clerk_ended(Status::Code(code));
            }
        }
    }

    /// The child that writes the ready file has ended.
    pub fn clerk_ended(&mut self, status: Status) {
        let Some(file) = &mut self.opened.ready_file else { return };
        match status {
            Status::Code(0) => {}
            Status::Code(errno) => {
                let verb = if file.exists { "make" } else { "remove" };
                let why = Errno::from_raw(i32::from(errno)).desc();
                let path = file.path().display();
                journal::warn(format!("unable to {verb} {path}: {why}; going on"));
            }
            // It was killed with the rest of the tree; the file may be there or not.
            Status::Signal(_) => file.exists = !file.wanted,
        }
        self.write_ready_file();
    }

    // ---- the observer -------------------------------------------------------------------------

    /// Tells the observer how things are: before anything else of an event is done.
    pub fn publish(&mut self, machine: &Machine) {
        let name = machine.phase().name();
        if self.published == Some((machine.ready(), name)) {
            return;
        }
        self.published = Some((machine.ready(), name));
        self.close_eyes(machine);
        self.opened.observer.publish(&Snapshot {
            ready: machine.ready(),
            live: true,
            stopping: name >= PhaseName::PreStop,
            phase: match name {
                // It has said that it ends by itself.
                PhaseName::Ready if !machine.ready() => "ending".into(),
                name => name.as_str().into(),
            },
        });
    }

    // ---- upwards ------------------------------------------------------------------------------

    /// Tells whoever started graceinit, if they want to hear of it.
    pub fn tell(&mut self, now: Time, message: &Message) {
        if let Some(upward) = &mut self.opened.upward {
            let sent = upward.send(now, message);
            self.judge_sent(sent);
        }
    }

    /// What found no room is tried again.
    pub fn retry_upward(&mut self, now: Time) {
        if let Some(upward) = &mut self.opened.upward {
            if upward.due().is_some_and(|due| due <= now) {
                let sent = upward.retry(now);
                self.judge_sent(sent);
            }
        }
    }

    fn judge_sent(&mut self, sent: Sent) {
        match sent {
            // runc and others listen for READY only: that they have gone then is no news.
            Sent::Yes => self.warned_of_upward = true,
            Sent::Full => {}
            Sent::Failed(error) => {
                if !std::mem::replace(&mut self.warned_of_upward, true) {
                    let text = format!("unable to send to NOTIFY_SOCKET: {error}; going on");
                    journal::warn(text);
                }
            }
        }
    }

    // ---- what the app says --------------------------------------------------------------------

    /// Whether the app has somewhere to say something.
    pub fn is_spoken_to(&self) -> bool {
        self.opened.socket.is_some() || self.ready_pipe.is_some()
    }

    /// What the app has said since the last time, as far as the machine has to know. Whoever waits for
    /// an answer (`BARRIER=1`) gets it when what comes back is dropped.
    pub fn notices(&mut self, now: Time) -> (Vec<Notice>, Vec<Datagram>) {
        if self.opened.socket.is_none() { Default::default() } else { self.receive(now) }
    }

    // Apart, because of the room that a message needs on the stack.
    #[inline(never)]
    fn receive(&mut self, now: Time) -> (Vec<Notice>, Vec<Datagram>) {
        let mut datagrams = Vec::new();
        if let Some(socket) = &mut self.opened.socket {
            socket.receive(&mut datagrams);
        }
        let mut notices = Vec::new();
        for datagram in &datagrams {
            self.datagram(datagram, now, &mut notices);
        }
        (notices, datagrams)
    }

    fn datagram(&mut self, datagram: &Datagram, now: Time, notices: &mut Vec<Notice>) {
        let sender = datagram.sender;
        let said = datagram.bytes.as_deref().map(notify::parse);
        if said.as_ref().is_some_and(Vec::is_empty) {
            return;
        }
        let helpers = self.helpers();
        if let Err(refusal) = socket::hear(&self.family(&helpers), sender) {
            return self.refuse(sender, &refusal.to_string());
        }
        let Some(said) = said else {
            return self.refuse(sender, "it is too long");
        };
        for one in said {
            notices.extend(self.heard(one, now));
        }
    }

    /// Once: a stranger must not be able to fill the log.
    fn refuse(&mut self, sender: Sender, why: &str) {
        let again = std::mem::replace(&mut self.refused, true);
        let Sender { pid, uid, .. } = sender;
        journal::incident(&Incident::Unheard { pid, uid, why: why.to_owned(), again });
    }

    fn heard(&mut self, said: notify::Notice, now: Time) -> Option<Notice> {
        match said {
            notify::Notice::Ready => {
                if std::mem::take(&mut self.reloading) {
                    self.tell(now, &Message::Ready);
                }
                Some(Notice::Ready)
            }
            notify::Notice::Stopping => Some(Notice::Stopping),
            notify::Notice::Reloading => {
                journal::incident(&Incident::Reloads);
                self.reloading = true;
                self.tell(now, &Message::Reloading(now));
                None
            }
            notify::Notice::Status(text) => {
                journal::incident(&Incident::Says { text: text.clone() });
                self.tell(now, &Message::Status(text));
                None
            }
            notify::Notice::MoreTime(span) => Some(Notice::MoreTime(span)),
            notify::Notice::Watchdog => {
                if self.opened.watched {
                    self.tell(now, &Message::Watchdog);
                }
                Some(Notice::Alive)
            }
            notify::Notice::WatchdogTrigger => Some(Notice::Dead),
            notify::Notice::WatchdogInterval(span) => {
                if self.opened.watched {
                    self.tell(now, &Message::WatchdogInterval(span));
                }
                Some(Notice::Interval(span))
            }
            notify::Notice::MainPid(pid) => {
                (self.app != Some(Pid(pid))).then_some(Notice::MainPid(Pid(pid)))
            }
            notify::Notice::Errno(errno) => {
                journal::incident(&Incident::Failed { errno });
                None
            }
            notify::Notice::Barrier => None,
        }
    }

    /// Who may speak for the app.
    fn family<'a>(&self, helpers: &'a [Pid]) -> Family<'a> {
        let own_uid = process::own_uid();
        Family {
            own: process::own_pid(),
            app: self.children.pid(Role::App),
            helpers,
            own_uid,
            app_uid: self.config.user.as_ref().map_or(own_uid, |user| User::ids(user).0),
        }
    }

    /// Everybody whom graceinit has started but the app.
    pub(super) fn helpers(&self) -> Vec<Pid> {
        self.children.helpers().into_iter().chain(self.opened.aside()).collect()
    }

    // ---- the main process ---------------------------------------------------------------------

    /// `MAINPID=`: should the app's process end, this one is the app.
    pub(super) fn follow_main(&mut self, pid: Pid) {
        let helpers = self.helpers();
        if socket::may_be_main(&self.family(&helpers), pid) {
            self.heir = Some(pid);
        } else {
            journal::incident(&Incident::ForeignMain { pid });
        }
    }

    /// The app's process has ended: the one that takes its place, if there is such a one. It came to us
    /// when its parent ended. The id of its group.
    pub fn succession(&mut self, ended: Pid) -> Option<Pid> {
        let heir = self.heir.take().filter(|heir| *heir != ended)?;
        let group = reap::is_alive(heir).then(|| crate::sys::tree::look_up(heir))??.group;
        let status = reap::reap(ended)?;
        journal::incident(&Incident::Reaped { kin: Kin::App, pid: ended, status, warn: false });
        self.children.forget(ended);
        self.children.add(heir, Role::App);
        self.app = Some(heir);
        // In ours it is not to be signalled as a group.
        let group = if group == crate::sys::tty::own_group() { heir } else { group };
        self.group = Some(group);
        journal::incident(&Incident::TookOver { pid: heir });
        Some(group)
    }

    // ---- a line on a descriptor ---------------------------------------------------------------

    /// Whether the app has written its newline.
    pub fn newline(&mut self) -> bool {
        match self.ready_pipe.as_mut().map(socket::ReadyPipe::read) {
            None | Some(Line::Pending) => false,
            Some(Line::Ready) => {
                self.ready_pipe = None;
                true
            }
            Some(Line::Closed) => {
                self.ready_pipe = None;
                journal::warn("the app has closed the descriptor of --ready fd without a newline");
                false
            }
        }
    }

    /// The number under which the app finds its end of the pipe.
    pub(super) fn ready_number(&self) -> Option<i32> {
        self.config.ready.iter().find_map(|ready| match ready.when {
            When::Fd(number) => Some(number),
            When::Notify | When::Signal(_) | When::After(_) | When::Probe(_) => None,
        })
    }
}

/// What graceinit opens before the app is started.
#[derive(Debug)]
pub struct Opened {
    /// Answers what the network asks.
    pub observer: Observer,
    /// Those that the account is written to.
    pub files: Files,
    ready_file: Option<ReadyFile>,
    /// The app's NOTIFY_SOCKET.
    pub(super) socket: Option<Socket>,
    /// Whoever started graceinit and wants to hear from it.
    pub(super) upward: Option<Upward>,
    /// They want signs of life.
    watched: bool,
}

impl Opened {
    /// Opens it. `watched`: whoever started graceinit wants signs of life.
    ///
    /// # Errors
    /// What could not be opened, and what to do.
    pub fn open(config: &Config, watched: bool, files: &mut Files) -> Result<Opened, String> {
        let mut listeners = Vec::new();
        for address in &config.listen {
            listeners.push(Listener::open(address).map_err(|error| {
                format!("unable to listen on {address}: {error}; name another one with --listen")
            })?);
        }
        let ready_file = config.ready_file.clone().map(ReadyFile::new).transpose()?;
        // In place of another program that knows nothing of it, the app keeps the socket that it was given.
        let from = || if config.plain { Ok(None) } else { Upward::from_environment() };
        let upward = from().unwrap_or_else(|why| {
            journal::warn(why.to_string());
            None
        });
        // Where nothing could come of it there is none.
        let notify = config.ready.iter().any(|ready| ready.when == When::Notify);
        let more_time = config.plan.grace_max > config.plan.grace;
        let given = !config.plain && process::variable("NOTIFY_SOCKET").is_some();
        let wanted = notify || more_time || given || watched;
        let socket = wanted.then(Socket::open).transpose().map_err(|error| {
            format!(
                "unable to open a notify socket for the app: {error}; is there a network namespace?"
            )
        })?;
        // Each is nobody, whoever graceinit and the app are.
        let observer = Observer::new(listeners, None);
        let files = std::mem::take(files);
        Ok(Opened { observer, files, ready_file, socket, upward, watched })
    }

    /// The children that are no part of the tree: whatever is sent to all spares them.
    pub(super) fn aside(&self) -> impl Iterator<Item = Pid> + '_ {
        self.observer.pid().into_iter().chain(self.files.pids())
    }

    /// What the app is told of its socket.
    pub(super) fn variable(&self) -> Option<CString> {
        self.socket.as_ref().map(Socket::variable)
    }

    /// The app's socket goes, and its name with it if it has one in a directory.
    pub fn close_socket(&mut self) {
        self.socket = None;
    }

    /// When something of it is due.
    pub fn due(&self) -> Option<Time> {
        let upward = self.upward.as_ref().and_then(Upward::due);
        self.observer.due().into_iter().chain(upward).chain(self.files.due()).min()
    }
}
