"""What the tests of the agent's side share: a daemon that speaks the contract over real sockets, and a clock."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from rsi import clock
from rsi.client import Client

PATIENCE_S = 10.0


def wait_for(what: Callable[[], Any], why: str = "") -> Any:
    """Wait for a state; fails after `PATIENCE_S`."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        found = what()
        if found:
            return found
        time.sleep(0.005)
    raise AssertionError(f"it did not happen: {why or what}")


class Daemon:
    """`/healthz`, `/v1/outcomes`, `/v1/policy`, and every way to fail. `mode` is `ok`, `500`, `garbage`, `hang`, `401`."""

    def __init__(self, home: Path, port: int = 0) -> None:
        self.home = str(home)
        self.mode = "ok"
        self.refuse: Callable[[dict[str, Any]], str | None] = lambda item: None
        self.whole_status: int | None = None  # refuse any batch that holds a refused item with this status, as a whole
        self.posts: list[list[dict[str, Any]]] = []
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.policy_queries: list[dict[str, str]] = []
        self.policies: dict[str, dict[str, Any]] = {}
        self._etags: dict[str, int] = {}
        self._changed = threading.Condition()
        self._released = threading.Event()
        daemon = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: Any) -> None:
                pass

            def do_GET(self) -> None:
                daemon.serve(self, b"")

            def do_POST(self) -> None:
                daemon.serve(self, self.rfile.read(int(self.headers["Content-Length"])))

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False
            allow_reuse_address = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # a client that goes away is what these tests are about

        self.server = Server(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=lambda: self.server.serve_forever(0.02), daemon=True)
        self._thread.start()

    @property
    def received(self) -> dict[tuple[str, str], dict[str, Any]]:
        """By (source, id), as the daemon dedupes."""
        return {(item["source"], item["id"]): item for post in self.posts for item in post}

    def items(self, **fields: Any) -> list[dict[str, Any]]:
        return [item for item in self.received.values() if all(item.get(k) == v for k, v in fields.items())]

    def set_policy(self, source: str, version: int, *, scopes: Any = (), experiments: Any = (), **more: Any) -> None:
        document = {"version": version, "valid_until": clock.iso(time.time() + 600), **more}
        with self._changed:
            self.policies[source] = document | {"scopes": list(scopes), "experiments": list(experiments)}
            self._etags[source] = self._etags.get(source, 0) + 1
            self._changed.notify_all()

    def serve(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        parts = urlsplit(handler.path)
        self.requests.append((handler.command, parts.path, dict(handler.headers)))
        if self.mode in ("hang", "gone"):
            self._released.wait()
            handler.close_connection = True
            return
        if self.mode == "garbage":
            self._raw(handler, 200, b"<html>hello</html>", "text/html")
        elif self.mode in ("500", "401"):
            self._json(handler, int(self.mode), {"error": "no"})
        elif parts.path == "/healthz":
            self._json(handler, 200, {"home": self.home, "pid": id(self)})
        elif parts.path == "/v1/outcomes":
            self._outcomes(handler, json.loads(body))
        elif parts.path == "/v1/policy":
            self._policy(handler, {key: values[0] for key, values in parse_qs(parts.query).items()})
        else:
            self._json(handler, 404, {"error": "not here"})

    def _outcomes(self, handler: BaseHTTPRequestHandler, items: list[dict[str, Any]]) -> None:
        rejected = [{"index": n, "error": why} for n, item in enumerate(items) if (why := self.refuse(item))]
        if rejected and self.whole_status:
            self._json(handler, self.whole_status, {"error": rejected[0]["error"]})
            return
        good = [item for item in items if not self.refuse(item)]
        self.posts.append(good)
        answer = {"accepted": len(good), "duplicates": 0, "rejected": rejected, "ids": [item["id"] for item in good]}
        self._json(handler, 202 if good else 422, answer)

    def _policy(self, handler: BaseHTTPRequestHandler, query: dict[str, str]) -> None:
        self.policy_queries.append(query)
        source = query["source"]
        with self._changed:
            tag = handler.headers.get("If-None-Match")
            if "wait" in query:
                self._changed.wait_for(lambda: self._tag(source) != tag or self.mode != "ok", float(query["wait"]))
            if self._tag(source) == tag:
                self._raw(handler, 304, b"", "application/json", {"ETag": str(tag)})
                return
            document = self.policies.get(source)
        if document is None:
            document = {"version": 0, "valid_until": clock.iso(time.time() + 600), "scopes": [], "experiments": []}
        self._json(handler, 200, document, {"ETag": self._tag(source)})

    def _tag(self, source: str) -> str:
        return f'"{self.port}-{self._etags.get(source, 0)}"'

    def _json(self, handler: BaseHTTPRequestHandler, status: int, body: Any, headers: Any = None) -> None:
        self._raw(handler, status, json.dumps(body).encode(), "application/json", headers)

    def _raw(self, handler: BaseHTTPRequestHandler, status: int, body: bytes, kind: str, headers: Any = None) -> None:
        handler.send_response(status)
        for key, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}.items():
            handler.send_header(key, value)
        handler.end_headers()
        handler.wfile.write(body)

    def stop(self) -> None:
        self.mode = "gone"
        self._released.set()
        with self._changed:
            self._changed.notify_all()
        self.server.shutdown()
        self.server.server_close()
        self._thread.join(5)


@contextmanager
def running(home: Path, port: int = 0) -> Iterator[Daemon]:
    daemon = Daemon(home, port)
    try:
        yield daemon
    finally:
        daemon.stop()


class FakeClock:
    """Time that passes only when somebody waits; `slept` says who waited how long."""

    def __init__(self, at: float | None = None) -> None:
        self.time = time.time() if at is None else at
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds

    async def asleep(self, seconds: float) -> None:
        self.sleep(seconds)


class HTTPError(Exception):
    """As the usual clients raise it."""

    def __init__(self, status: int, message: str = "", **headers: str) -> None:
        super().__init__(message or f"HTTP {status}")
        self.status_code = status
        self.headers = {key.replace("_", "-"): value for key, value in headers.items()}


def policy_of(client: Client, source: str, version: int) -> Any:
    """Wait until this client works under a policy version."""

    def there() -> Any:
        policy = client.policies.current(source)
        return policy if policy is not None and policy.version >= version else None

    return wait_for(there, f"policy {version} for {source}")


def trial(fix: str = "f1", *, patch: Any, fraction: float = 0.5, task: str = "*", **fields: Any) -> dict[str, Any]:
    """An experiment as the daemon sends it."""
    found = {"fix": fix, "state": "canary", "stage": 1, "salt": f"salt-{fix}", "fraction": fraction, "source": "*"}
    return found | {"task": task, "knobs": list(patch), "patch": patch} | fields


class World:
    """A client, the policy it is given at once, and what it reported."""

    def __init__(self, client: Client, daemon: Daemon) -> None:
        self.client = client
        self.daemon = daemon
        self.version = 0

    def policy(self, *experiments: Any, origin: Any = None, **knobs: Any) -> None:
        """Work under these knobs (set by a person unless `origin` says otherwise) and experiments, from now on."""
        self.version += 1
        scope = {"source": "*", "task": "*", "origin": origin or {}, **knobs}
        document = {"version": self.version, "valid_until": clock.iso(clock.now() + 600), "scopes": [scope]}
        assert self.client.policies.take("app", document | {"experiments": list(experiments)})
        held = self.client.policies.held("app")
        assert held is not None
        assert held.problems == ()

    def reported(self, **fields: Any) -> list[dict[str, Any]]:
        """What was reported, in order, with these fields."""
        assert self.client.flush(5)
        return self.daemon.items(**fields)

    def one(self, **fields: Any) -> dict[str, Any]:
        found = self.reported(**fields)
        assert len(found) == 1, found
        return found[0]


class Flaky:
    """Fails with these errors one after the other, then works; counts its calls."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self, *args: Any, **kwargs: Any) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"
