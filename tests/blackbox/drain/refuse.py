# Nobody may ask the kernel for sockets, as SELinux and old profiles of seccomp(2) want it: refuse.py PROGRAM ARG...
import ctypes, os, struct, sys
step = lambda code, yes, no, k: struct.pack('HBBI', code, yes, no, k)
allow, refuse = 0x7fff0000, 0x00050000 | 13
# seccomp(2): socket(AF_NETLINK, ..., NETLINK_SOCK_DIAG) gets EACCES. 41 is socket(2) of x86-64; its first argument lies
# at 16, its third at 32.
code = b''.join([
    step(0x20, 0, 0, 0), step(0x15, 0, 5, 41), step(0x20, 0, 0, 16), step(0x15, 0, 3, 16),
    step(0x20, 0, 0, 32), step(0x15, 0, 1, 4), step(0x06, 0, 0, refuse), step(0x06, 0, 0, allow)])
held = ctypes.create_string_buffer(code, len(code))
program = struct.pack('HxxxxxxP', len(code) // 8, ctypes.addressof(held))
libc = ctypes.CDLL(None)
zero = ctypes.c_ulong(0)
assert libc.prctl(38, ctypes.c_ulong(1), zero, zero, zero) == 0
assert libc.prctl(22, ctypes.c_ulong(2), program, zero, zero) == 0
os.execv(sys.argv[1], sys.argv[1:])
