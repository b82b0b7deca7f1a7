//! System calls without the C library: what fails is returned, and errno stays as it was. For a child that shares
//! this process's memory, whose errno is ours as well.

use std::ffi::c_void;

/// One system call.
///
/// # Errors
/// Its errno.
///
/// # Safety
/// That of the call: pointers among the arguments must be what it expects.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) unsafe fn call<const N: usize>(
    number: libc::c_long,
    arguments: [usize; N],
) -> Result<usize, i32> {
    let (a, b) = (nth(&arguments, 0), nth(&arguments, 1));
    let (c, d) = (nth(&arguments, 2), nth(&arguments, 3));
    let result: isize;
    // SAFETY: the kernel's calling convention (syscall(2)); memory is only touched as the caller vouches for.
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

/// What the kernel's answer means: the last page of numbers is errors.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn outcome(result: isize) -> Result<usize, i32> {
    if (-4095..0).contains(&result) { Err(-result as i32) } else { Ok(result as usize) }
}

/// Starts a child that shares our memory (clone(2) with CLONE_VM and nothing else), with a stack of its own. Its pid.
///
/// # Errors
/// Those of clone(2).
///
/// # Safety
/// Below `stack`, a multiple of 16, there is room that nobody else uses, for as long as the child shares our memory;
/// and so it is with whatever `run` does with `argument`.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) unsafe fn clone(
    stack: *mut u8,
    run: extern "C" fn(*mut c_void) -> !,
    argument: *mut c_void,
) -> Result<usize, i32> {
    let flags = (libc::CLONE_VM | libc::SIGCHLD) as usize;
    let result: isize;
    // SAFETY: the child comes back from the call with our registers and its own stack, on which nothing of this
    // function's lies, and leaves this function for good.
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

/// Elsewhere no memory is shared.
///
/// # Errors
/// ENOSYS
///
/// # Safety
/// As above.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) unsafe fn clone(
    _stack: *mut u8,
    _run: extern "C" fn(*mut c_void) -> !,
    _argument: *mut c_void,
) -> Result<usize, i32> {
    Err(libc::ENOSYS)
}

/// Elsewhere through the C library, and no memory is shared.
///
/// # Errors
/// Its errno.
///
/// # Safety
/// As above.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) unsafe fn call<const N: usize>(
    number: libc::c_long,
    arguments: [usize; N],
) -> Result<usize, i32> {
    let (a, b) = (nth(&arguments, 0), nth(&arguments, 1));
    let (c, d) = (nth(&arguments, 2), nth(&arguments, 3));
    // SAFETY: as the caller vouches for.
    let result = unsafe { libc::syscall(number, a, b, c, d) };
    // SAFETY: the location is this thread's own.
    if result == -1 { Err(unsafe { *libc::__errno_location() }) } else { Ok(result as usize) }
}

/// One of them, of which there are never more than four; the kernel does not look at the others. (Written so that not
/// even a build without any optimization calls memcpy(3) for it.)
fn nth<const N: usize>(arguments: &[usize; N], index: usize) -> usize {
    if index < N { arguments[index] } else { 0 }
}
