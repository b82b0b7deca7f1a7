#!/usr/bin/python3 -IS
"""The parent of an app (`parent.py MODE APP WORD…`).

    flag     catches TERM, sets a flag and looks at it when the app has ended
    forward  sends the app the TERM that it gets, 0.1 s later (two that come together are one), and waits for it
    default  waits for it, and dies of a TERM
"""
import signal
import subprocess
import sys
import time

mode, command = sys.argv[1], sys.argv[2:]
app = None


def stop(*_):
    if mode == "forward":
        time.sleep(0.1)
        app.terminate()


if mode != "default":
    signal.signal(signal.SIGTERM, stop)
app = subprocess.Popen(command)
app.wait()
