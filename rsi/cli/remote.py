"""Reaching the home's daemon, if one runs: reading commands do without it, changing ones prefer it."""

from __future__ import annotations

import http.client
import json
import urllib.parse
from collections.abc import Callable
from typing import Any, Final

from rsi.config import Home
from rsi.errors import ConflictError, ForbiddenError, InvalidInputError, NotFoundError, RSIError

TIMEOUT_S: Final = 10.0
BY: Final = "X-RSI-By"
"""Tells the daemon that a person asked by the command line, for its journal."""
_SHOWN: Final = {"fixes": "fix", "issues": "issue"}
_ERRORS: Final = {403: ForbiddenError, 401: ForbiddenError, 404: NotFoundError, 409: ConflictError}


class RefusedError(InvalidInputError):
    """The daemon refused the input; `answer` is its whole JSON."""

    def __init__(self, message: str, answer: dict[str, Any]) -> None:
        super().__init__(message, field=answer.get("field"))
        self.answer = answer


class Remote:
    """HTTP to the daemon of one home, with the home's secret."""

    def __init__(self, home: Home, url: str) -> None:
        self._secret = home.secret()
        self.url = url
        self._at = urllib.parse.urlsplit(url)

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Send JSON, return JSON.

        Raises:
            NotFoundError, ConflictError, ForbiddenError, RefusedError: what the daemon said.
            RSIError: no daemon answers; or one took an order and said nothing, and may have done it.
        """
        payload = json.dumps(body).encode() if body is not None or method == "POST" else None
        return self._request(method, path, payload, "application/json")

    def text(self, path: str) -> str:
        """GET what is not JSON. Raises like `call`."""
        return str(self._request("GET", path, None, "text/plain", decode=str))

    def send(self, path: str, body: bytes, content_type: str) -> Any:
        """POST bytes as they are, return JSON. Raises like `call`."""
        return self._request("POST", path, body, content_type)

    def _connect(self, connection: http.client.HTTPConnection) -> None:
        try:
            connection.connect()
        except OSError as error:
            raise RSIError(f"no daemon answers at {self.url}: {error}") from error

    def _request(
        self, method: str, path: str, payload: bytes | None, content_type: str, decode: Callable[..., Any] = json.loads
    ) -> Any:
        connection = http.client.HTTPConnection(self._at.hostname or "", self._at.port, timeout=TIMEOUT_S)
        headers = {"Content-Type": content_type, BY: "cli"}
        if self._secret:
            headers["Authorization"] = f"Bearer {self._secret}"
        try:
            self._connect(connection)
            connection.request(method, path, payload, headers)
            answer = connection.getresponse()
            raw = answer.read()
        except (OSError, http.client.HTTPException) as error:
            done = "" if method == "GET" else f"; it may have been done: see `{_shown_by(path)}`"
            raise RSIError(f"the daemon at {self.url} was asked and did not answer: {error}{done}") from error
        finally:
            connection.close()
        found = decode(raw.decode()) if raw else {}
        if answer.status < http.client.BAD_REQUEST:
            return found
        said = found.get("error", f"the daemon answered {answer.status}")
        if answer.status in _ERRORS:
            raise _ERRORS[answer.status](said)
        raise RefusedError(said, found)


def _shown_by(path: str) -> str:
    """The command that shows what became of an order: `/v1/fixes/f1/rollback` → `rsi fix f1`."""
    what, _, rest = path.removeprefix("/v1/").partition("/")
    ident, _, verb = rest.partition("/")
    if what not in _SHOWN or not rest:
        return "rsi status"
    return f"rsi {_SHOWN[what]} {ident}" if verb and ident != "all" else f"rsi {what}"


def running(home: Home) -> Remote | None:
    """The daemon of this home, if it is alive and says that it is this home's."""
    about = home.daemon()
    if not about or not isinstance(about.get("url"), str):
        return None
    remote = Remote(home, about["url"])
    try:
        found = remote.call("GET", "/healthz")
    except (RSIError, ValueError):
        return None
    return remote if found.get("home") == str(home.path) else None
