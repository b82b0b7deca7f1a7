//! graceinit under the names of the inits that it stands in for.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

/// The program under another name: a symbolic link to it, made once per run of the tests, in a directory
/// beside it. (Not in one for all builds: a test of the release must not meet a link to the other.)
pub fn alias(name: &str) -> PathBuf {
    static MADE: OnceLock<Mutex<Vec<String>>> = OnceLock::new();
    let program = Path::new(env!("CARGO_BIN_EXE_graceinit"));
    let dir = program.parent().expect("programs lie in a directory").join("names");
    let path = dir.join(name);
    let mut made = MADE.get_or_init(Mutex::default).lock().expect("a list that nobody broke");
    if !made.iter().any(|known| known == name) {
        std::fs::create_dir_all(&dir).expect("a directory for names");
        // Moved into place: another run of the tests may be using the one that is there.
        let fresh = dir.join(format!("{name}.{}", std::process::id()));
        drop(std::fs::remove_file(&fresh));
        symlink(program, &fresh).expect("a symbolic link");
        std::fs::rename(&fresh, &path).expect("the link under its name");
        made.push(name.to_owned());
    }
    path
}
