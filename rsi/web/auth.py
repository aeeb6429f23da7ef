"""Who may ask what (contract §4).

`Gate` stands around the application and turns foreign pages away; `Guarded` stands around each route and asks for what
its level needs.

Without `auth.tokens` the daemon is on loopback only, and the danger is a web page in the user's own browser: a foreign
Host (DNS rebinding) or Origin, or a write of a form's content type, is refused. With tokens everybody shows one.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Final

from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rsi import clock
from rsi.config import Config
from rsi.web.answer import refusal
from rsi.web.signature import keys_of, verify
from rsi.web.table import Level

_LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")
_WRITES: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_KINDS: Final = frozenset(
    {
        b"application/json", b"application/x-ndjson", b"application/ndjson", b"application/jsonl",
        b"application/x-jsonl", b"application/x-protobuf", b"application/protobuf", b"application/cloudevents+json",
    }
)  # fmt: skip
_CHALLENGE: Final = {"www-authenticate": 'Bearer realm="rsi"'}
_FOREIGN_HOST: Final = "Host is not this daemon's: use 127.0.0.1 or localhost with its port, or set auth.tokens"
_WITHOUT: Final = "needs one of auth.tokens or the home's local secret (.rsi/secret), as Authorization: Bearer"
_ONCE: Final = "besides its token this needs a signature by one of auth.signing_secrets, or a token of auth.tokens"

#: Keys in the scope: the request's headers as a dict, the level of the route, whether who asks showed what is needed.
HEADERS: Final = "rsi.headers"
LEVEL: Final = "rsi.level"
TRUSTED: Final = "rsi.trusted"


class Guard:
    """Decides on one request.

    Args:
        config: tokens, signing secrets, the size of a request.
        secret: the home's local secret.
        port: what we listen on; a Host must name it.
        host: what we were told to listen on.
    """

    def __init__(self, config: Config, secret: str | None, port: int | None, host: str | None = None) -> None:
        self._tokens = tuple(token.encode() for token in config.auth.tokens if token)
        self._secret = (secret.encode(),) if secret else ()
        self._signing = keys_of(config.auth.signing_secrets)
        self._limit = config.limits.request_bytes
        self._hosts = _hosts(host, port) if port is not None else None

    def foreign(self, scope: Scope) -> Response | None:
        """Why a request is refused before anybody asks who sent it."""
        headers = scope[HEADERS] = dict(scope["headers"])
        host = headers.get(b"host", b"")
        if not self._tokens:
            hosts = self._hosts or _hosts(None, (scope.get("server") or ("", 0))[1])
            if host not in hosts and host.lower() not in hosts:
                return refusal(403, _FOREIGN_HOST)
        origin = headers.get(b"origin")
        if origin is not None:
            scheme, _, netloc = origin.lower().partition(b"://")
            if scheme not in (b"http", b"https") or netloc != host.lower():
                return refusal(403, "Origin is foreign: other sites' pages may not use this daemon")
        if scope["method"] in _WRITES and not _is_data(headers):
            return refusal(415, "a write must be application/json, application/x-ndjson or application/x-protobuf")
        return None

    async def admit(self, scope: Scope, receive: Receive, level: Level) -> Receive | Response:
        """What to receive from (a body that was read to check its signature comes again), or why not."""
        headers = scope[HEADERS]
        scope[TRUSTED] = True
        if level is Level.PRIVILEGED:
            return self._privileged(_bearer(headers)) or receive
        if level is Level.ONE_TIME:
            return await self._once(headers, receive)
        if level is Level.REPORT and self._signing and b"webhook-signature" in headers:
            return await self._signed(headers, receive)
        if not self._tokens or _is_one_of(_bearer(headers), self._tokens + self._secret):
            return receive
        scope[TRUSTED] = False
        if level is Level.OPEN:
            return receive
        return refusal(401, "a token is needed: Authorization: Bearer <one of auth.tokens>", headers=_CHALLENGE)

    def around(self, app: ASGIApp) -> ASGIApp:
        """What answers where there is no route: only to those who may read."""

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            passed = await self.admit(scope, receive, Level.READ)
            await (passed if isinstance(passed, Response) else app)(scope, receive, send)

        return guarded

    def _privileged(self, token: bytes | None) -> Response | None:
        if token is None:
            return refusal(401, _WITHOUT, headers=_CHALLENGE)
        if not _is_one_of(token, self._tokens + self._secret):
            return refusal(403, "this token is neither one of auth.tokens nor the home's local secret (.rsi/secret)")
        return None

    async def _once(self, headers: dict[bytes, bytes], receive: Receive) -> Receive | Response:
        """The token in the path is one half; where we know who may write, they show it."""
        if _is_one_of(_bearer(headers), self._tokens + self._secret):
            return receive
        if self._signing and b"webhook-signature" in headers:
            return await self._signed(headers, receive)
        if not (self._signing or self._tokens):
            return receive
        return refusal(401, _ONCE, headers=_CHALLENGE)

    async def _signed(self, headers: dict[bytes, bytes], receive: Receive) -> Receive | Response:
        parts, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return refusal(400, "the connection ended before the body did")
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._limit:
                return refusal(413, f"over the limit of {self._limit} bytes (setting limits.request_bytes)")
            if not message.get("more_body"):
                break
        body = b"".join(parts)
        ident, timestamp, given = (
            headers.get(name, b"").decode("latin-1")
            for name in (b"webhook-id", b"webhook-timestamp", b"webhook-signature")
        )
        why = verify(self._signing, body, ident=ident, timestamp=timestamp, signatures=given, now=clock.now())
        return refusal(401, why) if why else _replay(body, receive)


class Gate:
    """ASGI middleware, outside of everything: HTTP that is not foreign comes in."""

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        self._app = app
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or hand on."""
        if scope["type"] == "websocket":  # nothing here speaks it, and no level was ever asked for
            await send({"type": "websocket.close", "code": 1000})
            return
        refused = self._guard.foreign(scope) if scope["type"] == "http" else None
        await (refused or self._app)(scope, receive, send)


class Guarded(BaseRoute):
    """A route, any of Starlette's, that asks for its level first; a wrong method on its path asks for reading only."""

    def __init__(self, route: BaseRoute, level: Level, guard: Guard) -> None:
        self._route = route
        self._level = level
        self._guard = guard

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As the route says."""
        match, child = self._route.matches(scope)
        if match is not Match.NONE:
            child[LEVEL] = self._level if match is Match.FULL else Level.READ
        return match, child

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse."""
        passed = await self._guard.admit(scope, receive, scope[LEVEL])
        if isinstance(passed, Response):
            await passed(scope, receive, send)
        else:
            await self._route.handle(scope, passed, send)


def _hosts(host: str | None, port: int | None) -> frozenset[bytes]:
    names: Sequence[str] = (*_LOOPBACK, host) if host and host.startswith("127.") else _LOOPBACK
    with_port = [f"{name}:{port}" for name in names]
    found = [*with_port, *names] if port == 80 else with_port  # noqa: PLR2004 - HTTP's own, which clients leave out
    return frozenset(name.encode("latin-1") for name in found)


def _is_data(headers: dict[bytes, bytes]) -> bool:
    kind = headers.get(b"content-type")
    if kind is None:  # nothing is written where nothing is sent
        return headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers
    return kind in _KINDS or kind.partition(b";")[0].strip().lower() in _KINDS


def _bearer(headers: dict[bytes, bytes]) -> bytes | None:
    given = headers.get(b"authorization")
    if given is None:
        return None
    scheme, _, token = given.partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else b""


def _is_one_of(token: bytes | None, allowed: tuple[bytes, ...]) -> bool:
    """In constant time over all of them."""
    if not token:
        return False
    good = False
    for each in allowed:
        good |= hmac.compare_digest(token, each)
    return good


def _replay(body: bytes, receive: Receive) -> Receive:
    told = False

    async def again() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
