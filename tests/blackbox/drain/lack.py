# nginx behind HAProxy, which keeps its connections: one of two replicas is stopped under load, in a delay of 1 s of
# which the balancer is told after 0.9 s. lack.py INIT ARG... ({port} is the port of the replica). Prints the log of the
# init and `sent=N dropped=N`.
import http.client, os, signal, socket, subprocess, sys, tempfile, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

RATE, WORK, LAG = 20, 0.5, 0.9

class Work(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        time.sleep(WORK)
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"done")
    def log_message(self, *_):
        pass

def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]

def until(what, holds):
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            if holds():
                return
        except OSError:
            pass
        time.sleep(0.02)
    sys.exit("not in 30 s: " + what)

def listens(port):
    socket.create_connection(("127.0.0.1", port)).close()
    return True

place = tempfile.mkdtemp()
backend = ThreadingHTTPServer(("127.0.0.1", 0), Work)
threading.Thread(target=backend.serve_forever, daemon=True).start()
front, ports = free_port(), [free_port(), free_port()]

def nginx(port):
    own = f"{place}/{port}"
    os.makedirs(own)
    kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    temporary = "".join(f"{kind}_temp_path {own}/{kind};" for kind in kinds)
    with open(f"{own}/conf", "w") as conf:
        conf.write(f"""daemon off; master_process off; pid {own}/pid; error_log stderr warn; events {{ }}
            http {{ access_log off; keepalive_timeout 300; {temporary} server {{ listen 127.0.0.1:{port};
            location / {{ proxy_pass http://127.0.0.1:{backend.server_port}; }} }} }}""")
    return ["/usr/sbin/nginx", "-c", f"{own}/conf"]

with open(f"{place}/haproxy", "w") as conf:
    conf.write(f"""global
 nbthread 1
 stats socket {place}/admin mode 600 level admin
defaults
 mode http
 retries 0
 http-reuse always
 timeout connect 5s
 timeout client 60s
 timeout server 60s
frontend front
 bind 127.0.0.1:{front}
 default_backend back
backend back
 server r0 127.0.0.1:{ports[0]}
 server r1 127.0.0.1:{ports[1]}
""")

quiet = dict(stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
words = [word.replace("{port}", str(ports[0])) for word in sys.argv[1:]]
init = subprocess.Popen(words + ["--"] + nginx(ports[0]), stdin=subprocess.DEVNULL)
other = subprocess.Popen(nginx(ports[1]), **quiet)
balancer = subprocess.Popen(["/usr/sbin/haproxy", "-db", "-f", f"{place}/haproxy"], **quiet)
until("servers", lambda: all(listens(port) for port in ports + [front]))

bad, threads, going = [], [], True
def request():
    try:
        client = http.client.HTTPConnection("127.0.0.1", front, timeout=30)
        client.request("GET", "/")
        answer = client.getresponse()
        if (answer.status, answer.read()) != (200, b"done"):
            bad.append(answer.status)
    except (OSError, http.client.HTTPException) as error:
        bad.append(repr(error))

def load():
    begun = time.monotonic()
    while going:
        threads.append(threading.Thread(target=request))
        threads[-1].start()
        time.sleep(max(0, begun + len(threads) / RATE - time.monotonic()))

loader = threading.Thread(target=load)
loader.start()
until("a steady load", lambda: len(threads) > 2 * RATE)
told = time.monotonic() + LAG
init.send_signal(signal.SIGTERM)
time.sleep(max(0, told - time.monotonic()))
with socket.socket(socket.AF_UNIX) as admin:
    admin.connect(f"{place}/admin")
    admin.sendall(b"set server back/r0 state maint\n")
    admin.recv(99)
init.wait(60)
going = False
loader.join()
for thread in threads:
    thread.join()
for process in (balancer, other):
    process.kill()
    process.wait()
print(f"sent={len(threads)} dropped={len(bad)} {bad[:3]}", flush=True)
