#!/usr/bin/python3 -IS
"""What stands beside the app: what comes in at a socket goes into the file `log`. It has the default action."""
import socket

with socket.socket(socket.AF_UNIX) as listener:
    listener.bind("tunnel.sock")
    listener.listen()
    open("tunnel", "w").close()
    while True:
        client, _ = listener.accept()
        with client, open("log", "ab") as log:
            log.write(client.recv(64))
