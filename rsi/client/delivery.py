"""One batch to the daemon: what its answer means for each item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from rsi.client.facts import retry_after_of
from rsi.client.link import Link
from rsi.client.tally import Tally
from rsi.client.transport import Answer

_JSON: Final = {"Content-Type": "application/json"}
_TAKEN: Final = frozenset({200, 201, 202})
#: The request is at fault, not the daemon and not our token: with one item in it, that item is.
_AT_FAULT: Final = frozenset({400, 413, 415, 422})
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
        _count(said, len(lines), tally)
    elif answer.status in _AT_FAULT:
        _at_fault(link, lines, tally, answer)
    else:
        raise _later(answer, link.url)


def _count(said: dict[str, Any], sent: int, tally: Tally) -> None:
    rejected = said["rejected"]
    tally.count("sent", sent - len(rejected))
    for one in rejected:
        _reject(tally, str(one.get("error")) if isinstance(one, dict) else str(one))


def _reject(tally: Tally, reason: str) -> None:
    tally.count("rejected")
    tally.say_once(f"the daemon refused an outcome, it is dropped: {reason[:500]}")


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
