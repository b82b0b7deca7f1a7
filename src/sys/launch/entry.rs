//! The first instructions of the program. Compiled into the program only (see `main.rs`), because a
//! library must not define `main`.
//!
//! Until a signal is blocked, the kernel drops it for PID 1 and lets it end the process elsewhere, so
//! blocking comes before everything else, the C library's own start included.
#![allow(unsafe_code)]

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;

use graceinit::cli::persona::Persona;
use graceinit::life::start::Birth;
use graceinit::sys::launch::early;
#[cfg(app_first)]
use graceinit::sys::launch::early::begin;
use graceinit::sys::process;
use graceinit::sys::signals::Mask;

/// The app is started when it always was.
#[cfg(all(not(app_first), any(target_arch = "x86_64", target_arch = "aarch64")))]
extern "C" fn begin(_stack: *const usize, _mask: u64) {}

/// Where the first instructions leave the mask that we were started with, and whether they ran.
#[unsafe(no_mangle)]
static mut GRACEINIT_FIRST_MASK: u64 = 0;

// The entry point (given to the linker by packaging/build.rs): rt_sigprocmask(SIG_SETMASK, &all,
// &GRACEINIT_FIRST_MASK, 8), then the app if it can be started so early (`sys::early`), then the C library's own
// entry point with everything as it was. In assembly, because what the kernel hands over lies on the stack and
// nothing is set up. Its section has a name, so that it can be put beside the rest of a start (packaging/layout).
#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    ".pushsection .text.graceinit_start, \"ax\"",
    ".globl graceinit_start",
    "graceinit_start:",
    // rdx holds the function that the dynamic linker wants to be called at exit.
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
    // As the kernel had it: nobody called.
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
    // x0 holds the function that the dynamic linker wants to be called at exit.
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

/// What the C runtime's start calls in place of `__register_frame_info` (the linker is told so by
/// packaging/build.rs): to make known where the unwinder's tables begin, it would read them, which is a
/// page fault and 64 KiB. The unwinder finds them by the program's headers (PT_GNU_EH_FRAME).
#[unsafe(no_mangle)]
extern "C" fn __wrap___register_frame_info(_tables: *const c_void, _room: *mut c_void) {}

/// Called by the C library in place of std's own start, which would ignore SIGPIPE and open closed
/// descriptors: both are the app's to decide.
#[unsafe(no_mangle)]
extern "C" fn main(count: c_int, words: *const *const c_char) -> c_int {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    // SAFETY: written once, before this, by the instructions above; nothing else runs.
    let mask = Mask(unsafe { GRACEINIT_FIRST_MASK });
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let mask = graceinit::sys::signals::set_mask(Mask::ALL);
    let parent = process::parent();
    let mut words = (0..usize::try_from(count).unwrap_or(0)).map(|index| {
        // SAFETY: the C library hands over `count` terminated strings that live as long as the program.
        let word = unsafe { CStr::from_ptr(*words.add(index)) };
        OsStr::from_bytes(word.to_bytes())
    });
    let persona = words.next().map_or(Persona::Graceinit, Persona::of);
    let call = super::Call { persona, args: words.map(OsStr::to_owned).collect() };
    super::run(&call, Birth { mask, parent, first: early::take() })
}
