"""For gunicorn."""

import time


def app(environ, start_response):
    path = environ["PATH_INFO"]
    _, kind, ms, _ = path.split("/")
    done = f"{path} done\n".encode()
    if kind == "stream":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return stream(int(ms), done)
    time.sleep(int(ms) / 1000)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(done)))])
    return [done]


def stream(ms, done):
    for piece in range(1, ms // 250 + 1):
        time.sleep(0.25)
        yield f"piece {piece}\n".encode()
    yield done
