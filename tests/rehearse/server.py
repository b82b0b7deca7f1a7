"""A server that does one thing wrong:
server.py PORT [sleep=MS] [term=ignore|close|tell] [late=MS] [listen=no] [get=no].

sleep: what a handler takes. term=close: on TERM the listener is closed, and `late` afterwards the process exits with 0.
term=tell: on TERM each answer closes its connection, and `late` afterwards the process exits with 0. get=no: only a POST
is answered.
"""

import http.server
import os
import signal
import sys
import threading
import time

port, words = int(sys.argv[1]), dict(word.split("=") for word in sys.argv[2:])


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if words.get("get") == "no":
            return self.send_error(405)
        self.do_POST()

    def do_POST(self):
        time.sleep(int(words.get("sleep", 20)) / 1000)
        self.send_response(200)
        self.send_header("Content-Length", "6")
        if told.is_set():
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"hello\n")

    def log_message(self, *args):
        pass


told = threading.Event()


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 1024


def close():
    server.socket.close()
    end()


def tell():
    told.set()
    end()


def end():
    time.sleep(int(words.get("late", 1000)) / 1000)
    os._exit(0)


if words.get("term") == "ignore":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if words.get("term") == "close":
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=close).start())
if words.get("term") == "tell":
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=tell).start())
if words.get("listen") == "no":
    signal.pause()
server = Server(("127.0.0.1", port), Handler)
try:
    server.serve_forever()
except (OSError, ValueError):
    signal.pause()
