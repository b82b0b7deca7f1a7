//! Every status that graceinit can end with, besides the app's own (0..255, 128+n).

/// `--check`: the plan does not fit into the time that was asked for.
pub const DOES_NOT_FIT: u8 = 1;
/// The app was not ready in time, or has missed its watchdog and then ended with 0.
pub const NOT_READY: u8 = 124;
/// graceinit's own error, or its usage was wrong.
pub const OWN_ERROR: u8 = 125;
/// The app's program was found but cannot be executed.
pub const NOT_EXECUTABLE: u8 = 126;
/// The app's program was not found.
pub const NOT_FOUND: u8 = 127;
/// graceinit had to kill the app (128 + SIGKILL).
pub const KILLED: u8 = 137;

/// The code for a program that execve(2) refused.
pub fn of_exec(errno: i32) -> u8 {
    match errno {
        libc::ENOENT | libc::ENOTDIR => NOT_FOUND,
        _ => NOT_EXECUTABLE,
    }
}
