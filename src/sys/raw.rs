//! System calls without the C library: what fails is returned, and errno stays as it was. For a child that shares
//! this process's memory, whose errno is ours as well.

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
    let [a, b, c, d] = four(arguments);
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
    // The last page of numbers is errors.
    if (-4095..0).contains(&result) { Err(-result as i32) } else { Ok(result as usize) }
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
    let [a, b, c, d] = four(arguments);
    // SAFETY: as the caller vouches for.
    let result = unsafe { libc::syscall(number, a, b, c, d) };
    // SAFETY: the location is this thread's own.
    if result == -1 { Err(unsafe { *libc::__errno_location() }) } else { Ok(result as usize) }
}

/// More are never needed here.
fn four<const N: usize>(arguments: [usize; N]) -> [usize; 4] {
    std::array::from_fn(|index| arguments.get(index).copied().unwrap_or(0))
}
