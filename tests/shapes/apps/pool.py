#!/usr/bin/python3 -IS
"""A master with a pool: asked to stop it lets the workers finish, which have the default action, and ends. A worker
that is killed takes its job along, and the master waits for it for ever."""
import multiprocessing
import os
import select
import signal
import time


def work(_):
    open("ready", "w").close()
    time.sleep(1.5)
    return "done"


if __name__ == "__main__":
    open("asked", "w").close()
    pool = multiprocessing.get_context("fork").Pool(2)
    heard, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda *_: None)
    job = pool.map_async(work, range(2))
    select.select([heard], [], [])
    pool.close()
    pool.join()
    with open("asked", "w") as asked:
        asked.write("t" * len(os.read(heard, 64)))
    if job.get() == ["done", "done"]:
        open("saved", "w").close()
