"""The app of the long life: tells NOTIFY_SOCKET its state, and makes orphans."""
import os
import signal
import socket

ORPHANS = 20
SIGNALS = {signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGTERM}
signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
address = os.environ["NOTIFY_SOCKET"]
if address.startswith("@"):
    address = "\0" + address[1:]
sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)


def tell(text):
    sender.sendto(text.encode(), address)


def orphans():
    """Processes whose parent has exited, so that PID 1 has to reap them."""
    if os.fork() == 0:
        for _ in range(ORPHANS):
            if os.fork() == 0:
                os._exit(0)
        os._exit(0)
    os.wait()


tell("READY=1")
print("ready", flush=True)
count = 0
while True:
    got = signal.sigwait(SIGNALS)
    if got == signal.SIGUSR1:
        count += 1
        tell(f"STATUS=message {count}\nWATCHDOG=1\nX_FOREIGN=ignored")
    elif got == signal.SIGUSR2:
        orphans()
    elif got == signal.SIGTERM:
        os._exit(3)
    print("got", signal.Signals(got).name, flush=True)
