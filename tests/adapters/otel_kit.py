"""A real server with the OpenTelemetry door, and spans written by hand in OTLP/JSON."""

from __future__ import annotations

import itertools
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from rsi import clock
from rsi.config import Config, Home
from rsi.model import Outcome
from rsi.pipeline import Pipeline
from rsi.store import Store
from rsi.web.app import create_app
from rsi_adapters.otel import OtelIntake

JSON = {"Content-Type": "application/json"}
PROTOBUF = {"Content-Type": "application/x-protobuf"}
_numbers = itertools.count(1)
_traces = itertools.count(0x5B8EFFF798038103D269B633813FC60C)


def new_trace() -> str:
    """A trace id that no test has used."""
    return f"{next(_traces):032x}"


class Served:
    """A daemon's HTTP with this door."""

    def __init__(self, path: Path, config: Config | None = None) -> None:
        self.home, self.config = Home(path), config or Config()
        self.service = "agent"
        self.home.prepare()
        self.store = Store.open(self.home.store_url(self.config))
        self.pipeline = Pipeline(self.home, self.config, self.store)
        self.intake = OtelIntake(self.home.path, self.config)
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        app = create_app(self.pipeline, self.config, self.home, intakes=[self.intake], port=port, host="127.0.0.1")
        self._server = uvicorn.Server(
            uvicorn.Config(app, http="httptools", ws="none", lifespan="off", access_log=False, log_config=None)
        )
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [sock]}, daemon=True)
        self._thread.start()
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30)
        while not self._server.started:
            assert self._thread.is_alive()
            clock.sleep(0.01)

    def stop(self) -> None:
        self.http.close()
        self._server.should_exit = True
        self._thread.join()
        self.intake.stop()
        self.pipeline.stop()
        self.store.close()

    def send(self, *spans: dict[str, Any], scope: str = "tests", **resource: str) -> dict[str, Any]:
        answer = self.http.post("/v1/traces", json=self.request(*spans, scope=scope, **resource))
        assert answer.status_code == 200, answer.text
        return answer.json()["partialSuccess"]

    def request(self, *spans: dict[str, Any], scope: str = "tests", **resource: str) -> dict[str, Any]:
        return traces(*spans, service=self.service, scope=scope, **resource)

    def log(self, *records: dict[str, Any]) -> httpx.Response:
        group = {"scopeLogs": [{"logRecords": list(records)}], "resource": resource_of(self.service)}
        answer = self.http.post("/v1/logs", json={"resourceLogs": [group]})
        assert answer.status_code == 200, answer.text
        return answer

    def fresh(self) -> Served:
        """The same server for the next test, under another name."""
        self.service = f"agent-{next(_numbers)}"
        return self

    def outcomes(self, source: str | None = None) -> list[Outcome]:
        self.store.write(lambda _conn: None)  # whatever was handed to the writer before is there now
        with self.store.read() as conn:
            found = [stored.outcome for stored in self.store.outcomes_since(conn, 0, 100_000)]
        return [outcome for outcome in found if outcome.source == (source or self.service)]

    def told(self) -> dict[str, Outcome]:
        """Outcomes by task; each is there once."""
        found = self.outcomes()
        assert len({outcome.task for outcome in found}) == len(found), [outcome.task for outcome in found]
        return {outcome.task: outcome for outcome in found}

    def brief(self) -> list[tuple[str, str, str]]:
        return sorted((outcome.kind, outcome.task, outcome.status) for outcome in self.outcomes())


@contextmanager
def serving(path: Path, config: Config | None = None) -> Iterator[Served]:
    served = Served(path, config)
    try:
        yield served
    finally:
        served.stop()


def resource_of(service: str | None, **more: str) -> dict[str, Any]:
    said = {**({"service.name": service} if service else {}), **{k.replace("__", "."): v for k, v in more.items()}}
    return {"attributes": attributes(said)}


def attributes(said: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in said.items()]


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_value(item) for item in value]}}
    return {"stringValue": value}


def traces(
    *spans: dict[str, Any], service: str | None = "agent", scope: str = "tests", **resource: str
) -> dict[str, Any]:
    group = {"scope": {"name": scope}, "spans": list(spans)}
    return {"resourceSpans": [{"resource": resource_of(service, **resource), "scopeSpans": [group]}]}


def span(
    name: str,
    parent: dict[str, Any] | str | None = None,
    *,
    error: str | None = None,
    raised: tuple[str, str] | None = None,
    code: int | None = None,
    start: float | None = None,
    seconds: float = 1.0,
    trace: str | None = None,
    grades: list[dict[str, Any]] | None = None,
    **said: Any,
) -> dict[str, Any]:
    """A span; keyword names with `__` for a dot are its attributes. `raised`: class and message of an exception event."""
    number = next(_numbers)
    began = start if start is not None else clock.now() - 60 + number / 1000
    events = [{"name": "gen_ai.evaluation.result", "attributes": attributes(grade)} for grade in grades or []]
    if raised is not None:
        told = {
            "exception.type": raised[0],
            "exception.message": raised[1],
            "exception.stacktrace": f"Traceback…\n{raised[0]}: {raised[1]}",
        }
        events.append({"name": "exception", "attributes": attributes(told)})
    failed = error is not None or raised is not None
    found = {
        "traceId": trace or (parent["traceId"] if isinstance(parent, dict) else new_trace()),
        "spanId": f"{number:016x}",
        "name": name,
        "kind": 1,
        "startTimeUnixNano": str(int(began * 1e9)),
        "endTimeUnixNano": str(int((began + seconds) * 1e9)),
        "status": {"code": (2 if failed else 0) if code is None else code, "message": error or ""},
        "attributes": attributes({key.replace("__", "."): value for key, value in said.items()}),
        "events": events,
    }
    if parent is not None:
        found["parentSpanId"] = parent["spanId"] if isinstance(parent, dict) else parent
    return found


def agent(name: str = "support", parent: Any = None, **more: Any) -> dict[str, Any]:
    return span(
        f"invoke_agent {name}", parent, gen_ai__operation__name="invoke_agent", gen_ai__agent__name=name, **more
    )


def chat(parent: Any = None, name: str = "chat gpt-x", **more: Any) -> dict[str, Any]:
    return span(name, parent, gen_ai__operation__name="chat", gen_ai__request__model="gpt-x", **more)


def tool(name: str, parent: Any = None, **more: Any) -> dict[str, Any]:
    return span(f"execute_tool {name}", parent, gen_ai__operation__name="execute_tool", gen_ai__tool__name=name, **more)


def chain(name: str, parent: Any = None, kind: str = "CHAIN", **more: Any) -> dict[str, Any]:
    return span(name, parent, openinference__span__kind=kind, **more)


def encoded(request: dict[str, Any]) -> bytes:
    """The same request in protobuf (opentelemetry-proto), written independently of what reads it."""
    return _message(request, _REQUEST)


_ANY = {"stringValue": (1, "s"), "boolValue": (2, "v"), "intValue": (3, "v"), "doubleValue": (4, "d")}
_ANY["arrayValue"] = (5, {"values": (1, _ANY)})
_PAIRS = (9, {"key": (1, "s"), "value": (2, _ANY)})
_RESOURCE = (1, {"attributes": (1, _PAIRS[1])})
_SCOPE = (1, {"name": (1, "s")})
_EVENT = {"name": (2, "s"), "attributes": (3, _PAIRS[1])}
_SPAN = {
    "traceId": (1, "h"), "spanId": (2, "h"), "parentSpanId": (4, "h"), "name": (5, "s"), "kind": (6, "v"),
    "startTimeUnixNano": (7, "f"), "endTimeUnixNano": (8, "f"), "attributes": _PAIRS, "events": (11, _EVENT),
    "status": (15, {"message": (2, "s"), "code": (3, "v")}), "flags": (16, "w"),
}  # fmt: skip
_RECORD = {
    "timeUnixNano": (1, "f"), "attributes": (6, _PAIRS[1]), "traceId": (9, "h"), "spanId": (10, "h"), "eventName": (12, "s"),
}  # fmt: skip
_REQUEST = {
    "resourceSpans": (1, {"resource": _RESOURCE, "scopeSpans": (2, {"scope": _SCOPE, "spans": (2, _SPAN)})}),
    "resourceLogs": (1, {"resource": _RESOURCE, "scopeLogs": (2, {"scope": _SCOPE, "logRecords": (2, _RECORD)})}),
}


def _message(value: dict[str, Any], shape: dict[str, Any]) -> bytes:
    out = b""
    for key, item in value.items():
        number, kind = shape[key]
        for one in item if isinstance(item, list) else [item]:
            out += _field(number, kind, one)
    return out


def _field(number: int, kind: Any, value: Any) -> bytes:
    if kind == "v":
        return _number(number << 3) + _number(int(value) % 2**64)
    if kind in ("f", "d", "w"):
        wide = {"f": "<Q", "d": "<d", "w": "<I"}[kind]
        return _number(number << 3 | (5 if kind == "w" else 1)) + struct.pack(
            wide, value if kind == "d" else int(value)
        )
    raw = bytes.fromhex(value) if kind == "h" else value.encode() if kind == "s" else _message(value, kind)
    return _number(number << 3 | 2) + _number(len(raw)) + raw


def _number(value: int) -> bytes:
    return bytes([value & 0x7F | 0x80]) + _number(value >> 7) if value > 0x7F else bytes([value])
