"""The route table: one line per thing one can ask. Dispatch, authorisation and `/openapi.json` are made from it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias

import msgspec

from rsi.errors import InvalidInputError
from rsi.web.answer import Answer, Receive, Scope, Send
from rsi.web.context import Context

#: Bytes of a body that says what to do (outcomes have their own limit, at their door).
ACTION_BYTES: Final = 64 * 1024
_PARAMETER: Final = re.compile(r"\{(\w+)\}")


class NotJSONError(Exception):
    """The body is no JSON object: 400."""


@dataclass(slots=True)
class Ask:
    """A request, as a handler sees it."""

    context: Context
    scope: Scope
    receive: Receive
    send: Send
    params: dict[str, str]
    query: dict[str, str]

    def header(self, name: bytes) -> str | None:
        """A header's value by its lower-case name."""
        return next((value.decode("latin-1") for key, value in self.scope["headers"] if key == name), None)

    async def json(self) -> dict[str, Any]:
        """The body, an object; an empty one is `{}`.

        Raises:
            NotJSONError: not a JSON object.
            InvalidInputError: over 64 KiB.
        """
        body = b""
        while True:
            message = await self.receive()
            body += message.get("body", b"")
            if len(body) > ACTION_BYTES:
                raise InvalidInputError(f"the body is over {ACTION_BYTES} bytes")
            if not message.get("more_body"):
                break
        if not body.strip():
            return {}
        try:
            found = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise NotJSONError(f"not JSON: {error}") from error
        if found is None:
            return {}
        if not isinstance(found, dict):
            raise NotJSONError("expected a JSON object")
        return found


Handler: TypeAlias = Callable[[Ask], Awaitable[Answer | None]]


class ASGI(Protocol):
    """An endpoint of a door."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter, for the reference."""

    name: str
    about: str
    type: str = "string"


@dataclass(frozen=True, slots=True)
class Entry:
    """One method of one path.

    Args:
        privileged: needs a token or the home's secret.
        handler: answers it; `None` result means that it has sent the answer itself.
        app: instead of a handler, a door's ASGI endpoint (then reporting by signature is allowed).
        answers: what comes back, a type for the schema.
        body: what must be sent, likewise.
    """

    method: str
    path: str
    about: str
    handler: Handler | None = None
    app: ASGI | None = None
    privileged: bool = False
    open: bool = False  # answers something even where tokens are needed
    query: tuple[Parameter, ...] = ()
    body: Any = None
    answers: Any = dict[str, Any]
    status: int = 200
    kind: str = "application/json"
    also: tuple[int, ...] = ()


@dataclass(slots=True)
class Found:
    """What the table says of a path: its entries by method, and the parameters in it."""

    entries: dict[str, Entry]
    params: dict[str, str] = field(default_factory=dict)


class Table:
    """All entries; looks a path up, exact ones at once."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = tuple(entries)
        self._exact: dict[str, Found] = {}
        patterns: dict[str, dict[str, Entry]] = {}
        for entry in entries:
            if "{" in entry.path:
                patterns.setdefault(entry.path, {})[entry.method] = entry
            else:
                self._exact.setdefault(entry.path, Found({})).entries[entry.method] = entry
        self._patterns = [(re.compile(_PARAMETER.sub(r"(?P<\1>[^/]+)", path)), by) for path, by in patterns.items()]

    def find(self, path: str) -> Found | None:
        """The entries of a path."""
        found = self._exact.get(path)
        if found is not None:
            return found
        for pattern, entries in self._patterns:
            match = pattern.fullmatch(path)
            if match:
                return Found(entries, match.groupdict())
        return None
