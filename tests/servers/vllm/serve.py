"""A server that answers as vLLM does, without a model: serve.py HOST PORT.

/metrics is written by the library that vLLM has it written by, with vLLM's names, labels and texts, for two engines.
Every other request is worked on until the FIFO of the variable GATE is released. TERM ends it at once: vLLM ends its
engine before its requests."""

import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, Gauge, Histogram, generate_latest

LABELS, MODEL = ["model_name", "engine"], "unsloth/Llama-3.2-1B-Instruct"


def per_engine(name, text):
    gauge = Gauge(name, text, LABELS)
    return [gauge.labels(MODEL, str(engine)) for engine in range(2)]


running = per_engine("vllm:num_requests_running", "Number of requests in model execution batches.")
waiting = per_engine("vllm:num_requests_waiting", "Number of requests waiting to be processed.")
for state in ["awake", "weights_offloaded"]:
    Gauge(f"vllm:engine_sleep_state_{state}", "Engine sleep state.", LABELS).labels(MODEL, "0").set(1)
took = Histogram("vllm:e2e_request_latency_seconds", "Histogram of e2e request latency in seconds.", LABELS)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/metrics":
            return self.answer(CONTENT_TYPE_LATEST, generate_latest())
        # The second engine has it, the first none.
        with running[1].track_inprogress(), took.labels(MODEL, "1").time(), open(os.environ["GATE"]) as gate:
            gate.read()
        self.answer("application/json", b'"whole"')

    def answer(self, kind, body):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
