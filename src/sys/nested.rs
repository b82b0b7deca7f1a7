//! Whether graceinit runs below another graceinit, as in `docker run --init` with an image whose entry point is
//! graceinit too.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use super::process;
use super::stat::Stat;
use crate::types::Pid;

/// The note in the program's file (elf(5)): the sizes of name and content, a type, the name, and the content. It is
/// the same whatever name the program is called by.
pub const NOTE: [u8; 28] = *b"\x0a\0\0\0\x04\0\0\0\x01\0\0\0graceinit\0\0\0init";

/// The notes lie in front of the code, right behind the headers.
const FRONT: u64 = 4096;

/// An ancestor can be this far away.
const MOST: usize = 64;

/// Another graceinit above this one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outer {
    /// Its pid.
    pub pid: Pid,
    /// Its environment, entry by entry; `None`: it may not be read.
    environment: Option<Vec<u8>>,
}

impl Outer {
    /// Whether its environment has this entry (`NAME=value`). One that cannot be read is taken to have it: the
    /// environment of a container is mostly the same for all.
    pub fn has(&self, entry: &[u8]) -> bool {
        let Some(environment) = &self.environment else { return true };
        environment.split(|byte| *byte == 0).any(|own| own == entry)
    }
}

/// The nearest ancestor that is a graceinit. An ancestor whose program may not be read is none.
pub fn outer() -> Option<Outer> {
    let mut pid = process::parent();
    for _ in 0..MOST {
        if pid.0 < 1 {
            return None;
        }
        let folder = Path::new("/proc").join(pid.to_string());
        if is_graceinit(&folder.join("exe")) {
            return Some(Outer { pid, environment: fs::read(folder.join("environ")).ok() });
        }
        let stat = fs::read(folder.join("stat")).ok()?;
        pid = Stat::parse(&stat)?.parent;
    }
    None
}

fn is_graceinit(program: &Path) -> bool {
    let mut front = Vec::new();
    let read = File::open(program).and_then(|file| file.take(FRONT).read_to_end(&mut front));
    read.is_ok() && front.windows(NOTE.len()).any(|window| window == NOTE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_found_whole_or_not_at_all() {
        let outer = |environment| Outer { pid: Pid(1), environment };
        let known = outer(Some(b"A=1\0GRACEINIT_GRACE=5s\0".to_vec()));
        assert!(known.has(b"GRACEINIT_GRACE=5s"));
        assert!(!known.has(b"GRACEINIT_GRACE=5"), "set to another value since");
        assert!(!known.has(b"GRACEINIT_DRAIN=80"));
        assert!(outer(None).has(b"GRACEINIT_DRAIN=80"));
    }

    #[test]
    fn another_program_is_no_graceinit() {
        assert!(!is_graceinit(Path::new("/bin/sh")));
        assert!(!is_graceinit(Path::new("/nowhere")));
    }
}
