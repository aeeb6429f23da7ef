"""A loopback server that answers what it was told to answer next, so that each SDK builds its own exception from it."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WAIT_S = 0.05  # what clients are given before they time out; texts say a real number instead (`Slots.wait`)


@dataclass(slots=True)
class Answer:
    """What the next request gets. `mode`: answer, hang, drop (close without a byte), reset (RST), cut (half a body)."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    mode: str = "answer"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        answer: Answer = self.server.answer  # type: ignore[attr-defined]
        self.close_connection = True
        if answer.mode == "answer":
            self._answer(answer)
        elif answer.mode == "cut":
            self._cut()
        elif answer.mode == "hang":
            self.server.released.wait(1.0)  # type: ignore[attr-defined]
        elif answer.mode == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    do_GET = do_POST = do_PUT = do_DELETE = _serve

    def _answer(self, answer: Answer) -> None:
        text = isinstance(answer.body, str)
        data = answer.body.encode() if text else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        self.send_header("content-type", "text/html" if text else "application/json")
        self.send_header("content-length", str(len(data)))
        self.send_header("connection", "close")
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _cut(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self.wfile.write(b'10\r\n{"choices": [{"m')

    def log_message(self, *args: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *args: Any) -> None:
        """A client that went away in the middle is what some of these are about."""


class Loopback:
    """The server and some ports on which other things go wrong. One user at a time."""

    def __init__(self) -> None:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.answer = Answer()  # type: ignore[attr-defined]
        self._server.released = threading.Event()  # type: ignore[attr-defined]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.closed = _closed_port()
        self._full = _full_backlog()
        self.full = self._full[0].getsockname()[1]
        self._tls: dict[str, _Server] = {}

    def answer(self, status: int = 200, body: Any = None, mode: str = "answer", **headers: str) -> str:
        """What comes next; returns the address to ask."""
        self._server.answer = Answer(status, body, {k.replace("_", "-"): v for k, v in headers.items()}, mode)  # type: ignore[attr-defined]
        return self.url

    def tls(self, kind: str) -> str:
        """An https address whose certificate is `selfsigned`, `expired` or for another `host`."""
        if kind not in self._tls:
            self._tls[kind] = _tls_server(kind)
        return f"https://localhost:{self._tls[kind].server_address[1]}"

    def ports(self) -> list[int]:
        """All of them, to be replaced in texts."""
        return [self.port, self.closed, self.full, *(s.server_address[1] for s in self._tls.values())]


def _closed_port() -> int:
    with contextlib.closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def _full_backlog() -> list[socket.socket]:
    """A port whose queue is full: the next connect times out."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(0)
    waiting = [socket.socket() for _ in range(3)]
    for one in waiting:
        one.setblocking(False)
        one.connect_ex(listening.getsockname())
    return [listening, *waiting]


def _tls_server(kind: str) -> _Server:
    import datetime as dt
    import tempfile

    import trustme

    authority = trustme.CA()
    long_ago = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    names = ["elsewhere.example"] if kind == "host" else ["localhost"]
    cert = authority.issue_cert(*names, not_after=long_ago if kind == "expired" else None)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    cert.configure_cert(context)
    server = _Server(("127.0.0.1", 0), _Handler)
    server.answer = Answer(200, {})  # type: ignore[attr-defined]
    server.released = threading.Event()  # type: ignore[attr-defined]
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with tempfile.NamedTemporaryFile("wb", suffix=".pem", delete=False) as file:
        file.write(authority.cert_pem.bytes())
    server.ca_file = file.name  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


LOOPBACK = Loopback()
