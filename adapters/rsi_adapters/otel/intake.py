"""`OtelIntake`: OTLP over HTTP, `POST /v1/traces` and `POST /v1/logs` (contract §4)."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec

from rsi.config import Config, Home
from rsi.errors import InvalidInputError, StoreError, TooLargeError
from rsi.model import Submit
from rsi.redact import Redactor
from rsi_adapters.otel import body, jsonbody, protobuf
from rsi_adapters.otel.door import DOOR, Door, Sweeper
from rsi_adapters.otel.reading import Reader
from rsi_adapters.otel.room import Room
from rsi_adapters.otel.signals import Taken

log = logging.getLogger("rsi.otel")

_JSON: Final = b"application/json"
_PROTOBUF: Final = (b"application/x-protobuf", b"application/protobuf")
#: Spans of one request; exporters send 512 at once.
MOST_ITEMS: Final = 20_000
#: Reasons that an answer repeats; the rest is a number.
_REASONS: Final = 5
#: `google.rpc.Code`
_INVALID, _EXHAUSTED, _UNAVAILABLE = 3, 8, 14
_encode: Final = msgspec.json.Encoder().encode
#: Names that come again and again are looked at for secrets once.
_NAMES: Final = 4_096

_Decoder: TypeAlias = Callable[[bytes, int], Taken]


class _Refusal(Exception):  # noqa: N818 - an answer on its way out, not a failure
    """Status, `google.rpc.Code` and why."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class OtelIntake:
    """The OpenTelemetry door (model.Intake)."""

    name = DOOR

    def __init__(self, home: Path, config: Config) -> None:
        self._limit = config.limits.request_bytes
        self._room = Room(Home(home).state / "otel.db")
        clean = Redactor(config.redact.extra).text
        self._door = Door(self._room, Reader(Home(home).path.name or "project", lru_cache(_NAMES)(clean)))
        self._sweeper: Sweeper | None = None
        self._counts: Counter[str] = Counter()

    def start(self, submit: Submit) -> None:
        """Look after the spans that wait."""
        self._sweeper = Sweeper(self._door, submit)

    def routes(self, submit: Submit) -> Sequence[Any]:
        """`/v1/traces` and `/v1/logs`."""
        from starlette.routing import Route  # noqa: PLC0415 - the server has it, an agent's process need not

        return (
            Route("/v1/traces", Traces(self._door, submit, self._limit, self._counts), methods=["POST"]),
            Route("/v1/logs", Logs(self._door, submit, self._limit, self._counts), methods=["POST"]),
        )

    def sweep(self, submit: Submit) -> int:
        """Tell the traces whose time is up."""
        return self._door.sweep(submit)

    def stop(self) -> None:
        """End the sweeper; what waits is in the file."""
        if self._sweeper is not None:
            self._sweeper.stop()
            self._sweeper = None
        self._room.close()

    def status(self) -> Mapping[str, Any]:
        """Requests by status code, spans, outcomes, and what is wrong."""
        trouble = self._sweeper.trouble if self._sweeper is not None else None
        return {"requests": dict(self._counts), **self._door.status(), "troubles": [trouble] if trouble else []}


class _Endpoint:
    """One POST route of OTLP: read, keep, wait until it is durable, answer in the encoding of the request."""

    #: By encoding, and what the answer calls the refused ones.
    binary: _Decoder
    text: _Decoder
    rejected: str

    def __init__(self, door: Door, submit: Submit, limit: int, counts: Counter[str]) -> None:
        self._door = door
        self._submit = submit
        self._limit = limit
        self._counts = counts

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request (ASGI)."""
        headers = dict(scope["headers"])
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        is_text = kind not in _PROTOBUF
        try:
            taken = await self._take(kind, headers.get(b"content-encoding", b"").strip().lower(), receive)
            status, answer = 200, self._accepted(taken, is_text=is_text)
        except _Refusal as refusal:
            status, answer = refusal.status, _refused(refusal.code, str(refusal), is_text=is_text)
        self._counts[str(status)] += 1
        found = [(b"content-type", _JSON if is_text else kind), (b"content-length", b"%d" % len(answer))]
        if status == 503:  # noqa: PLR2004 - by its number, as everybody knows it
            found.append((b"retry-after", b"5"))
        await send({"type": "http.response.start", "status": status, "headers": found})
        await send({"type": "http.response.body", "body": answer})

    async def _take(self, kind: bytes, encoding: bytes, receive: Any) -> Taken:
        if kind != _JSON and kind not in _PROTOBUF:
            raise _Refusal(415, _INVALID, "send application/x-protobuf or application/json")
        if encoding not in (b"", b"identity", *body.PACKED):
            raise _Refusal(415, _INVALID, "content-encoding: gzip, deflate, or none")
        try:
            raw = await body.read(receive, self._limit)
            return await asyncio.to_thread(self._store, raw, encoding, self.text if kind == _JSON else self.binary)
        except TooLargeError as error:
            raise _Refusal(413, _EXHAUSTED, str(error)) from error
        except InvalidInputError as error:
            raise _Refusal(400, _INVALID, str(error)) from error
        except StoreError as error:
            log.warning("nothing was stored: %s", error)
            raise _Refusal(503, _UNAVAILABLE, str(error)) from error

    def _store(self, raw: bytes, encoding: bytes, decode: _Decoder) -> Taken:
        if encoding in body.PACKED:
            raw = body.unpack(raw, self._limit)
        taken = decode(raw, MOST_ITEMS)
        self._door.take(taken, self._submit)
        return taken

    def _accepted(self, taken: Taken, *, is_text: bool) -> bytes:
        refused = len(taken.refused)
        why = "; ".join(taken.refused[:_REASONS]) + ("; …" if refused > _REASONS else "")
        if not is_text:
            return protobuf.partial(refused, why)
        return _encode({"partialSuccess": {self.rejected: str(refused), "errorMessage": why} if refused else {}})


class Traces(_Endpoint):
    """OTLP spans, protobuf or JSON, gzip too: those of agents become outcomes; answered once they are durable."""

    binary = staticmethod(protobuf.traces)
    text = staticmethod(jsonbody.traces)
    rejected = "rejectedSpans"


class Logs(_Endpoint):
    """OTLP log records: `gen_ai.evaluation.result` becomes the quality of what it grades, others are left aside."""

    binary = staticmethod(protobuf.logs)
    text = staticmethod(jsonbody.logs)
    rejected = "rejectedLogRecords"


def _refused(code: int, message: str, *, is_text: bool) -> bytes:
    """`google.rpc.Status`; in JSON with our own `error` beside it."""
    return _encode({"error": message, "code": code, "message": message}) if is_text else protobuf.status(code, message)
