//! The first instructions of the program. Compiled into the program only (see `main.rs`), because a library must not
//! define `main`.
//!
//! Until a signal is blocked, the kernel drops it for PID 1 and lets it end any other process. So signals are blocked
//! before anything else, even before the C library starts.
#![allow(unsafe_code)]

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;

use graceinit::sys::launch::Inherited;
#[cfg(early_start)]
use graceinit::sys::launch::early::{begin, take};
use graceinit::sys::process;
use graceinit::sys::signals::Mask;

/// Without an early start the app is started by the main loop.
#[cfg(all(not(early_start), any(target_arch = "x86_64", target_arch = "aarch64")))]
extern "C" fn begin(_stack: *const usize, _mask: u64) {}

#[cfg(not(early_start))]
fn take() -> Option<graceinit::sys::launch::EarlyApp> {
    None
}

/// The mask that the program was started with. The first instructions write it.
#[unsafe(no_mangle)]
static mut GRACEINIT_FIRST_MASK: u64 = 0;

// The entry point, which packaging/build.rs names to the linker: rt_sigprocmask(SIG_SETMASK, &all,
// &GRACEINIT_FIRST_MASK, 8), then the early start, then the entry point of the C library, with registers and stack as
// the kernel has set them. In assembly, because the arguments lie on the stack and nothing is set up yet.
#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    ".pushsection .text.graceinit_start, \"ax\"",
    ".globl graceinit_start",
    "graceinit_start:",
    // rdx holds a function of the dynamic linker, to be called at exit.
    "mov r12, rdx",
    "mov eax, 14",
    "mov edi, 2",
    "push -1",
    "mov rsi, rsp",
    "lea rdx, [rip + {first_mask}]",
    "mov r10d, 8",
    "syscall",
    "pop rsi",
    "mov rbx, rsp",
    "mov rdi, rsp",
    "mov rsi, [rip + {first_mask}]",
    "and rsp, -16",
    "call {begin}",
    "mov rsp, rbx",
    "mov rdx, r12",
    // As the kernel has set it: the outermost frame.
    "xor ebp, ebp",
    "jmp _start",
    ".popsection",
    first_mask = sym GRACEINIT_FIRST_MASK,
    begin = sym begin,
);

#[cfg(target_arch = "aarch64")]
std::arch::global_asm!(
    ".pushsection .text.graceinit_start, \"ax\"",
    ".globl graceinit_start",
    "graceinit_start:",
    // x0 holds a function of the dynamic linker, to be called at exit.
    "mov x19, x0",
    "mov x8, #135",
    "mov x0, #2",
    "mov x1, #-1",
    "str x1, [sp, #-16]!",
    "mov x1, sp",
    "adrp x2, {first_mask}",
    "add x2, x2, :lo12:{first_mask}",
    "mov x3, #8",
    "svc #0",
    "add sp, sp, #16",
    "ldr x1, [x2]",
    "mov x0, sp",
    "bl {begin}",
    "mov x0, x19",
    "b _start",
    ".popsection",
    first_mask = sym GRACEINIT_FIRST_MASK,
    begin = sym begin,
);

/// The start of the C runtime calls this in place of `__register_frame_info`: packaging/build.rs tells the linker. That
/// function would read the unwinder's tables, a page fault that brings 64 KiB of the file along. The unwinder finds the
/// tables by the program's headers (PT_GNU_EH_FRAME).
#[unsafe(no_mangle)]
extern "C" fn __wrap___register_frame_info(_tables: *const c_void, _room: *mut c_void) {}

/// Called by the C library instead of std's own start, which would ignore SIGPIPE and open closed descriptors: the app
/// must inherit both as they are.
#[unsafe(no_mangle)]
extern "C" fn main(count: c_int, words: *const *const c_char) -> c_int {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    // SAFETY: the first instructions have written it, and nothing else does.
    let mask = Mask(unsafe { GRACEINIT_FIRST_MASK });
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let mask = graceinit::sys::signals::set_mask(Mask::ALL);
    let parent = process::parent();
    let mut words = (0..usize::try_from(count).unwrap_or(0)).map(|index| {
        // SAFETY: the C library hands over `count` terminated strings that live as long as the program.
        let word = unsafe { CStr::from_ptr(*words.add(index)) };
        OsStr::from_bytes(word.to_bytes())
    });
    let name = words.next();
    let args = words.map(OsStr::to_owned).collect();
    super::start(name, args, Inherited { mask, parent, early: take() })
}
