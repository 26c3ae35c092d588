"""A web server on this machine, that can be made to misbehave."""

import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOST = "127.0.0.1"


@dataclass
class WeightsServer:
    """What the server has, and what it does.

    Attributes:
        files: The contents of each file, by its path, such as `/a.hdf5`.
        moved: The new path of each file that was renamed.
        breaks_after: The number of bytes of a grid after which connections
            break; None if they do not.
        stalls_after: The number of bytes of a grid after which the server
            waits until it is closed; None if it does not.
        ranges: Whether a part of a file can be asked for.
        starts_at: The byte at which each part begins, whatever is asked for.
        longest: The largest size of a part, if it is limited.
        asked: The path and the range of each request.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    breaks_after: int | None = None
    stalls_after: int | None = None
    ranges: bool = True
    starts_at: int | None = None
    longest: int | None = None
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""
    closed: threading.Event = field(default_factory=threading.Event)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer a request."""
        path, part = handler.path, handler.headers.get("Range")
        self.asked.append((path, part))
        if path in self.moved:
            handler.send_response(302)
            handler.send_header("Location", self.moved[path])
            handler.end_headers()
            return
        if path not in self.files:
            handler.send_error(404)
            return
        contents = self.files[path]
        start = 0
        if part and self.ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-", part)[1])
            if start >= len(contents):
                handler.send_error(416)
                return
            if self.starts_at is not None:
                start = self.starts_at
            size = len(contents)
            if self.longest is not None:
                contents = contents[: start + self.longest]
            handler.send_response(206)
            end = f"{len(contents) - 1}/{size}"
            handler.send_header("Content-Range", f"bytes {start}-{end}")
        else:
            handler.send_response(200)
        handler.send_header("Content-Length", str(len(contents) - start))
        handler.end_headers()
        most = self.stalls_after or self.breaks_after
        if most is None or not path.endswith(".emulator"):
            most = len(contents)
        handler.wfile.write(contents[start : start + most])
        if self.stalls_after is not None and path.endswith(".emulator"):
            self.closed.wait()


@contextmanager
def serving(server: WeightsServer):
    """Serve files on a free port of the loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            server.answer(self)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer((HOST, 0), Handler) as http:
        server.url = f"http://{HOST}:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.closed.set()
            http.shutdown()
            thread.join()
