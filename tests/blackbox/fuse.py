"""A file system with one file, `f`, and with one request that is never answered (its name is the second argument): from
the start, or with a third argument from SIGUSR1 on. With `slow` every request is answered, a write after 10 ms, and
what was written is printed."""
import ctypes, os, signal, struct, sys, time

place, silent = sys.argv[1:3]
is_silent = len(sys.argv) == 3
LOOKUP, FORGET, GETATTR, SETATTR, UNLINK, CREATE = 1, 2, 3, 4, 10, 35
OPEN, READ, WRITE, RELEASE, FLUSH, INIT, INTERRUPT, MANY_FORGET = 14, 15, 16, 18, 25, 26, 36, 42
number = {"create": CREATE, "flush": FLUSH, "open": OPEN, "unlink": UNLINK, "write": WRITE, "slow": None}[silent]
device = os.open("/dev/fuse", os.O_RDWR)
libc = ctypes.CDLL(None, use_errno=True)
options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
if libc.mount(b"silent", place.encode(), b"fuse.silent", 0, options):
    sys.exit("mount: " + os.strerror(ctypes.get_errno()))

def be_silent(*_):
    global is_silent
    is_silent = True
    print("silent", flush=True)

signal.signal(signal.SIGUSR1, be_silent)
print("ready", flush=True)

def attributes(inode, mode):
    return struct.pack("<6Q10I", inode, 0, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

def answer(kind, node, body):
    """The errno and the data of the answer."""
    if kind == INIT:
        return 0, struct.pack("<4I2H2I", 7, 31, 65536, 0, 12, 10, 65536, 1) + bytes(32)
    if kind == LOOKUP:
        found = body.split(b"\0")[0] == b"f"
        return (0, struct.pack("<4Q2I", 2, 0, 0, 0, 0, 0) + attributes(2, 0o100666)) if found else (2, b"")
    if kind in (GETATTR, SETATTR):
        return 0, struct.pack("<Q2I", 0, 0, 0) + attributes(node, 0o40777 if node == 1 else 0o100666)
    if kind == OPEN:
        return 0, struct.pack("<Q2I", 1, 0, 0)
    if kind == WRITE:
        if silent == "slow":
            time.sleep(0.01)
            os.write(1, body[40:])
        return 0, struct.pack("<2I", struct.unpack_from("<2QI", body)[2], 0)
    return (0, b"") if kind in (FLUSH, RELEASE, UNLINK) else (38, b"")

while True:
    request = os.read(device, 1 << 20)
    _, kind, unique, node = struct.unpack_from("<2I2Q", request)
    if is_silent and kind == number:
        print("asked", flush=True)
    elif kind not in (FORGET, MANY_FORGET, INTERRUPT):
        errno, data = answer(kind, node, request[40:])
        os.write(device, struct.pack("<IiQ", 16 + len(data), -errno, unique) + data)
