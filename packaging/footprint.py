#!/usr/bin/env python3
"""Prints, side by side in one run, what an init costs: size of the program, page faults of a launch,
memory, and wake-ups while idle. All of them are counts, read from /proc of the init itself while it
runs `sleep`; medians of several launches, taken in turn.

    packaging/footprint.py [SECONDS]     SECONDS of idling in which wake-ups are counted (default 20)
"""

import glob
import os
import shutil
import signal
import statistics
import sys
import time

LAUNCHES = 21
DEADLINE = 10


def status(pid):
    with open(f"/proc/{pid}/status") as file:
        return {key: value.strip() for key, _, value in (line.partition(":") for line in file)}


def stat(pid):
    """The fields of /proc/PID/stat from the state on (proc_pid_stat(5): its third)."""
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()


def child_of(pid):
    for path in glob.glob("/proc/[0-9]*"):
        try:
            if stat(path[6:])[1] == str(pid):
                return int(path[6:])
        except OSError:
            pass


class Life:
    """One init, launched as posix_spawn does it: without page faults of ours on its account."""

    def __init__(self, argv):
        self.pid = os.posix_spawn(argv[0], [*argv, "sleep", "1000"], os.environ)
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            self.child = child_of(self.pid)
            # It idles when its child runs sleep and it has itself gone to sleep in the kernel.
            if self.child and status(self.child)["Name"] == "sleep" and stat(self.pid)[0] == "S":
                return
        sys.exit(f"did not start: {argv}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.kill(self.child, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def main():
    os.chdir(os.path.dirname(os.path.abspath(__file__)) + "/..")
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 20
    ours = sorted(glob.glob("target/*/release/graceinit"), key=os.path.getmtime)
    if not ours:
        sys.exit("build it first: cargo build --release")
    inits = {"graceinit": [os.path.abspath(ours[-1]), "--"]}
    for peer, flags in ("tini", "-s"), ("tini-static", "-s"), ("dumb-init", None), ("catatonit", None):
        path = shutil.which(peer)
        if path:
            inits[peer] = [path, flags, "--"] if flags else [path, "--"]
        else:
            print(f"{peer}: not installed, left out")
    found = {name: [] for name in inits}
    for _ in range(LAUNCHES):
        for name, argv in inits.items():
            with Life(argv) as life:
                now = status(life.pid)
                kib = lambda key: int(now[key].split()[0])
                found[name].append((int(stat(life.pid)[7]), kib("RssAnon"), kib("VmRSS")))
    lives = {name: Life(argv) for name, argv in inits.items()}
    switches = lambda life: int(status(life.pid)["voluntary_ctxt_switches"])
    before = {name: switches(life) for name, life in lives.items()}
    time.sleep(seconds)  # the length of the measurement, not a wait for anything
    wakes = {name: switches(life) - before[name] for name, life in lives.items()}
    for life in lives.values():
        life.__exit__()
    print(f"{'init':12} {'size kB':>8} {'faults':>7} {'anon KiB':>9} {'RSS KiB':>8} {'wakes':>6}")
    for name, argv in inits.items():
        faults, anon, rss = (statistics.median(column) for column in zip(*found[name]))
        size = os.path.getsize(argv[0]) / 1000
        print(f"{name:12} {size:8.0f} {faults:7.0f} {anon:9.0f} {rss:8.0f} {wakes[name]:6}")
    print(f"(faults, anonymous memory and RSS: medians of {LAUNCHES} launches; wake-ups in {seconds:g} s)")


main()
