"""For gunicorn: a request takes 1.5 s."""
import time


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    open("working", "w").close()
    time.sleep(1.5)
    open("answered", "w").close()
    return [b"whole\n"]
