"""http.server with a thread for each connection, and nothing said about signals: TERM ends it at once.

server.py IP PORT [CERT KEY]"""

import ssl
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
        pause = {"stream": 0.25, "tokens": 3}.get(kind)
        if pause:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for piece in range(1, int(int(ms) / 1000 / pause) + 1):
                time.sleep(pause)
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


_, ip, port, *tls = sys.argv
server = Server((ip, int(port)), Handler)
if tls:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*tls)
    # The handshake is made by the thread of the connection.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
