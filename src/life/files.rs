//! Starts the account, and writes it to the report and the metrics file as it changes.

use std::ffi::{CString, OsString};
use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::FileStat;

use crate::account::document::{self, Account};
use crate::account::incident::Incident;
use crate::account::log::Format;
use crate::account::metrics::{self, Form};
use crate::account::time::{Span, Wall};
use crate::account::{journal, report, set_trace, text};
use crate::cli::{OptionId, VERSION};
use crate::config::Config;
use crate::config::hooks::Hook;
use crate::life::background_write::BackgroundWrite;
use crate::life::hooks::environment;
use crate::life::kept::{Content, Kept, as_path, reason, shown};
use crate::machine::fact::{Fact, Reason};
use crate::machine::hooks::HookPhase;
use crate::machine::phase::PhaseName;
use crate::machine::plan::Ending;
use crate::sys::mounts::{self, Mounts};
use crate::sys::safe_path::{Last, Place};
use crate::sys::sharing::{self, Done};
use crate::sys::{clock, last_report, process};
use crate::types::{Pid, Time};

/// Keeps an account if `--listen`, `--report` or `--metrics-file` needs one.
pub fn keep_account(config: &Config) {
    if config.is_watched() || config.log_format == Format::Json {
        set_trace(environment::trace().id());
    }
    if !config.is_watched() {
        return;
    }
    let settings = config.settings.iter().map(|setting| document::Setting {
        name: setting.option.to_string(),
        value: text::cut(&setting.value),
        source: setting.source.to_string(),
    });
    let words: Vec<_> = config.command.iter().map(|word| word.to_string_lossy()).collect();
    let hooks = HookPhase::ALL.iter().flat_map(|phase| {
        let named = |hook: &Hook| document::Hook {
            phase: phase.as_str().to_owned(),
            name: hook.name.clone(),
            ..document::Hook::default()
        };
        config.hooks.of(*phase).iter().map(named)
    });
    let starting = PhaseName::Starting.as_str().to_owned();
    let account = Account {
        v: document::VERSION,
        program: format!("graceinit {VERSION}"),
        began: Wall(clock::wall().as_micros() as u64),
        trace_id: environment::trace().id().to_owned(),
        // The machine starts in this phase, so no fact says that it was entered.
        phase: starting.clone(),
        phases: vec![document::Stretch { phase: starting, ..document::Stretch::default() }],
        app: document::App { command: text::cut(&words.join(" ")), ..document::App::default() },
        hooks: hooks.collect(),
        settings: settings.collect(),
        ..Account::default()
    };
    journal::keep(account, clock::now());
}

/// While only counters change, the metrics file is written once in this time.
const PAUSE: Duration = Duration::from_secs(5);
/// Before a stop a new phase is written after this time.
const SOON: Duration = Duration::from_millis(50);
/// At exit graceinit waits this long at most for the files.
const LEAVING: Duration = Duration::from_millis(250);

/// The phases before a stop.
const BEFORE: [PhaseName; 3] = [PhaseName::Starting, PhaseName::Running, PhaseName::Ready];

/// The files of `--report` and `--metrics-file`. They are opened before the app is started. Helpers open and write
/// them, so that a file system that hangs cannot block PID 1.
#[derive(Debug, Default)]
pub struct Files {
    report: Option<Kept<Report>>,
    metrics: Option<Kept<Metrics>>,
    /// The state of the account at the last update.
    seen: Seen,
}

/// The parts of the account that decide when to write.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Seen {
    changes: u64,
    phase: String,
    stopping: bool,
    ended: bool,
    survivors: usize,
}

impl Seen {
    fn now() -> Seen {
        let look = |account: &Account| Seen {
            changes: 0,
            phase: account.phase.clone(),
            // The dead-man timer runs from here on.
            stopping: !BEFORE.iter().any(|phase| phase.as_str() == account.phase),
            ended: account.app.ended.is_some(),
            survivors: account.survivors.len(),
        };
        let seen = journal::read(look).unwrap_or_default();
        Seen { changes: journal::changes(), ..seen }
    }
}

impl Files {
    /// Opens the report, and finds out whether the metrics file can be made, before the app depends on graceinit. The
    /// first version is written when the app runs. A file that was opened stays in `self` even if the other could not
    /// be.
    ///
    /// # Errors
    /// A file could not be opened, and what to do.
    pub fn open(&mut self, config: &Config) -> Result<(), String> {
        if !config.is_watched() {
            return Ok(());
        }
        let mounts = Mounts::read();
        if let Some(path) = &config.watch.report {
            let report = Report::begin(path, config, &mounts).map_err(|error| {
                format!(
                    "unable to open {} ({}): {}; name a file that can be written",
                    shown(path),
                    config.source_of(OptionId::Report),
                    reason(&error)
                )
            })?;
            let began = journal::began().unwrap_or_else(clock::now);
            last_report::keep(report.file.as_fd(), report.is_file, began);
            self.report.insert(Kept::new(report)).want(clock::now().after(SOON));
        }
        if let Some(path) = &config.watch.metrics_file {
            let file = Metrics::new(path);
            let is_local = mounts.are_local_to(as_path(path));
            at_the_start(config, is_local, &|| {
                // Whether another file system answers shows only when it has to write.
                if is_local { file.check() } else { file.write() }?;
                Ok(Done { file: None, notes: [0; 3] })
            })
            .map_err(|error| {
                format!(
                    "unable to write {} ({}): {}; name a file in a directory that can be written",
                    shown(path),
                    config.source_of(OptionId::MetricsFile),
                    reason(&error)
                )
            })?;
            self.metrics.insert(Kept::new(file)).want(clock::now().after(SOON));
        }
        self.seen = Seen::now();
        Ok(())
    }

    /// Starts the writes that are due. The loop calls this in every round.
    pub fn update(&mut self, now: Time) {
        if self.report.is_none() && self.metrics.is_none() {
            return;
        }
        let news = journal::changes() != self.seen.changes;
        if news {
            let before = std::mem::replace(&mut self.seen, Seen::now());
            let seen = Seen { changes: before.changes, ..self.seen.clone() };
            if seen != before {
                if self.report.is_some() && seen.stopping {
                    prepare_dead_mans_report();
                }
                let entered = seen.phase != before.phase;
                // A life that ends at once needs the last version only.
                let when = if seen.stopping { now } else { now.after(SOON) };
                if let Some(report) = self.report.as_mut().filter(|r| entered && r.file.is_file) {
                    report.want(when);
                }
                if let Some(metrics) = self.metrics.as_mut().filter(|_| entered) {
                    metrics.want(when);
                }
            }
            if let Some(metrics) = &mut self.metrics {
                metrics.want(metrics.last.after(PAUSE));
            }
        }
        if let Some(report) = &mut self.report {
            report.go_on(now);
        }
        if let Some(metrics) = &mut self.metrics {
            metrics.go_on(now);
        }
    }

    /// Prepares the report that the dead-man's handler writes: the loop may get stuck while it reads the process tree.
    pub fn prepare_last_report(&self) {
        if self.report.is_some() {
            prepare_dead_mans_report();
        }
    }

    /// Starts to write the last version, of the complete account.
    pub fn begin_last(&mut self, now: Time) {
        last_report::revoke();
        if let Some(report) = &mut self.report {
            report.begin_last(now);
        }
        if let Some(metrics) = &mut self.metrics {
            metrics.begin_last(now);
        }
    }

    /// Waits for the last version, for a bounded time.
    pub fn finish(&mut self, now: Time) {
        let end = now.after(LEAVING);
        if let Some(report) = &mut self.report {
            report.finish(end);
        }
        if let Some(metrics) = &mut self.metrics {
            metrics.finish(end);
        }
        if let Some(Kept { file, .. }) = self.report.as_ref().filter(|kept| !kept.file.is_local) {
            sharing::close_before_exit(file.file.as_fd());
        }
    }

    /// Logs a fatal error: the app was never started.
    pub fn never_started(&mut self, why: String, code: u8) {
        journal::incident(&Incident::NotExecuted { why });
        journal::record(&Fact::AppEnded { ending: Ending::NotStarted(code) });
        journal::record(&Fact::Exit { code, reason: Reason::Crash });
        let now = clock::now();
        self.begin_last(now);
        self.finish(now);
    }

    /// The descriptors that the main loop waits for.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.writes().filter_map(BackgroundWrite::fd)
    }

    /// Every descriptor that belongs to the files.
    pub fn owned(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let report = self.report.iter().map(|report| report.file.file.as_fd());
        report.chain(self.writes().filter_map(BackgroundWrite::owned))
    }

    /// The children that write. They are no part of the tree.
    pub fn pids(&self) -> impl Iterator<Item = Pid> + '_ {
        self.writes().filter_map(BackgroundWrite::pid)
    }

    /// When the next write is due.
    pub fn due(&self) -> Option<Time> {
        let report = self.report.as_ref().and_then(Kept::due);
        let metrics = self.metrics.as_ref().and_then(Kept::due);
        report.into_iter().chain(metrics).min()
    }

    fn writes(&self) -> impl Iterator<Item = &BackgroundWrite> {
        let report = self.report.iter().map(|report| &report.write_process);
        report.chain(self.metrics.iter().map(|metrics| &metrics.write_process))
    }
}

/// How long a file system may take to answer before the app is started.
const ANSWERING: Duration = Duration::from_secs(5);

/// Does what a file needs before the app is started. If its file system may hang, a helper does it, and is waited for:
/// until the file system should have answered, or a stop is requested.
pub(super) fn at_the_start(
    config: &Config,
    is_local: bool,
    work: &dyn Fn() -> io::Result<Done>,
) -> io::Result<Done> {
    if is_local {
        return work();
    }
    sharing::perform(work, ANSWERING, config.plan.stop_on)
}

/// Renews the report that the dead-man's handler would write now.
fn prepare_dead_mans_report() {
    let moment = Span(last_report::MOMENT_MICROS);
    let line = journal::read(|account| {
        let mut account = account.clone();
        account.age = moment;
        account.ready = false;
        account.killed.get_or_insert_with(|| document::Killed { at: moment, ..Default::default() });
        let reason = Reason::Deadline.as_str().to_owned();
        // Three digits, which the handler replaces by the exit code.
        account.exit = Some(document::Exit { at: moment, code: 255, reason, dead_man: true });
        report::fit(&account, last_report::LONGEST - 1)
    });
    last_report::renew(&line.unwrap_or_default());
}

/// `--report`. Opened once: the app may replace the path later, or graceinit may change its directory.
#[derive(Debug)]
struct Report {
    path: CString,
    file: File,
    /// A regular file is overwritten whenever the account changes. Anything else gets one line at the end.
    is_file: bool,
    /// It cannot hang: it lies on a local file system, or is no file.
    is_local: bool,
}

impl Report {
    /// Opens the report at the start. What an earlier life has written is not true of this one.
    fn begin(path: &CString, config: &Config, mounts: &Mounts) -> io::Result<Report> {
        let is_local = mounts.are_local_to(as_path(path));
        let done = at_the_start(config, is_local, &|| {
            let report = Report::open(path, is_local)?;
            if report.is_file && report.file.metadata()?.len() > 0 {
                report.file.set_len(0)?;
            }
            if report.is_file && !is_local {
                // Whether another file system answers shows only when it has to write. If it refuses, the next write
                // says so.
                let _ = report.write();
            }
            let notes = [report.is_file.into(), report.is_local.into(), 0];
            Ok(Done { file: Some(report.file.into()), notes })
        })?;
        let file = done.file.ok_or(io::ErrorKind::NotFound)?;
        let [is_file, is_local, _] = done.notes;
        let path = path.clone();
        Ok(Report { path, file: file.into(), is_file: is_file != 0, is_local: is_local != 0 })
    }

    fn open(path: &CString, is_local: bool) -> io::Result<Report> {
        let place = Place::find(as_path(path), Last::Follow)?;
        let known = place.look();
        let (file, is_file) = match known.as_ref().and_then(own_stream) {
            // Opened again, a log would be written from its beginning, and a socket cannot be opened.
            Some(file) => (file?, false),
            None => {
                // The reader of a FIFO may come later, and this open(2) must not block.
                let is_fifo =
                    known.is_some_and(|known| known.st_mode & libc::S_IFMT == libc::S_IFIFO);
                let how = if is_fifo { OFlag::O_RDWR } else { OFlag::O_WRONLY | OFlag::O_CREAT };
                let file = place.open(how | OFlag::O_NONBLOCK | OFlag::O_NOCTTY, 0o644)?;
                let is_file = file.metadata()?.is_file();
                // The writing child may block on a full pipe: PID 1 does not wait for it.
                fcntl(&file, FcntlArg::F_SETFL(OFlag::empty()))?;
                (file, is_file)
            }
        };
        let look =
            || mounts::file_type(file.as_raw_fd()).is_some_and(|kind| mounts::is_local(&kind));
        let is_local = is_local || !is_file || look();
        Ok(Report { path: path.clone(), file, is_file, is_local })
    }
}

/// A copy of graceinit's own stdout or stderr, if the path leads to one of them.
fn own_stream(known: &FileStat) -> Option<io::Result<File>> {
    let (out, err) = (io::stdout(), io::stderr());
    [out.as_fd(), err.as_fd()].into_iter().find_map(|stream| {
        let copy = stream.try_clone_to_owned().map(File::from);
        let own = copy.as_ref().ok().and_then(|copy| nix::sys::stat::fstat(copy).ok())?;
        ((own.st_dev, own.st_ino) == (known.st_dev, known.st_ino)).then_some(copy)
    })
}

impl Content for Report {
    fn path(&self) -> &CString {
        &self.path
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.file.as_fd())
    }

    fn write(&self) -> io::Result<()> {
        let fit = |account: &Account| report::fit(account, report::LONGEST - 1);
        let mut line = journal::read(fit).unwrap_or_default();
        line.push(b'\n');
        if !self.is_file {
            return (&self.file).write_all(&line);
        }
        // One write over the old content, then truncate: a reader sees one whole line at any moment, at most with
        // spaces behind it.
        let length = line.len();
        line.resize(report::LONGEST.max(length), b' ');
        self.file.write_all_at(&line, 0)?;
        self.file.set_len(length as u64)
    }
}

/// `--metrics-file`.
#[derive(Debug)]
struct Metrics {
    path: CString,
    /// The name of a temporary file beside it. It is random: several graceinits, each of them PID 1, may share a
    /// directory.
    draft: OsString,
}

impl Metrics {
    fn new(path: &CString) -> Metrics {
        let id = u64::from_ne_bytes(process::random());
        // The textfile collector reads names that end with .prom.
        Metrics { path: path.clone(), draft: format!(".graceinit-{id:016x}.tmp").into() }
    }

    /// Finds out whether the file can be made, as far as that shows without making it.
    fn check(&self) -> io::Result<()> {
        let place = Place::find(as_path(&self.path), Last::Keep)?;
        if place.look().is_some_and(|known| known.st_mode & libc::S_IFMT == libc::S_IFDIR) {
            return Err(Errno::EISDIR.into());
        }
        place.may_add()
    }

    /// Replaces the file in one step. Another user may be able to write the directory: the draft is a new file, and
    /// the directory was reached without a link of another user.
    fn replace(&self, text: &[u8]) -> io::Result<()> {
        let place = Place::find(as_path(&self.path), Last::Keep)?;
        let draft = place.beside(&self.draft)?;
        let open = || draft.open(OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL, 0o644);
        let file = match open() {
            // An earlier writing child was killed.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                draft.remove()?;
                open()
            }
            file => file,
        };
        let mut file = file?;
        // Independent of the umask: the collector runs as another user.
        let whole = file.set_permissions(Permissions::from_mode(0o644));
        let whole = whole.and_then(|()| file.write_all(text));
        let done = whole.and_then(|()| draft.rename_to(&place));
        if done.is_err() {
            let _ = draft.remove();
        }
        done
    }
}

impl Content for Metrics {
    fn path(&self) -> &CString {
        &self.path
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn write(&self) -> io::Result<()> {
        let text = journal::read(|account| metrics::render(account, Form::Text));
        self.replace(text.unwrap_or_default().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_reader_never_sees_half_of_a_metrics_file() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("app.prom");
        let file = Metrics::new(&CString::new(path.as_os_str().as_bytes()).expect("a path"));
        let text = |n: usize| format!("{n}\n{}end {n}\n", "x 1\n".repeat(n * 97 % 5000));
        file.replace(text(0).as_bytes()).expect("a first version");
        let over = AtomicBool::new(false);
        let reads = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut reads = 0;
                while !over.load(Ordering::Relaxed) || reads == 0 {
                    let seen = fs::read_to_string(&path).expect("always there");
                    let n = seen.lines().next().and_then(|n| n.parse().ok()).expect("a number");
                    assert_eq!(seen, text(n));
                    reads += 1;
                }
                reads
            });
            for n in 1..=200 {
                file.replace(text(n).as_bytes()).expect("a version");
            }
            over.store(true, Ordering::Relaxed);
            reader.join().expect("the reader")
        });
        assert!(reads > 0);
        let left: Vec<_> = fs::read_dir(place.path()).expect("a directory").collect();
        assert_eq!(left.len(), 1, "drafts are left: {left:?}");
    }

    #[test]
    fn a_metrics_file_that_cannot_be_made_is_known_before_it_is_written() {
        let place = tempfile::tempdir().expect("a directory");
        let check = |name: &str| {
            let path = place.path().join(name);
            let file = Metrics::new(&CString::new(path.as_os_str().as_bytes()).expect("a path"));
            file.check().err().and_then(|error| error.raw_os_error())
        };
        fs::create_dir(place.path().join("dir")).expect("a directory");
        assert_eq!(check("app.prom"), None);
        assert_eq!(check("dir"), Some(libc::EISDIR));
        assert_eq!(check("none/app.prom"), Some(libc::ENOENT));
        let left: Vec<_> = fs::read_dir(place.path()).expect("a directory").collect();
        assert_eq!(left.len(), 1, "something was made: {left:?}");
    }

    #[test]
    fn a_draft_that_was_left_is_no_obstacle_and_no_way_out() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("app.prom");
        let file = Metrics::new(&CString::new(path.as_os_str().as_bytes()).expect("a path"));
        let victim = place.path().join("victim");
        fs::write(&victim, "untouched").expect("a file");
        std::os::unix::fs::symlink(&victim, place.path().join(&file.draft)).expect("a link");
        file.replace(b"a 1\n").expect("written all the same");
        assert_eq!(fs::read(&path).expect("the file"), b"a 1\n");
        assert_eq!(fs::read(&victim).expect("the other"), b"untouched");
        let mode = fs::metadata(&path).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
    }
}
