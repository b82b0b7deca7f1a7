//! System calls without the C library: the errno is returned, and the variable of that name stays as it is. For a child
//! that shares this process's memory, errno included.

use std::ffi::c_void;

/// Makes a system call.
///
/// # Errors
/// The errno of the call.
///
/// # Safety
/// Pointers among the arguments must be what the call expects.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) unsafe fn call<const N: usize>(
    number: libc::c_long,
    arguments: [usize; N],
) -> Result<usize, i32> {
    let (a, b) = (nth(&arguments, 0), nth(&arguments, 1));
    let (c, d) = (nth(&arguments, 2), nth(&arguments, 3));
    let result: isize;
    // SAFETY: the kernel's calling convention (syscall(2)). The caller promises that the pointers are as the call
    // expects.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        std::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
        #[cfg(target_arch = "aarch64")]
        std::arch::asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a as isize => result,
            in("x1") b, in("x2") c, in("x3") d,
            options(nostack),
        );
    }
    outcome(result)
}

/// The meaning of the kernel's result: the last 4095 numbers are errors.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn outcome(result: isize) -> Result<usize, i32> {
    if (-4095..0).contains(&result) { Err(-result as i32) } else { Ok(result as usize) }
}

/// Starts a child that shares this process's memory (clone(2) with CLONE_VM alone) and calls `run` on a stack of its
/// own. Returns its pid.
///
/// # Errors
/// The errno of clone(2).
///
/// # Safety
/// `stack` is a multiple of 16, and the memory below it belongs to the child for as long as the child shares memory.
/// Until then `run` may do with `argument` what it does.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) unsafe fn clone(
    stack: *mut u8,
    run: extern "C" fn(*mut c_void) -> !,
    argument: *mut c_void,
) -> Result<usize, i32> {
    let flags = (libc::CLONE_VM | libc::SIGCHLD) as usize;
    let result: isize;
    // SAFETY: the child returns from the call with the registers of the parent and a stack of its own. It uses nothing
    // of the parent's stack and never returns from this function.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r9",
            "call r8",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone as isize => result,
            in("rdi") flags, in("rsi") stack, in("rdx") 0, in("r10") 0, in("r8") run, in("r9") argument,
            lateout("rcx") _, lateout("r11") _,
        );
        #[cfg(target_arch = "aarch64")]
        std::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x10",
            "blr x9",
            "brk 1",
            "2:",
            in("x8") libc::SYS_clone,
            inlateout("x0") flags as isize => result,
            in("x1") stack, in("x2") 0, in("x3") 0, in("x4") 0, in("x9") run, in("x10") argument,
        );
    }
    outcome(result)
}

/// Not available on other architectures.
///
/// # Errors
/// ENOSYS
///
/// # Safety
/// None of the arguments is used.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) unsafe fn clone(
    _stack: *mut u8,
    _run: extern "C" fn(*mut c_void) -> !,
    _argument: *mut c_void,
) -> Result<usize, i32> {
    Err(libc::ENOSYS)
}

/// Makes a system call, on other architectures by the C library. There no child shares memory, so errno may change.
///
/// # Errors
/// The errno of the call.
///
/// # Safety
/// Pointers among the arguments must be what the call expects.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) unsafe fn call<const N: usize>(
    number: libc::c_long,
    arguments: [usize; N],
) -> Result<usize, i32> {
    let (a, b) = (nth(&arguments, 0), nth(&arguments, 1));
    let (c, d) = (nth(&arguments, 2), nth(&arguments, 3));
    // SAFETY: the caller promises that the pointers are as the call expects.
    let result = unsafe { libc::syscall(number, a, b, c, d) };
    // SAFETY: errno of this thread is always there.
    if result == -1 { Err(unsafe { *libc::__errno_location() }) } else { Ok(result as usize) }
}

/// The argument of this index, or 0. No call here takes more than four. (Written so that even a build without
/// optimization does not call memcpy(3).)
fn nth<const N: usize>(arguments: &[usize; N], index: usize) -> usize {
    if index < N { arguments[index] } else { 0 }
}
