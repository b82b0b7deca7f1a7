"""http.server with a thread for each connection, and nothing said about signals: TERM ends it at once."""

import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body are two writes: the second would wait for the first one's ACK.
    disable_nagle_algorithm = True

    def do_GET(self):
        _, kind, ms, _ = self.path.split("/")
        done = f"{self.path} done\n".encode()
        self.send_response(200)
        if kind == "stream":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for piece in range(1, int(ms) // 250 + 1):
                time.sleep(0.25)
                self.chunk(f"piece {piece}\n".encode())
            self.chunk(done)
            self.wfile.write(b"0\r\n\r\n")
        else:
            time.sleep(int(ms) / 1000)
            self.send_header("Content-Length", str(len(done)))
            self.end_headers()
            self.wfile.write(done)

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    # The default of 5 lets bursts wait for a second.
    request_queue_size = 1024


Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
