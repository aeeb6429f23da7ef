"""`WebhookIntake`: outcomes over HTTP, `POST /v1/outcomes` and `POST /observe` (contract §4).

Plain ASGI endpoints: at thousands of single requests a second a request object would be half of the cost.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import logging
import zlib
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec

from rsi.classify import Classifier, for_home
from rsi.config import Config
from rsi.errors import InvalidInputError, StoreError, TooLargeError
from rsi.model import Batch, Receipt, Submit

log = logging.getLogger("rsi.webhook")

_Scope: TypeAlias = Any
_Receive: TypeAlias = Any
_Send: TypeAlias = Any

_NDJSON: Final = frozenset(
    {b"application/x-ndjson", b"application/ndjson", b"application/jsonl", b"application/x-jsonl"}
)
_JSON: Final = b"application/json"
_BUSY: Final = 503
#: From this size on parsing would hold up everybody else's requests: it goes to a thread.
_LARGE_BYTES: Final = 512 * 1024
_CONTENT: Final = (b"content-type", b"application/json")
_encode: Final = msgspec.json.Encoder().encode


class _Answer(msgspec.Struct, frozen=True):
    status: int
    body: bytes


class _Refusal(Exception):  # noqa: N818 - an answer on its way out, not a failure
    def __init__(self, status: int, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.field = field


class WebhookIntake:
    """The HTTP door (model.Intake). It owns transport; authentication is the server's middleware around it."""

    name = "webhook"

    def __init__(self, home: Path, config: Config) -> None:
        self._classifier = for_home(home)
        self._limit = config.limits.request_bytes
        self._counts: Counter[str] = Counter()

    def start(self, submit: Submit) -> None:
        """Nothing: the server calls."""

    def routes(self, submit: Submit) -> Sequence[Any]:
        """`/v1/outcomes` and `/observe`."""
        from starlette.routing import Route  # noqa: PLC0415 - the server has it, an agent's process need not

        return (
            Route("/v1/outcomes", _Outcomes(submit, self._limit, self._counts), methods=["POST"]),
            Route("/observe", _Observe(submit, self._limit, self._counts, self._classifier), methods=["POST"]),
        )

    def sweep(self, submit: Submit | None = None) -> int:  # noqa: ARG002 - the protocol's
        """Nothing waits at this door."""
        return 0

    def stop(self) -> None:
        """Nothing: the server ends its requests."""

    def status(self) -> Mapping[str, Any]:
        """Requests by status code."""
        return {"requests": dict(self._counts)}


class _Wakes:
    """Brings answers from the store's thread into the event loop: one wake-up for a whole group commit.

    `asyncio.wrap_future` would wake the loop once per request, and that is a system call and a fight for the GIL each.
    """

    def __init__(self) -> None:
        self._done: deque[tuple[asyncio.Future[Receipt], Future[Receipt]]] = deque()
        self._awake = False

    async def result(self, receipt: Future[Receipt]) -> Receipt:
        """The receipt, once it is there. Raises what the future holds."""
        loop = asyncio.get_running_loop()
        here: asyncio.Future[Receipt] = loop.create_future()

        def told(done: Future[Receipt]) -> None:  # in the store's thread
            self._done.append((here, done))
            if not self._awake:
                self._awake = True
                with contextlib.suppress(RuntimeError):  # the loop is gone, and who waited with it
                    loop.call_soon_threadsafe(self._hand_out)

        receipt.add_done_callback(told)
        return await here

    def _hand_out(self) -> None:
        self._awake = False  # before looking: what comes from now on wakes us again
        while self._done:
            here, done = self._done.popleft()
            if here.done():
                continue  # who waited has left
            error = done.exception()
            if error is not None:
                here.set_exception(error)
            else:
                here.set_result(done.result())


class _Endpoint(ABC):
    """One POST route: read, submit, wait until it is durable, answer."""

    def __init__(self, submit: Submit, limit: int, counts: Counter[str]) -> None:
        self._submit = submit
        self._limit = limit
        self._counts = counts
        self._wakes = _Wakes()

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        try:
            answer = await self._answer(scope, receive)
        except _Refusal as refusal:
            answer = _error(refusal.status, str(refusal), refusal.field)
        except TooLargeError as error:
            answer = _error(413, str(error), error.field)
        except InvalidInputError as error:
            answer = _error(400, str(error), error.field)
        except StoreError as error:
            log.warning("nothing was stored: %s", error)
            answer = _error(_BUSY, str(error))
        self._counts[str(answer.status)] += 1
        length = (b"content-length", b"%d" % len(answer.body))
        headers = [_CONTENT, length, (b"retry-after", b"5")] if answer.status == _BUSY else [_CONTENT, length]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    @abstractmethod
    async def _answer(self, scope: _Scope, receive: _Receive) -> _Answer:
        """What this endpoint says to a request."""

    async def _batch(self, scope: _Scope, receive: _Receive) -> Batch:
        kind = encoding = b""
        for name, value in scope["headers"]:
            if name == b"content-type":
                kind = value.partition(b";")[0].strip().lower()
            elif name == b"content-encoding":
                encoding = value.strip().lower()
        ndjson = kind in _NDJSON
        if not ndjson and kind != _JSON and not (kind.startswith(b"application/") and kind.endswith(b"+json")):
            raise _Refusal(415, "send application/json or application/x-ndjson")
        body = await self._body(receive)
        if encoding and encoding != b"identity":
            body = self._unpack(body, encoding)
        return Batch(door="webhook", body=body, ndjson=ndjson)

    async def _body(self, receive: _Receive) -> bytes:
        """The body, or one byte more than is allowed: ingest refuses that, and keeps its beginning."""
        message = await receive()
        body: bytes = message.get("body", b"")
        if message.get("more_body"):
            parts, size = [body], len(body)
            while message.get("more_body") and size <= self._limit:
                message = await receive()
                parts.append(message.get("body", b""))
                size += len(parts[-1])
            body = b"".join(parts)
        if message["type"] == "http.disconnect":
            raise _Refusal(400, "the connection ended before the body did")
        return body

    def _unpack(self, body: bytes, encoding: bytes) -> bytes:
        if encoding not in (b"gzip", b"x-gzip"):
            raise _Refusal(415, "content-encoding: gzip, or none", "content-encoding")
        if len(body) > self._limit:
            return body
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(body)) as file:
                return file.read(self._limit + 1)
        except (OSError, EOFError, zlib.error) as error:
            self._keep(body)
            raise _Refusal(400, f"not gzip, or cut short: {error}", "content-encoding") from error

    def _keep(self, body: bytes) -> None:
        """What cannot be unpacked is no JSON either: ingest says so, and keeps it."""
        try:
            self._submit(Batch(door="webhook", body=b"\x00gzip " + body))
        except InvalidInputError:
            return

    async def _store(self, batch: Batch) -> Receipt:
        if len(batch.body or b"") < _LARGE_BYTES:
            return await self._wakes.result(self._submit(batch))
        return await self._wakes.result(await asyncio.to_thread(self._submit, batch))


class _Outcomes(_Endpoint):
    """One object, an array or NDJSON → 202 with a receipt; 422 if every item was refused."""

    async def _answer(self, scope: _Scope, receive: _Receive) -> _Answer:
        receipt = await self._store(await self._batch(scope, receive))
        if receipt.rejected and not receipt.ids:
            first = receipt.rejected[0].error
            field = _field(first)
            said = {"error": first, "field": field} if field else {"error": first}
            return _Answer(422, _encode({**said, **_as_dict(receipt)}))
        return _Answer(202, _encode(receipt))


class _Observe(_Endpoint):
    """One object → 201 with its id and what the rules of this home say it is."""

    def __init__(self, submit: Submit, limit: int, counts: Counter[str], classifier: Classifier) -> None:
        super().__init__(submit, limit, counts)
        self._classifier = classifier

    async def _answer(self, scope: _Scope, receive: _Receive) -> _Answer:
        batch = await self._batch(scope, receive)
        if batch.ndjson or (batch.body or b"").lstrip()[:1] == b"[":
            raise _Refusal(422, "outcome: expected one object; POST /v1/outcomes takes several")
        receipt = await self._store(batch)
        if receipt.rejected:
            said = receipt.rejected[0].error
            return _error(422, said, _field(said))
        return _Answer(201, _encode({"id": receipt.ids[0], "issues": issues_of(batch.body or b"", self._classifier)}))


def issues_of(body: bytes, classifier: Classifier) -> list[str]:
    """The category of an accepted outcome, by rules alone; none for what did not fail."""
    item = msgspec.json.decode(body)
    error = next((item[name] for name in ("error", "error_message", "error_msg") if item.get(name) is not None), None)
    if item.get("success") is not False or item.get("status") not in (None, "failed"):
        return []
    text, error_type, status = error, item.get("error_type"), None
    if isinstance(error, dict):
        text = error.get("message") or error.get("type")
        error_type, status = error_type or error.get("type"), error.get("status")
    return [classifier(text or "", error_type, status, item.get("provider")).name]


def _as_dict(receipt: Receipt) -> dict[str, Any]:
    return msgspec.structs.asdict(receipt)


def _field(message: str) -> str | None:
    """`outcome[3].duration_ms: …` → `duration_ms`."""
    where = message.partition(": ")[0]
    return where.partition(".")[2] or None


def _error(status: int, message: str, field: str | None = None) -> _Answer:
    return _Answer(status, _encode({"error": message, "field": field} if field else {"error": message}))
