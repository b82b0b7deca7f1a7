//! Helpers that share the descriptors of this process: what such a helper opens is open here, and what it closes is
//! closed here. So open(2) and close(2), which can wait for ever for the server of a file system, are the helper's, and
//! their results are this process's. (The kernel takes a descriptor out of the table before it asks the file system.)

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};
use std::time::Duration;

use super::fd::{self, Read};
use super::helper::{Descriptors, Given, Helper};
use super::{clock, mounts, poll, signals, tree};
use crate::types::{Pid, SignalSet};

/// Between two looks whether a stop is requested.
const LOOK: Duration = Duration::from_millis(50);
/// How long a helper that has done its work may take to exit.
const EXITING: Duration = Duration::from_millis(10);

/// The last helper of this file; 0: none.
static LAST: AtomicI32 = AtomicI32::new(0);

/// How the helpers of this file are made. They open and close, and read no input.
const GIVEN: Given<'static> = Given {
    name: c"graceinit-file",
    user: None,
    trusted: true,
    log: true,
    descriptors: Descriptors::Shared,
    files: 16,
};

/// Closes the descriptors from 3 on except `keep`, if that cannot wait. Returns the numbers of those that are still
/// open.
pub fn close_others(keep: &[BorrowedFd<'_>]) -> Vec<i32> {
    let found = others(keep);
    let (hanging, others): (Vec<i32>, Vec<i32>) = found.into_iter().partition(|n| may_hang(*n));
    others.into_iter().for_each(|number| drop(take(number)));
    hanging
}

/// The open descriptors from 3 on except `keep`.
fn others(keep: &[BorrowedFd<'_>]) -> Vec<i32> {
    let is_other = |number: i32| number > 2 && keep.iter().all(|kept| kept.as_raw_fd() != number);
    let mut found = Vec::new();
    if !tree::each_descriptor(|number| found.extend(Some(number).filter(|n| is_other(*n)))) {
        found =
            (3..fd::limit()).filter(|number| is_other(*number) && fd::is_open(*number)).collect();
    }
    found
}

/// Closes these descriptors in a helper. Returns the helper, and a pipe that ends when it has closed them. Until then
/// no other code may close one of them.
///
/// # Errors
/// No process or no descriptor is left.
pub fn close(numbers: Vec<i32>) -> io::Result<(Helper, OwnedFd)> {
    let (pipe, end) = fd::pipe()?;
    let end = end.into_raw_fd();
    let work = || {
        numbers.iter().chain([&end]).for_each(|number| drop(take(*number)));
        0
    };
    match start(&work) {
        Ok(helper) => Ok((helper, pipe)),
        Err(error) => {
            drop(take(end));
            Err(error)
        }
    }
}

/// Closes this descriptor in a helper, and waits until it is out of the table. For the end of a life: the kernel closes
/// what is open when a process exits, and the exit would wait.
pub fn close_before_exit(file: BorrowedFd<'_>) {
    if let Ok((helper, pipe)) = close(vec![file.as_raw_fd()]) {
        let now = clock::now();
        poll::wait(&[pipe.as_fd()], Some(now.after(EXITING)), now);
        helper.kill();
    }
}

/// What was done in a helper.
#[derive(Debug)]
pub struct Done {
    /// The file that was opened.
    pub file: Option<OwnedFd>,
    /// What else the work has to say.
    pub notes: [i32; 3],
}

/// Calls `work` in a helper, and waits for it: at most for `patience`, and no longer than until one of the signals
/// `stop_on` is pending. For the start, when there is no loop yet.
///
/// # Errors
/// That of `work`. An error that is not the kernel's: the file system does not answer.
pub fn perform(
    work: &dyn Fn() -> io::Result<Done>,
    patience: Duration,
    stop_on: SignalSet,
) -> io::Result<Done> {
    let (pipe, end) = fd::pipe()?;
    let end = end.into_raw_fd();
    let helper = start(&|| {
        let answer = match work() {
            Ok(Done { file, notes: [a, b, c] }) => {
                [0, file.map_or(-1, IntoRawFd::into_raw_fd), a, b, c]
            }
            Err(error) => [error.raw_os_error().unwrap_or(libc::EIO), -1, 0, 0, 0],
        };
        let bytes = answer.map(i32::to_ne_bytes);
        let end = take(end);
        u8::from(nix::unistd::write(&end, bytes.as_flattened()).is_err())
    });
    let helper = match helper {
        Ok(helper) => helper,
        Err(_) => {
            // A limit of processes is reached. That the file system hangs as well is less likely.
            drop(take(end));
            return work();
        }
    };
    let mut answer = Vec::new();
    let until = clock::now().after(patience);
    loop {
        let mut bytes = [0; 20];
        match fd::read(pipe.as_fd(), &mut bytes) {
            Read::Bytes(count) => answer.extend_from_slice(&bytes[..count]),
            Read::End => break,
            Read::Empty => {
                let now = clock::now();
                if now >= until || signals::is_any_pending(stop_on) {
                    helper.kill();
                    return Err(io::Error::other("its file system does not answer"));
                }
                poll::wait(&[pipe.as_fd()], Some(until.min(now.after(LOOK))), now);
            }
        }
    }
    helper.wait_for_end(EXITING);
    let _ = helper.reap();
    let mut numbers = answer.chunks_exact(4).map(|n| i32::from_ne_bytes([n[0], n[1], n[2], n[3]]));
    let mut next = || numbers.next().unwrap_or(-1);
    let (errno, file) = (next(), next());
    let file = (file >= 0).then(|| take(file));
    match errno {
        0 => Ok(Done { file, notes: [next(), next(), next()] }),
        // The helper was killed.
        -1 => Err(io::Error::from_raw_os_error(libc::EIO)),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

fn start(work: &dyn Fn() -> u8) -> io::Result<Helper> {
    let helper = Helper::start(&GIVEN, work)?;
    LAST.store(helper.pid().0, SeqCst);
    Ok(helper)
}

/// Closes what this process has open, except files that can hang, if a helper that hangs would keep it open: the reader of
/// the log must see its end. Called just before the exit.
pub fn let_go() {
    let last = LAST.load(SeqCst);
    if last == 0 || !signals::exists(Pid(last)) {
        return;
    }
    for number in (0..3).chain(others(&[])).filter(|n| fd::is_open(*n) && !may_hang(*n)) {
        drop(take(number));
    }
}

/// Whether close(2) may wait for the server of a file system.
fn may_hang(number: i32) -> bool {
    mounts::file_type(number).is_none_or(|file| match file.kind {
        libc::S_IFREG | libc::S_IFDIR => !mounts::is_local(&file),
        _ => false,
    })
}

/// Takes over a descriptor by its number.
fn take(number: i32) -> OwnedFd {
    // SAFETY: the callers pass numbers that no value owns: of descriptors that were inherited, that they have given up
    // themselves, or that a helper has opened and given up; at the exit no value is used any more. And each number is
    // taken by one process only.
    unsafe { OwnedFd::from_raw_fd(number) }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::sys::helper::tests::alone;
    use crate::sys::{process, reap};
    use crate::types::Signal;

    fn nothing() -> OwnedFd {
        fd::empty_input().expect("an input")
    }

    #[test]
    fn what_a_helper_closes_is_closed_here() {
        alone(|| {
            let before = others(&[]);
            let (first, second) = (nothing().into_raw_fd(), nothing().into_raw_fd());
            let (read, write) = fd::pipe().expect("a pipe");
            let write = write.into_raw_fd();
            let mut found = others(&[read.as_fd()]);
            found.retain(|number| !before.contains(number));
            found.sort_unstable();
            assert_eq!(found, [first, second, write]);
            let (helper, pipe) = close(found).expect("a helper");
            poll::wait(&[pipe.as_fd()], None, clock::now());
            assert_eq!(fd::read(pipe.as_fd(), &mut [0]), Read::End);
            assert_eq!(fd::read(read.as_fd(), &mut [0]), Read::End);
            assert_eq!(others(&[read.as_fd(), pipe.as_fd()]), before);
            assert_eq!(reap::find(), reap::Found::NoChild);
            helper.wait_for_end(Duration::from_secs(10));
            assert!(helper.reap().is_some());
            drop((read, pipe));
            // A pipe cannot hang.
            let (read, write) = fd::pipe().expect("a pipe");
            let _ = write.into_raw_fd();
            let kept: Vec<OwnedFd> = before.iter().map(|number| take(*number)).collect();
            let keep: Vec<_> = kept.iter().chain([&read]).map(AsFd::as_fd).collect();
            assert!(close_others(&keep).is_empty());
            assert_eq!(fd::read(read.as_fd(), &mut [0]), Read::End);
            // They are the test runner's.
            kept.into_iter().for_each(|fd| _ = fd.into_raw_fd());
        });
    }

    #[test]
    fn what_a_helper_opens_is_open_here() {
        alone(|| {
            let none = SignalSet::default();
            let before = others(&[]);
            let open =
                || Ok(Done { file: Some(File::open("/dev/zero")?.into()), notes: [1, 2, 3] });
            let done = perform(&open, Duration::from_secs(10), none).expect("done");
            assert_eq!(done.notes, [1, 2, 3]);
            let file = done.file.expect("a file");
            assert_eq!(fd::read(file.as_fd(), &mut [7]), Read::Bytes(1));
            drop(file);
            let fail = || Err(File::open("/no/such").expect_err("no file"));
            let error = perform(&fail, Duration::from_secs(10), none).expect_err("an error");
            assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
            assert_eq!(others(&[]), before);
        });
    }

    #[test]
    fn a_helper_that_hangs_is_not_waited_for() {
        alone(|| {
            let hang = || {
                poll::wait(&[], None, clock::now());
                Ok(Done { file: None, notes: [0; 3] })
            };
            let none = SignalSet::default();
            let error = perform(&hang, Duration::from_millis(1), none).expect_err("an error");
            assert_eq!(error.raw_os_error(), None);
            // It stays pending.
            signals::set_mask(signals::Mask::ALL);
            signals::send(process::own_pid(), Signal::TERM).expect("sent");
            let stop = SignalSet::of(&[Signal::TERM]);
            let error = perform(&hang, Duration::from_secs(60), stop).expect_err("an error");
            assert_eq!(error.raw_os_error(), None);
        });
    }
}
