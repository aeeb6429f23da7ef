"""What was asked, checked: a body, and numbers and texts from it or from a query."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from starlette.requests import Request

from rsi.errors import InvalidInputError

#: A header that says how a person asked; it chooses between fixed words, so that nothing of it gets into the journal.
BY: Final = "X-RSI-By"
CLI: Final = "cli"
_WHO: Final = "person:http"
_NAMED: Final = {CLI: "person:cli"}
#: Bytes of a body that says what to do (outcomes have their own limit, at their door).
_BODY_BYTES: Final = 64 * 1024


class NotJSONError(Exception):
    """The body is no JSON object: 400."""


def who(request: Request) -> str:
    """Who the journal names for what came over HTTP with a token or the home's secret: a person, and how he asked."""
    return _NAMED.get(request.headers.get(BY, ""), _WHO)


async def json_of(request: Request) -> dict[str, Any]:
    """The body, an object; an empty one is `{}`.

    Raises:
        NotJSONError: not a JSON object.
        InvalidInputError: over 64 KiB.
    """
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _BODY_BYTES:
            raise InvalidInputError(f"the body is over {_BODY_BYTES} bytes")
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


def number(query: Mapping[str, str], name: str, *, default: float, least: float, most: float) -> float:
    """A number from the query, within bounds.

    Raises:
        InvalidInputError: names the parameter.
    """
    raw = query.get(name)
    if not raw:
        return default
    try:
        found = float(raw)
    except ValueError:
        found = math.nan
    if not least <= found <= most:
        raise InvalidInputError(f'{name}: expected a number from {least:g} to {most:g}, got "{raw[:40]}"', field=name)
    return found


def text(body: Mapping[str, Any], name: str) -> str:
    """A text from the body.

    Raises:
        InvalidInputError: missing, empty or no text.
    """
    found = body.get(name)
    if not isinstance(found, str) or not found:
        raise InvalidInputError(f"{name}: expected text", field=name)
    return found


def flag(body: Mapping[str, Any], name: str) -> bool:
    """True or false from the body; false if missing.

    Raises:
        InvalidInputError: something else.
    """
    found = body.get(name, False)
    if not isinstance(found, bool):
        raise InvalidInputError(f"{name}: expected true or false", field=name)
    return found
