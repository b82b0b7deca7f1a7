//! The long form: libFuzzer looks for inputs that break a property of the target that GRACEINIT_FUZZ_TARGET names.
#![no_main]

mod targets;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use targets::Target;

static CHOSEN: OnceLock<&Target> = OnceLock::new();

fuzz_target!(
    init: {
        let name = std::env::var("GRACEINIT_FUZZ_TARGET").expect("the name of a target");
        let target = targets::TARGETS.iter().find(|target| target.name == name);
        CHOSEN.get_or_init(|| target.expect("a target of that name"));
    },
    |bytes: &[u8]| {
        (CHOSEN.get().expect("a target").holds)(bytes);
    }
);
