//! The short form of the fuzzing: every target with all of its seeds and some thousand mutations of them, the same ones
//! each time. The long form is `tests/fuzz/run`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod targets;

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

use targets::{TARGETS, Target};

/// The inputs of a target that are made of its seeds.
const MUTATIONS: usize = 3000;
/// The longest input.
const LONGEST: usize = 4096;

fn folder(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds").join(target.name)
}

fn seeds(target: &Target) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(folder(target)).expect("a folder of seeds");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("a seed")).collect()
}

/// xorshift64*: the same numbers on every machine.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).expect("31 bits") % end.max(1)
    }

    /// One to four changes of a seed.
    fn mutate(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            let end = at + self.below(bytes.len() - at + 1).min(64);
            match self.below(8) {
                // A bit, a byte, the ends of the range of a number.
                0 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << self.below(8)),
                1 => {
                    bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = self.below(256) as u8)
                }
                2 => {
                    bytes.iter_mut().skip(at).take(1 << self.below(4)).for_each(|byte| *byte = 255)
                }
                3 => bytes.truncate(at),
                // A part is removed, repeated, or comes from another seed.
                4 => drop(bytes.drain(at..end)),
                5 => {
                    let part = bytes[at..end].repeat(1 + self.below(20));
                    bytes.splice(at..at, part);
                }
                6 => {
                    let other = &seeds[self.below(seeds.len())];
                    let from = self.below(other.len() + 1);
                    let part = other[from..].iter().take(self.below(100)).copied();
                    bytes.splice(at..end, part);
                }
                _ => {
                    let parts: [&[u8]; 8] = [
                        b"\0",
                        b"\n",
                        b"\r\n\r\n",
                        b"0",
                        b"-1",
                        b"18446744073709551616",
                        b"\xff",
                        b"\"",
                    ];
                    bytes.splice(at..at, parts[self.below(parts.len())].iter().copied());
                }
            }
        }
        bytes.truncate(LONGEST);
        bytes
    }
}

/// Panics with the input if a property does not hold.
fn holds(target: &Target, bytes: &[u8]) {
    if panic::catch_unwind(AssertUnwindSafe(|| (target.holds)(bytes))).is_err() {
        panic!("{}: this input breaks a property: b\"{}\"", target.name, bytes.escape_ascii());
    }
}

/// Each target is a test of its own.
macro_rules! fuzzed {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                let name = stringify!($name);
                let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
                let seeds = seeds(target);
                let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
                let mut done = 0;
                for bytes in seeds.iter().cloned().chain((0..MUTATIONS).map(|_| numbers.mutate(&seeds))) {
                    holds(target, &bytes);
                    done += 1;
                }
                assert!(seeds.len() >= 2, "{} seeds", seeds.len());
                assert_eq!(done, seeds.len() + MUTATIONS);
            }
        )*

        #[test]
        fn every_target_has_its_test_and_no_seed_is_large() {
            let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
            let size: usize = TARGETS.iter().flat_map(seeds).map(|seed| seed.len()).sum();
            assert!(size <= 16 * 1024, "{size} bytes of seeds");
            for target in TARGETS {
                assert!(seeds(target).iter().all(|seed| seed.len() <= LONGEST), "{}", target.name);
            }
        }
    };
}

fuzzed! {
    sock_diag unix_diag tables processes groups notify users metric records request answer check rehearsal config report
}
