"""A Celery worker that gives itself a task of 1 s as soon as it can; the broker is a directory."""
import os
import time

from celery import Celery
from celery.signals import worker_ready
from celery.worker.request import Request

HERE = os.path.dirname(os.path.abspath(__file__))
app = Celery("app", broker="filesystem://")
app.conf.broker_transport_options = {
    "data_folder_in": HERE,
    "data_folder_out": HERE,
    "polling_interval": 0.1,
}
on_accepted = Request.on_accepted


@app.task
def slow():
    time.sleep(1)
    open(HERE + "/saved", "w").close()


def accepted(self, *args):
    # Before the master knows which worker has the task, it would give the task of a dead one to another.
    on_accepted(self, *args)
    open(HERE + "/ready", "w").close()


Request.on_accepted = accepted


@worker_ready.connect
def ready(**_):
    slow.delay()
