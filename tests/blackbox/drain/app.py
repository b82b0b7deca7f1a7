# A server of HTTP/1.1: app.py PORT FAMILY FIFO [late]
#
# FAMILY is 4, 6, udp, or worker: a child listens. It says `listening` and, when it is signalled, `got TERM`;
# then it ends with 5. What it is asked says what it does:
#   /      it answers at once
#   /held  it says `held` and answers when the FIFO was opened and closed by somebody who writes
#   /exit  it answers and ends with 7
# late: it listens after such a time too.
import os, signal, socket, sys, threading
port, family, gate = int(sys.argv[1]), sys.argv[2], sys.argv[3]
say = lambda text: os.write(1, (text + '\n').encode())
def term(*_):
    say('got TERM')
    os._exit(5)
signal.signal(signal.SIGTERM, term)
if len(sys.argv) > 4:
    open(gate).read()
if family == 'worker' and os.fork():
    while True:
        signal.pause()
kind = socket.SOCK_DGRAM if family == 'udp' else socket.SOCK_STREAM
six = family == '6'
server = socket.socket(socket.AF_INET6 if six else socket.AF_INET, kind)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if six:
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
server.bind(('::1' if six else '127.0.0.1', port))
if family == 'udp':
    say('listening')
    while True:
        text, client = server.recvfrom(2048)
        server.sendto(text, client)
server.listen(16)
say('listening')
def serve(client):
    while True:
        head = b''
        while b'\r\n\r\n' not in head:
            more = client.recv(4096)
            if not more:
                return
            head += more
        path = head.split()[1]
        if path == b'/held':
            say('held')
            open(gate).read()
        client.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n')
        if path == b'/exit':
            os._exit(7)
def accept():
    while True:
        threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
threading.Thread(target=accept, daemon=True).start()
# Signals are handled between two instructions of this thread, so it must not wait in accept.
while True:
    signal.pause()
