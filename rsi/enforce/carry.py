"""inject and extract: an open run's unit and parent, to another process and back (W3C traceparent and baggage)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextvars import Token
from hashlib import sha256
from types import TracebackType
from typing import Any, Final, Literal, Self
from urllib.parse import quote, unquote

from rsi.client import Run, current_run, enter_run, leave_run

_LONGEST: Final = 128  # the contract's limit for an id; a task's name is cut there too
_MAX_HEADER: Final = 8_192  # W3C baggage §3.3.2: a limit that everybody has to let through
_WORDS: Final = ("unit", "run", "parent", "session", "task", "user", "owned")


def inject(headers: Mapping[str, str] | None = None) -> dict[str, str]:
    """Headers that carry the open run to another process; empty where none is open.

    Args:
        headers: to be added to; an existing `traceparent` stays, `baggage` is added to.

    Returns:
        A new dict with `traceparent` (version 00, from hashes of our ids) and `baggage` (`rsi.unit`, `rsi.run`,
        `rsi.parent`, …), by https://www.w3.org/TR/trace-context/ and https://www.w3.org/TR/baggage/.
    """
    carried = dict(headers or {})
    run = current_run()
    if run is None:
        return carried
    root = run.root
    words = {"unit": run.unit, "run": root.id, "parent": run.id, "session": run.session, "user": run.user}
    words |= {"task": root.task, "owned": "1" if run.owned else None}
    ours = ",".join(f"rsi.{key}={quote(value[:_LONGEST], safe='')}" for key, value in words.items() if value)
    names = {name.lower(): name for name in carried}
    if "traceparent" not in names:
        carried["traceparent"] = f"00-{_hash(root.id)[:32]}-{_hash(run.id)[:16]}-01"
    baggage = names.get("baggage", "baggage")
    carried[baggage] = f"{carried[baggage]},{ours}" if carried.get(baggage) else ours
    return carried


def _hash(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class Extracted:
    """The run of another process is open here: until the end of the `with` block, or of this context without one."""

    def __init__(self, token: Token[Run | None] | None) -> None:
        self._token = token

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        if self._token is not None:
            leave_run(self._token)
            self._token = None
        return False


def extract(headers: Mapping[str, str] | Iterable[tuple[Any, Any]]) -> Extracted:
    """Go on with the run that `inject` wrote into `headers`: what happens here is inside it and shares its unit.

    It holds at once; where a thread or task serves several requests, use it as `with rsi.extract(headers): …`.

    Args:
        headers: names in any case; a mapping or pairs, text or bytes. What is not ours or not readable changes nothing.
    """
    words = _words(_header(headers, "baggage"))
    if not words.get("run") or not words.get("parent"):
        return Extracted(None)
    return Extracted(enter_run(_remote(words)))


def _remote(words: Mapping[str, str]) -> Run:
    root = Run(words["run"], words.get("task", ""), session=words.get("session"), user=words.get("user"))
    root.unit = words.get("unit") or root.unit
    root.owned = words.get("owned") == "1"
    if words["parent"] == root.id:
        return root
    return Run(words["parent"], root.task, outer=root)


def _header(headers: Any, name: str) -> str:
    try:
        pairs = headers.items() if isinstance(headers, Mapping) or hasattr(headers, "items") else headers
        found = [_text(value) for key, value in pairs if _text(key).lower() == name]
    except (TypeError, ValueError, AttributeError):
        return ""
    return ",".join(found)[:_MAX_HEADER]


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _words(baggage: str) -> dict[str, str]:
    """Our entries of a baggage header; properties after `;` are not ours."""
    found: dict[str, str] = {}
    for entry in baggage.split(","):
        key, _, value = entry.partition(";")[0].partition("=")
        word = key.strip().removeprefix("rsi.")
        if key.strip().startswith("rsi.") and word in _WORDS:
            found[word] = unquote(value.strip())[:_LONGEST]
    return found
