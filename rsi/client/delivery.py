"""One batch to the daemon: what its answer means for each item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from rsi.client.facts import retry_after_of
from rsi.client.link import Link
from rsi.client.tally import Tally
from rsi.client.transport import Answer

_JSON: Final = {"Content-Type": "application/json"}
_TAKEN: Final = frozenset({200, 201, 202})
#: The request is at fault, not the daemon and not our token: with one item in it, that item is.
_AT_FAULT: Final = frozenset({400, 413, 415, 422})
#: What happened to what: the fields of an outcome without which it is another one.
_CORE: Final = frozenset(
    {"id", "ts", "source", "task", "kind", "status", "success", "error", "session", "run", "parent", "user", "fixes"}
)
MAX_ASKED_S: Final = 60.0  # a daemon may ask for a pause, not for our retirement


class TryLaterError(Exception):
    """The daemon is there and did not take it. `after_s`: how long it asked us to wait, if it did."""

    def __init__(self, message: str, after_s: float | None = None) -> None:
        super().__init__(message)
        self.after_s = after_s


class _Asked(Exception):  # noqa: N818 - carries headers to the one place that reads them
    def __init__(self, headers: dict[str, str]) -> None:
        self.headers = headers


def deliver(link: Link, lines: Sequence[bytes], tally: Tally) -> None:
    """Send; returns when every line was taken, or refused for good (counted, and the reason logged once).

    A request that is refused as a whole is halved until the item at fault stands alone.

    Raises:
        TryLaterError: 5xx, 401, 403, 404, 429, or an answer that no daemon gives.
        UnreachableError, RefusedError: from the link.
    """
    answer = link.request("POST", "/v1/outcomes", b"[" + b",".join(lines) + b"]", _JSON)
    said = answer.json()
    if isinstance(said, dict) and isinstance(said.get("rejected"), list) and answer.status in _TAKEN | {422}:
        if plain := _count(said, lines, tally):
            deliver(link, plain, tally)
    elif answer.status in _AT_FAULT:
        _at_fault(link, lines, tally, answer)
    else:
        raise _later(answer, link.url)


def _count(said: dict[str, Any], lines: Sequence[bytes], tally: Tally) -> list[bytes]:
    """Count; what was refused and says more than that something happened, again without the rest."""
    rejected = said["rejected"]
    tally.count("sent", len(lines) - len(rejected))
    again = []
    for one in rejected:
        reason, index = (str(one.get("error")), one.get("index")) if isinstance(one, dict) else (str(one), None)
        plain = _plainly(lines[index]) if isinstance(index, int) and 0 <= index < len(lines) else None
        if plain is None:
            _reject(tally, reason)
        else:
            again.append(plain)
            tally.count("cut")
            tally.say_once(f"the daemon refused a field, its outcome goes without it: {reason[:500]}", key="field")
    return again


def _plainly(line: bytes) -> bytes | None:
    """Only what happened; `None` if it was no more than that already."""
    item = msgspec.json.decode(line)
    core = {key: value for key, value in item.items() if key in _CORE}
    return msgspec.json.encode(core | {"tags": ["rsi:cut"]}) if len(core) < len(item) - ("tags" in item) else None


def _reject(tally: Tally, reason: str) -> None:
    tally.count("rejected")
    tally.say_once(f"the daemon refused an outcome, it is dropped: {reason[:500]}", key="refused")


def _at_fault(link: Link, lines: Sequence[bytes], tally: Tally, answer: Answer) -> None:
    if len(lines) > 1:
        middle = len(lines) // 2
        deliver(link, lines[:middle], tally)
        deliver(link, lines[middle:], tally)
        return
    said = answer.json()
    _reject(tally, str(said.get("error")) if isinstance(said, dict) else f"status {answer.status}")


def _later(answer: Answer, url: str) -> TryLaterError:
    asked = retry_after_of(_Asked(answer.headers))
    if answer.status in (401, 403):
        return TryLaterError(f"{url} answered {answer.status}: set RSI_TOKEN to one of its auth.tokens", asked)
    return TryLaterError(f"{url} answered {answer.status} without a receipt", asked)
