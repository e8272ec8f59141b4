"""A web server on this machine that can be told to misbehave."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[["Handler"], None]


@dataclass
class Site:
    """What is served at each path, and what was asked for."""

    port: int = 0
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    default: Answer | None = None  # what any other path gets
    sent: int = 0  # bytes of bodies

    def url(self, path: str) -> str:
        """The address of a path."""
        return f"http://127.0.0.1:{self.port}{path}"

    def ranges(self, path: str) -> list[str]:
        """The Range headers with which a path was asked for."""
        return [headers.get("Range", "") for asked, headers in self.asked if asked == path]


class Handler(BaseHTTPRequestHandler):
    """Looks up what its site says."""

    protocol_version = "HTTP/1.1"
    site: Site

    def do_GET(self) -> None:
        """Answer, and close the connection."""
        self.close_connection = True
        self.site.asked.append((self.path, dict(self.headers.items())))
        answer = self.site.answers.get(self.path.split("?")[0], self.site.default)
        if answer is None:
            self.reply(404, b"nothing here")
        else:
            answer(self)

    do_HEAD = do_POST = do_GET

    def reply(self, status: int, body: bytes = b"", length: int | None = None, **headers: str) -> None:
        """Send an answer, perhaps with a length that is not the body's."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.send_header("Connection", "close")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.site.sent += len(body)
            self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def serving() -> Iterator[Site]:
    """A site until the end of the block."""
    site = Site()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"site": site}))
    server.daemon_threads = True
    site.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def whole(body: bytes, etag: str = '"1"', **headers: str) -> Answer:
    """A file that can be had in parts."""

    def answer(handler: Handler) -> None:
        asked = handler.headers.get("Range", "")
        if handler.headers.get("If-None-Match") == etag:
            handler.reply(304)
        elif asked and handler.headers.get("If-Range") == etag:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            place = f"bytes {start}-{len(body) - 1}/{len(body)}"
            handler.reply(206, body[start:], ETag=etag, Content_Range=place, **headers)
        else:
            handler.reply(200, body, ETag=etag, **headers)

    return answer


def cut_off(body: bytes, after: int, etag: str = '"1"') -> Answer:
    """A connection that breaks after so many bytes."""
    return lambda handler: handler.reply(200, body[:after], length=len(body), ETag=etag)


def silent(body: bytes, after: int, seconds: float) -> Answer:
    """An answer that stops in the middle and keeps the connection."""

    def answer(handler: Handler) -> None:
        handler.reply(200, body[:after], length=len(body), ETag='"1"')
        time.sleep(seconds)

    return answer


def in_turn(*answers: Answer) -> Answer:
    """Another answer each time; the last for ever."""
    left = list(answers)
    return lambda handler: (left.pop(0) if len(left) > 1 else left[0])(handler)
