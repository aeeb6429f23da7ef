"""What is wrong, and where: msgspec's messages in our words."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from rsi.ingest.wire import EXPECTED, TEXT

_SHOWN_CHARS: Final = 80

_PATH: Final = re.compile(r" - at `\$\.?([^`]*)`$")
_POSITION: Final = re.compile(r"\[[^\]]*\]")


def located(message: str, value: Any, where: str) -> tuple[str, str | None]:
    """A decoder's message → ours, and the field: `outcome[3].duration_ms: expected a number ≥ 0, got "fast"`.

    Args:
        message: of a `ValidationError`.
        value: the decoded item that it is about.
        where: begins the message.
    """
    found = _PATH.search(message)
    path = found[1] if found else ""
    words = _POSITION.sub("", path)
    if not words:
        return f"{where}: {message[:1].lower()}{message[1:]}", None
    got = _at(value, path)
    if message.startswith("Object missing required field"):
        missing = message.split("`")[1]
        return f"{where}.{path}.{missing}: is missing", f"{path}.{missing}"
    expected = EXPECTED.get(words, TEXT)
    if "[" in path and words in ("tags", "issues") and not isinstance(got, list):
        expected = TEXT
    return f"{where}.{path}: expected {expected}, got {shown(got)}", path


def _at(value: Any, path: str) -> Any:
    for step in re.findall(r"[^.\[\]]+", path):
        if isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        elif isinstance(value, dict) and step in value:
            value = value[step]
        else:
            break
    return value


def shown(value: Any) -> str:
    """A refused value in a message: scalars as JSON, cut; containers by their kind."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"


def reason(error: Exception) -> str:
    """Why something is no JSON, in the decoder's words."""
    text = str(error)
    return text.removeprefix("JSON is malformed: ") or type(error).__name__
