"""Unary calls of gRPC, with bytes for messages: calls.py IP PORT is the server, calls.py call ADDRESS RATE SLOW the
client.

A call has the milliseconds that it takes and a number; with a SLOW of 1 one in ten takes 4 s. The client sends RATE
calls a second, whatever becomes of them, and says `steady` after two seconds. After a line on its stdin it says
`calls=OWN:MICROS:STATUS,...`: the milliseconds that each call was to take, the microseconds that it took, its status
(0 is OK)."""

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc


def work(request, context):
    time.sleep(int(request.split(b":")[0]) / 1000)
    return request + b" done"


# SERVING, in the message of grpc.health.v1.
def health(request, context):
    return b"\x08\x01"


def serve(ip, port):
    def service(name, method, handler):
        return grpc.method_handlers_generic_handler(
            name, {method: grpc.unary_unary_rpc_method_handler(handler)}
        )

    server = grpc.server(ThreadPoolExecutor(200))
    server.add_generic_rpc_handlers(
        (service("test.Work", "Do", work), service("grpc.health.v1.Health", "Check", health))
    )
    assert server.add_insecure_port(f"{ip}:{port}")
    server.start()
    server.wait_for_termination()


class Call:
    def __init__(self, do, number, slow, meant):
        self.own = 4000 if slow and number % 10 == 0 else 5 + number * 37 % 295
        self.request = b"%d:%d" % (self.own, number)
        self.meant = self.ended = meant
        self.over = threading.Event()
        self.future = do.future(self.request, timeout=30)
        self.future.add_done_callback(self.done)

    def done(self, _):
        self.ended = time.monotonic()
        self.over.set()

    def line(self):
        self.over.wait()
        status = self.future.code().value[0]
        # DATA_LOSS
        if status == 0 and self.future.result() != self.request + b" done":
            status = 15
        return f"{self.own}:{int((self.ended - self.meant) * 1e6)}:{status}"


def call(address, rate, slow):
    # What fails once has failed.
    channel = grpc.insecure_channel(address, options=[("grpc.enable_retries", 0)])
    do = channel.unary_unary("/test.Work/Do")
    going = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), going.set()), daemon=True).start()
    begun, calls = time.monotonic(), []
    while not going.is_set():
        number = len(calls)
        meant = begun + number / rate
        time.sleep(max(0, meant - time.monotonic()))
        calls.append(Call(do, number, slow, meant))
        if number == 2 * rate:
            print("steady", flush=True)
    print("calls=" + ",".join(each.line() for each in calls), flush=True)


if sys.argv[1] == "call":
    call(sys.argv[2], int(sys.argv[3]), sys.argv[4] == "1")
else:
    serve(*sys.argv[1:])
