//! The system calls that PID 1 makes, with the errors that their man pages (section 2 of man-pages 6.03) list.

/// A system call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) number: i64,
    name: &'static str,
    errors: &'static [(&'static str, i32)],
}

/// What a security profile of an engine answers to any call, and what a kernel without it does.
const REFUSALS: [(&str, i32); 2] = [("EPERM", libc::EPERM), ("ENOSYS", libc::ENOSYS)];

/// These always succeed, do not return, or are made by the kernel.
pub(crate) const CANNOT_FAIL: &[i64] = &[
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getppid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getegid,
    libc::SYS_umask,
    libc::SYS_clock_gettime,
    libc::SYS_exit_group,
    libc::SYS_exit,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
];

impl Call {
    pub(crate) fn name(&self) -> &'static str {
        self.name.trim_start_matches("SYS_")
    }

    /// Every error that it is made to fail with.
    pub(crate) fn errors(&self) -> impl Iterator<Item = (&'static str, i32)> {
        let listed = |errno: i32| self.errors.iter().any(|(_, known)| *known == errno);
        // brk(2) reports no error but want of memory, in a way of its own.
        let refused = REFUSALS.into_iter().filter(|_| self.number != libc::SYS_brk);
        let more = refused.filter(move |(_, errno)| !listed(*errno));
        self.errors.iter().copied().chain(more)
    }
}

/// The call of this number; `None` if this list does not have it.
pub(crate) fn call(number: i64) -> Option<&'static Call> {
    CALLS.iter().find(|call| call.number == number)
}

macro_rules! calls {
    ($($call:ident: $($errno:ident),+;)+) => {
        &[$(Call {
            number: libc::$call,
            name: stringify!($call),
            errors: &[$((stringify!($errno), libc::$errno)),+],
        }),+]
    };
}

const CALLS: &[Call] = calls! {
    SYS_accept4: EAGAIN, EBADF, ECONNABORTED, EFAULT, EINTR, EINVAL, EMFILE, ENFILE, ENOBUFS,
        ENOMEM, ENOTSOCK, EOPNOTSUPP, EPERM, EPROTO;
    SYS_access: EACCES, EBADF, EFAULT, EINVAL, EIO, ELOOP, ENAMETOOLONG, ENOENT, ENOMEM, ENOTDIR,
        EPERM, EROFS, ETXTBSY;
    SYS_bind: EACCES, EADDRINUSE, EADDRNOTAVAIL, EBADF, EFAULT, EINVAL, ELOOP, ENAMETOOLONG, ENOENT,
        ENOMEM, ENOTDIR, ENOTSOCK, EROFS;
    SYS_brk: ENOMEM;
    SYS_clone: EACCES, EAGAIN, EBUSY, EEXIST, EINVAL, ENOMEM, ENOSPC, EOPNOTSUPP, EPERM, EUSERS;
    SYS_clone3: EACCES, EAGAIN, EBUSY, EEXIST, EINVAL, ENOMEM, ENOSPC, EOPNOTSUPP, EPERM, EUSERS;
    SYS_close: EBADF, EDQUOT, EINTR, EIO, ENOSPC;
    SYS_close_range: EINVAL, EMFILE, ENOMEM;
    SYS_connect: EACCES, EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, EAGAIN, EALREADY, EBADF,
        ECONNREFUSED, EFAULT, EINPROGRESS, EINTR, EISCONN, ENETUNREACH, ENOTSOCK, EPERM, EPROTOTYPE,
        ETIMEDOUT;
    SYS_dup: EBADF, EBUSY, EINTR, EINVAL, EMFILE;
    SYS_dup3: EBADF, EBUSY, EINTR, EINVAL, EMFILE;
    SYS_epoll_create1: EINVAL, EMFILE, ENFILE, ENOMEM;
    SYS_epoll_ctl: EBADF, EEXIST, EINVAL, ELOOP, ENOENT, ENOMEM, ENOSPC, EPERM;
    SYS_epoll_wait: EBADF, EFAULT, EINTR, EINVAL;
    SYS_fcntl: EACCES, EAGAIN, EBADF, EBUSY, EDEADLK, EFAULT, EINTR, EINVAL, EMFILE, ENOLCK,
        ENOTDIR, EPERM;
    SYS_fstat: EACCES, EBADF, EFAULT, EINVAL, ELOOP, ENAMETOOLONG, ENOENT, ENOMEM, ENOTDIR,
        EOVERFLOW;
    SYS_fstatfs: EACCES, EBADF, EFAULT, EINTR, EIO, ELOOP, ENAMETOOLONG, ENOENT, ENOMEM, ENOSYS,
        ENOTDIR, EOVERFLOW;
    SYS_ftruncate: EACCES, EBADF, EFAULT, EFBIG, EINTR, EINVAL, EIO, EISDIR, ELOOP, ENAMETOOLONG,
        ENOENT, ENOTDIR, EPERM, EROFS, ETXTBSY;
    SYS_futex: EACCES, EAGAIN, EDEADLK, EFAULT, EINTR, EINVAL, ENFILE, ENOMEM, ENOSYS, EPERM, ESRCH,
        ETIMEDOUT;
    SYS_getcwd: EACCES, EFAULT, EINVAL, ENAMETOOLONG, ENOENT, ENOMEM, ERANGE;
    SYS_getdents64: EBADF, EFAULT, EINVAL, ENOENT, ENOTDIR;
    SYS_getpriority: EACCES, EINVAL, EPERM, ESRCH;
    SYS_getrandom: EAGAIN, EFAULT, EINTR, EINVAL, ENOSYS;
    SYS_getsockopt: EBADF, EFAULT, EINVAL, ENOPROTOOPT, ENOTSOCK;
    SYS_ioctl: EBADF, EFAULT, EINVAL, ENOTTY;
    SYS_kill: EINVAL, EPERM, ESRCH;
    SYS_listen: EADDRINUSE, EBADF, ENOTSOCK, EOPNOTSUPP;
    SYS_lseek: EBADF, EINVAL, ENXIO, EOVERFLOW, ESPIPE;
    SYS_madvise: EACCES, EAGAIN, EBADF, EBUSY, EFAULT, EINVAL, EIO, ENOMEM, EPERM;
    SYS_mmap: EACCES, EAGAIN, EBADF, EEXIST, EINVAL, ENFILE, ENODEV, ENOMEM, EOVERFLOW, EPERM,
        ETXTBSY;
    SYS_mprotect: EACCES, EINVAL, ENOMEM;
    SYS_mremap: EAGAIN, EFAULT, EINVAL, ENOMEM;
    SYS_munmap: EACCES, EAGAIN, EBADF, EEXIST, EINVAL, ENFILE, ENODEV, ENOMEM, EOVERFLOW, EPERM,
        ETXTBSY;
    SYS_newfstatat: EACCES, EBADF, EFAULT, EINVAL, ELOOP, ENAMETOOLONG, ENOENT, ENOMEM, ENOTDIR,
        EOVERFLOW;
    SYS_openat: EACCES, EAGAIN, EBADF, EBUSY, EDQUOT, EEXIST, EFAULT, EFBIG, EINTR, EINVAL, EISDIR,
        ELOOP, EMFILE, ENAMETOOLONG, ENFILE, ENODEV, ENOENT, ENOMEM, ENOSPC, ENOTDIR, ENXIO,
        EOPNOTSUPP, EOVERFLOW, EPERM, EROFS, ETXTBSY;
    SYS_openat2: E2BIG, EAGAIN, EINVAL, ELOOP, EXDEV;
    SYS_pidfd_open: EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM, ESRCH;
    SYS_pidfd_send_signal: EBADF, EINVAL, EPERM, ESRCH;
    SYS_pipe2: EFAULT, EINVAL, EMFILE, ENFILE;
    SYS_poll: EFAULT, EINTR, EINVAL, ENOMEM;
    SYS_ppoll: EFAULT, EINTR, EINVAL, ENOMEM;
    SYS_prctl: EACCES, EBADF, EBUSY, EFAULT, EINVAL, ENODEV, ENXIO, EOPNOTSUPP, EPERM, ERANGE;
    SYS_pread64: EAGAIN, EBADF, EFAULT, EINTR, EINVAL, EIO, EISDIR;
    SYS_prlimit64: EFAULT, EINVAL, EPERM, ESRCH;
    SYS_pwrite64: EAGAIN, EBADF, EDESTADDRREQ, EDQUOT, EFAULT, EFBIG, EINTR, EINVAL, EIO, ENOSPC,
        EPERM, EPIPE;
    SYS_pwritev2: EAGAIN, EBADF, EDESTADDRREQ, EDQUOT, EFAULT, EFBIG, EINTR, EINVAL, EIO, ENOSPC,
        ENXIO, EOPNOTSUPP, EOVERFLOW, EPERM, EPIPE, ESPIPE;
    SYS_read: EAGAIN, EBADF, EFAULT, EINTR, EINVAL, EIO, EISDIR;
    SYS_readlink: EACCES, EBADF, EFAULT, EINVAL, EIO, ELOOP, ENAMETOOLONG, ENOENT, ENOMEM, ENOTDIR;
    SYS_readlinkat: EACCES, EBADF, EFAULT, EINVAL, EIO, ELOOP, ENAMETOOLONG, ENOENT, ENOMEM,
        ENOTDIR;
    SYS_recvfrom: EAGAIN, EBADF, ECONNREFUSED, EFAULT, EINTR, EINVAL, ENOMEM, ENOTCONN, ENOTSOCK;
    SYS_recvmsg: EAGAIN, EBADF, ECONNREFUSED, EFAULT, EINTR, EINVAL, ENOMEM, ENOTCONN, ENOTSOCK;
    SYS_rename: EACCES, EBADF, EBUSY, EDQUOT, EEXIST, EFAULT, EINVAL, EISDIR, ELOOP, EMLINK,
        ENAMETOOLONG, ENOENT, ENOMEM, ENOSPC, ENOTDIR, ENOTEMPTY, EPERM, EROFS, EXDEV;
    SYS_rt_sigaction: EFAULT, EINVAL;
    SYS_rt_sigpending: EFAULT;
    SYS_rt_sigprocmask: EFAULT, EINVAL;
    SYS_rt_sigtimedwait: EAGAIN, EINTR, EINVAL;
    SYS_sendmsg: EACCES, EAGAIN, EALREADY, EBADF, ECONNREFUSED, ECONNRESET, EDESTADDRREQ, EFAULT,
        EINTR, EINVAL, EISCONN, EMSGSIZE, ENOBUFS, ENOENT, ENOMEM, ENOTCONN, ENOTSOCK, EOPNOTSUPP,
        EPIPE, EPROTOTYPE;
    SYS_sendto: EACCES, EAGAIN, EALREADY, EBADF, ECONNREFUSED, ECONNRESET, EDESTADDRREQ, EFAULT,
        EINTR, EINVAL, EISCONN, EMSGSIZE, ENOBUFS, ENOENT, ENOMEM, ENOTCONN, ENOTSOCK, EOPNOTSUPP,
        EPIPE, EPROTOTYPE;
    SYS_sched_getattr: E2BIG, EINVAL, ESRCH;
    SYS_sched_setaffinity: EFAULT, EINVAL, EPERM, ESRCH;
    SYS_sched_setattr: E2BIG, EBUSY, EINVAL, EPERM, ESRCH;
    SYS_sched_setscheduler: EINVAL, EPERM, ESRCH;
    SYS_setpgid: EACCES, EINVAL, EPERM, ESRCH;
    SYS_setpriority: EACCES, EINVAL, EPERM, ESRCH;
    SYS_setsockopt: EBADF, EFAULT, EINVAL, ENOPROTOOPT, ENOTSOCK;
    SYS_shutdown: EBADF, EINVAL, ENOTCONN, ENOTSOCK;
    SYS_socket: EACCES, EAFNOSUPPORT, EINVAL, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPROTONOSUPPORT;
    SYS_socketpair: EAFNOSUPPORT, EFAULT, EMFILE, ENFILE, EOPNOTSUPP, EPROTONOSUPPORT;
    SYS_statx: EACCES, EBADF, EFAULT, EINVAL, ELOOP, ENAMETOOLONG, ENOENT, ENOMEM, ENOTDIR;
    SYS_tgkill: EAGAIN, EINVAL, EPERM, ESRCH;
    SYS_timer_create: EAGAIN, EINVAL, ENOMEM, EPERM;
    SYS_timer_settime: EFAULT, EINVAL;
    SYS_unlink: EACCES, EBADF, EBUSY, EFAULT, EINVAL, EIO, EISDIR, ELOOP, ENAMETOOLONG, ENOENT,
        ENOMEM, ENOTDIR, EPERM, EROFS;
    SYS_unlinkat: EACCES, EBADF, EBUSY, EFAULT, EINVAL, EIO, EISDIR, ELOOP, ENAMETOOLONG, ENOENT,
        ENOMEM, ENOTDIR, EPERM, EROFS;
    SYS_waitid: EAGAIN, ECHILD, EINTR, EINVAL, ESRCH;
    SYS_write: EAGAIN, EBADF, EDESTADDRREQ, EDQUOT, EFAULT, EFBIG, EINTR, EINVAL, EIO, ENOSPC,
        EPERM, EPIPE;
};
