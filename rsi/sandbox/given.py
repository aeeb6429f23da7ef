"""What callers give that is no text or no bytes, or text that cannot be sent: said with the field's name."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from rsi.errors import InvalidInputError


def path(value: object, field: str = "path") -> str:
    """The name of a file or folder as text.

    Raises:
        InvalidInputError: names the field.
    """
    if not isinstance(value, (str, Path)):
        raise InvalidInputError(f"{field}: expected a path, got {value!r}", field=field)
    return name(os.fspath(value), field)


def name(value: object, field: str) -> str:
    """Text that the system takes: what came from it (surrogateescape) goes back as it was, no other lone surrogate.

    Raises:
        InvalidInputError: names the field.
    """
    if not isinstance(value, str):
        raise InvalidInputError(f"{field}: expected text, got {value!r}", field=field)
    try:
        os.fsencode(value)
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            f"{field}: {value[error.start : error.end]!a} is half a character, which is no text; give bytes, or text",
            field=field,
        ) from error
    return value


def names(values: object, field: str) -> list[str]:
    """A list of such texts.

    Raises:
        InvalidInputError: names the field, and which of them.
    """
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise InvalidInputError(f'{field}: expected a list (["pytest"]), got {values!r}', field=field)
    return [name(value, f"{field}[{number}]") for number, value in enumerate(values)]


def data(value: object, field: str) -> bytes:
    """Bytes, or text as UTF-8 (surrogateescape).

    Raises:
        InvalidInputError: names the field.
    """
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise InvalidInputError(f"{field}: expected text or bytes, got {type(value).__name__}", field=field)
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            f"{field}: {value[error.start : error.end]!a} is half a character, which is no text; give bytes",
            field=field,
        ) from error
