"""What was asked, checked: numbers and texts from a query or a body."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from rsi.errors import InvalidInputError

#: Who the journal names for what came over HTTP with a token or the home's secret.
WHO: Final = "person:http"


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
