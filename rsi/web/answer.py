"""Answers: msgspec's JSON in Starlette's responses, and what our errors mean in HTTP (contract §4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from starlette.responses import Response

from rsi.errors import (
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    RSIError,
    StoreError,
    TooLargeError,
)

_encode: Final = msgspec.json.Encoder().encode


class JSON(Response):
    """A value as JSON; structs as they are."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Starlette's own would not know structs, and would take ten times as long."""
        return _encode(content)


def ok(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A value as JSON."""
    return JSON(value, status, headers)


def refusal(
    status: int, message: str, *, field: str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """`{"error": …, "field"?: …}`."""
    return JSON({"error": message, "field": field} if field else {"error": message}, status, headers)


#: The first that fits; more special ones first.
_STATUS: Final[tuple[tuple[type[RSIError], int], ...]] = (
    (TooLargeError, 413),
    (InvalidInputError, 422),
    (NotFoundError, 404),
    (ConflictError, 409),
    (ForbiddenError, 403),
    (StoreError, 503),
)


def of_error(error: RSIError) -> Response:
    """What one of our errors means to the caller; what is none of theirs is a 500."""
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    return refusal(status, str(error), field=getattr(error, "field", None))
