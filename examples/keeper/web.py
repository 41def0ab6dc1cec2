"""A web server that works until somebody stops it."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hello(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello\n")

    def log_message(self, *args: object) -> None:
        """It is asked every few seconds, which is no news."""


ThreadingHTTPServer(("", 8000), Hello).serve_forever()
