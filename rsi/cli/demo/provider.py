"""A small HTTP service that fails the way providers do; capacity to spare, nothing but loopback.

`POST /v1/answer`: 429 with Retry-After in bursts, 503 now and then, slow answers; about 30 % of first tries fail.
`POST /v1/embed`: 401, always: the caller's key is bad.
"""

from __future__ import annotations

import json
import random
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from rsi import clock

#: Seconds between bursts and their length (means of exponentials): an eighth of the time is rate-limited,
#: and a fifth of the calls, because who is refused at once comes back sooner.
CALM_S: Final = 0.25
BURST_S: Final = 0.0375
RETRY_AFTER_S: Final = 1
SHARE_503: Final = 0.12
SHARE_SLOW: Final = 0.05
HEALTHY_S: Final = (0.12, 0.20)  # what a good answer takes
SLOW_S: Final = 1.5  # longer than the agents wait


class _Weather:
    """When the bursts are; drawn once from the seed, so that they do not depend on who calls."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - weather, not secrets
        self._lock = threading.Lock()
        self._until = clock.monotonic()
        self._burst = True

    def draw(self) -> tuple[str, float]:
        """What happens to a request that arrives now, and how long a good answer takes (s)."""
        with self._lock:
            now = clock.monotonic()
            while now >= self._until:
                self._burst = not self._burst
                self._until += self._random.expovariate(1 / (BURST_S if self._burst else CALM_S))
            luck, takes = self._random.random(), self._random.uniform(*HEALTHY_S)
            if self._burst:
                return "limited", takes
        if luck < SHARE_503:
            return "overloaded", takes
        return ("slow", SLOW_S) if luck < SHARE_503 + SHARE_SLOW else ("ok", takes)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    weather: _Weather

    def do_POST(self) -> None:
        """Answer one call."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/v1/embed":
            self._send(401, {"error": {"message": "Incorrect API key provided", "code": "invalid_api_key"}})
            return
        what, takes = self.weather.draw()
        if what == "limited":
            body = {"error": {"message": "Rate limit reached: too many requests", "code": "rate_limit_exceeded"}}
            self._send(429, body, retry_after=RETRY_AFTER_S)
        elif what == "overloaded":
            self._send(503, {"error": {"message": "The engine is currently overloaded", "code": "overloaded"}})
        else:
            clock.sleep(takes)
            self._send(200, {"answer": "42"})

    def _send(self, status: int, body: dict[str, Any], retry_after: int | None = None) -> None:
        raw = json.dumps(body).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            if retry_after is not None:
                self.send_header("Retry-After", str(retry_after))
            self.end_headers()
            self.wfile.write(raw)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the caller lost patience with a slow answer

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Quiet: the demo tells its own story."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A caller that left is part of the weather; anything else is shown."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class Provider:
    """The service on a free loopback port, in threads of this process."""

    def __init__(self, seed: int) -> None:
        handler = type("Handler", (_Handler,), {"weather": _Weather(seed)})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, name="demo-provider", daemon=True).start()

    def stop(self) -> None:
        """Close the port."""
        self._server.shutdown()
        self._server.server_close()
