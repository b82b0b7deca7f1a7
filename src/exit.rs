//! Every status that graceinit can end with, besides the app's own (0..255, 128+n).

/// `--check`: the plan does not fit into the time that was asked for.
pub const DOES_NOT_FIT: u8 = 1;
/// The app was not ready in time, or has missed its watchdog and then ended with 0.
pub const NOT_READY: u8 = 124;
/// graceinit had to kill the app (128 + SIGKILL).
pub const KILLED: u8 = 137;

/// The codes that differ from program to program (see [`crate::persona`]).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Codes {
    /// Its own error, or its usage was wrong.
    pub own: u8,
    /// The app's program was not found (ENOENT).
    pub not_found: u8,
    /// A part of its path is no directory (ENOTDIR).
    pub no_directory: u8,
    /// It was found but may not be executed (EACCES).
    pub denied: u8,
    /// It cannot be executed for another reason.
    pub not_executable: u8,
}

impl Codes {
    /// graceinit's, as a shell has them (POSIX 2.8.2) and as docker run has them: 125 cannot be taken for
    /// the app's own 1.
    pub const GRACEINIT: Codes =
        Codes { own: 125, not_found: 127, no_directory: 127, denied: 126, not_executable: 126 };
    /// tini's.
    pub const TINI: Codes =
        Codes { own: 1, not_found: 127, no_directory: 1, denied: 126, not_executable: 1 };
    /// dumb-init's.
    pub const DUMB_INIT: Codes =
        Codes { own: 1, not_found: 2, no_directory: 2, denied: 2, not_executable: 2 };
    /// catatonit's.
    pub const CATATONIT: Codes =
        Codes { own: 1, not_found: 1, no_directory: 1, denied: 1, not_executable: 1 };

    /// The code for a program that execve(2) refused.
    pub fn of_exec(self, errno: i32) -> u8 {
        match errno {
            libc::ENOENT => self.not_found,
            libc::ENOTDIR => self.no_directory,
            libc::EACCES => self.denied,
            _ => self.not_executable,
        }
    }
}

impl Default for Codes {
    fn default() -> Self {
        Codes::GRACEINIT
    }
}
