#!/usr/bin/python3 -IS
"""The app of most shapes. It writes what it saw to files beside itself: `ready`, `asked` (a byte for every stop
signal that came) and `saved`, when its work is done.

    name=-a     what the names of these files end with
    catch=TERM  the signals it stops at; `catch=`: none, the default action stays
    ignore=INT  the signals it ignores
    drain=0.8   seconds of work that are left when it is asked
    work=3      ends by itself after so many seconds, its work done
    second=dies a second signal ends it at once, as it does many servers
    senders=yes signals of the same process count once: timeout(1) sends each to its child and to its group
    talk=yes    prints a line every 50 ms while it drains, and `last words` at the end
    through=S   its last act is to send `saved` through the tunnel at the socket S
"""
import os
import select
import signal
import socket
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
words = dict(word.partition("=")[::2] for word in sys.argv[1:])


def put(name, text):
    with open(os.path.join(HERE, name + words.get("name", "")), "a") as file:
        file.write(text)


def signals(key, default):
    return [signal.Signals["SIG" + name] for name in words.get(key, default).split(",") if name]


# The C handler writes a byte for every signal, where Python's own runs once for two that come close together.
heard, told = os.pipe()
os.set_blocking(told, False)
signal.set_wakeup_fd(told, warn_on_full_buffer=False)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
for number in signals("ignore", ""):
    signal.signal(number, signal.SIG_IGN)
for number in signals("catch", "TERM"):
    signal.signal(number, lambda *_: None)


senders = set()
if "senders" in words:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])


def wait(seconds):
    """How many signals have come; None: none came in this time."""
    if "senders" not in words:
        return len(os.read(heard, 64)) if select.select([heard], [], [], seconds)[0] else None
    info = signal.sigtimedwait([signal.SIGTERM], 1e6 if seconds is None else max(0, seconds))
    if info is None:
        return None
    new = info.si_pid not in senders
    senders.add(info.si_pid)
    return int(new)


def listen(seconds):
    """Waits for a signal so long and counts it."""
    global asked
    count = wait(seconds)
    if count is not None:
        put("asked", "t" * count)
        asked += count
    if asked > 1 and words.get("second") == "dies":
        os._exit(1)


asked = 0
if signals("catch", "TERM"):
    put("asked", "")
put("ready", "\n")
listen(float(words["work"]) if "work" in words else None)
if asked:
    end = time.monotonic() + float(words.get("drain", "0.8"))
    while (left := end - time.monotonic()) > 0:
        if "talk" in words:
            print("draining", flush=True)
            left = min(left, 0.05)
        listen(left)
    listen(0)
if "talk" in words:
    print("last words", flush=True)
if "through" in words:
    with socket.socket(socket.AF_UNIX) as tunnel:
        tunnel.connect(words["through"])
        tunnel.sendall(b"saved\n")
        # Until the other end has passed it on.
        tunnel.recv(1)
put("saved", "\n")
