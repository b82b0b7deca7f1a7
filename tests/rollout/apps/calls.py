"""Unary calls of gRPC, with bytes for messages: calls.py IP PORT is the server, calls.py call ADDRESS the client.

A call has the milliseconds that it takes and a number; one in ten takes 4 s. The client says `steady` after two seconds,
and after a line on its stdin `sent=N failed=N`."""

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc

RATE = 40


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


def call(address):
    # What fails once has failed.
    channel = grpc.insecure_channel(address, options=[("grpc.enable_retries", 0)])
    do = channel.unary_unary("/test.Work/Do")
    going = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), going.set()), daemon=True).start()
    begun, calls = time.monotonic(), []
    while not going.is_set():
        number = len(calls)
        if number == 2 * RATE:
            print("steady", flush=True)
        request = b"%d:%d" % (4000 if number % 10 == 0 else 5 + number * 37 % 295, number)
        calls.append((request, do.future(request, timeout=30)))
        time.sleep(max(0, begun + (number + 1) / RATE - time.monotonic()))
    codes = [one.code() if one.exception() else one.result() == request + b" done" for request, one in calls]
    bad = [code for code in codes if code is not True]
    print(f"sent={len(calls)} failed={len(bad)} {bad[:3]}", flush=True)


if sys.argv[1] == "call":
    call(sys.argv[2])
else:
    serve(*sys.argv[1:])
