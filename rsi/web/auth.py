"""Who may ask what (contract §4): pure ASGI, around every route.

Without `auth.tokens` the daemon is on loopback only, and the danger is a web page in the user's own browser: a foreign
Host (DNS rebinding) or Origin, or a write of a form's content type, is refused. With tokens everybody shows one.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Final

from rsi import clock
from rsi.config import Config
from rsi.web.answer import Answer, Receive, Scope, refusal
from rsi.web.signature import keys_of, verify
from rsi.web.table import Entry

_LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")
_WRITES: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_KINDS: Final = frozenset(
    {
        b"application/json", b"application/x-ndjson", b"application/ndjson", b"application/jsonl",
        b"application/x-jsonl", b"application/x-protobuf", b"application/protobuf", b"application/cloudevents+json",
    }
)  # fmt: skip
_CHALLENGE: Final = ((b"www-authenticate", b'Bearer realm="rsi"'),)
_FOREIGN_HOST: Final = "Host is not this daemon's: use 127.0.0.1 or localhost with its port, or set auth.tokens"
_WITHOUT: Final = "needs one of auth.tokens or the home's local secret (.rsi/secret), as Authorization: Bearer"
_ASKED: Final = frozenset(
    {
        b"host", b"origin", b"authorization", b"content-type", b"content-length", b"transfer-encoding",
        b"webhook-id", b"webhook-timestamp", b"webhook-signature",
    }
)  # fmt: skip


class Pass:
    """A request that may go on; `receive` replays a body that had to be read to check its signature."""

    __slots__ = ("receive", "trusted")

    def __init__(self, receive: Receive, *, trusted: bool) -> None:
        self.receive = receive
        self.trusted = trusted


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
        self._port = port
        self._hosts = frozenset(_hosts(host, port)) if port is not None else None

    async def check(self, scope: Scope, receive: Receive, entry: Entry | None) -> Pass | Answer:
        """Let it pass, or say why not. `entry` is what it asks for, if that exists."""
        headers = {name: value for name, value in scope["headers"] if name in _ASKED}
        foreign = self._foreign(headers, scope)
        if foreign is not None:
            return foreign
        if scope["method"] in _WRITES and not _is_data(headers):
            return refusal(415, "a write must be application/json, application/x-ndjson or application/x-protobuf")
        token = _bearer(headers)
        if entry is not None and entry.privileged:
            return self._privileged(token) or Pass(receive, trusted=True)
        if entry is not None and entry.app is not None and self._signing and b"webhook-signature" in headers:
            return await self._signed(headers, receive)
        trusted = not self._tokens or _is_one_of(token, self._tokens + self._secret)
        if trusted or (entry is not None and entry.open):
            return Pass(receive, trusted=trusted)
        return refusal(401, "a token is needed: Authorization: Bearer <one of auth.tokens>", headers=_CHALLENGE)

    def _foreign(self, headers: dict[bytes, bytes], scope: Scope) -> Answer | None:
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if not self._tokens:
            hosts = self._hosts or frozenset(_hosts(None, (scope.get("server") or ("", 0))[1]))
            if host not in hosts:
                return refusal(403, _FOREIGN_HOST)
        origin = headers.get(b"origin")
        if origin is not None:
            scheme, _, netloc = origin.decode("latin-1").lower().partition("://")
            if scheme not in ("http", "https") or netloc != host:
                return refusal(403, "Origin is foreign: other sites' pages may not use this daemon")
        return None

    def _privileged(self, token: bytes | None) -> Answer | None:
        if token is None:
            return refusal(401, _WITHOUT, headers=_CHALLENGE)
        if not _is_one_of(token, self._tokens + self._secret):
            return refusal(403, "this token is neither one of auth.tokens nor the home's local secret (.rsi/secret)")
        return None

    async def _signed(self, headers: dict[bytes, bytes], receive: Receive) -> Pass | Answer:
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
        return refusal(401, why) if why else Pass(_replay(body, receive), trusted=True)


def _hosts(host: str | None, port: int | None) -> Sequence[str]:
    names = (*_LOOPBACK, host) if host and host.startswith("127.") else _LOOPBACK
    with_port = [f"{name}:{port}" for name in names]
    return [*with_port, *names] if port == 80 else with_port  # noqa: PLR2004 - HTTP's own, which clients leave out


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

    async def again() -> dict[str, object]:
        nonlocal told
        if told:
            return dict(await receive())
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
