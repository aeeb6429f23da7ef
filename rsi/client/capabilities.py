"""Which knobs this process can act on, told to the daemon once per (source, task) and again while it lives."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final
from urllib.parse import urlencode

from rsi import clock
from rsi.client.delivery import TryLaterError
from rsi.client.link import Link
from rsi.client.tally import Tally

#: The daemon forgets a client after `client_ttl` (24 h); far enough below it that a bad hour does not matter.
AGAIN_S: Final = 3_600.0


class Capabilities:
    """What was offered, by (source, task).

    Args:
        on_known: called with a source once the daemon knows something of it: from then on its policy is polled.
    """

    def __init__(self, client_id: Callable[[], str], on_known: Callable[[str], None], tally: Tally) -> None:
        self._client_id = client_id
        self._on_known = on_known
        self._tally = tally
        self._offered: dict[tuple[str, str], frozenset[str]] = {}
        self._told: dict[tuple[str, str], tuple[frozenset[str], int, float]] = {}

    def offer(self, source: str, task: str, enforces: Iterable[str]) -> bool:
        """Remember; whether that is news. A task offered twice counts with both."""
        before = self._offered.get((source, task))
        now = (before or frozenset()) | frozenset(enforces)
        if now == before:
            return False
        self._offered[source, task] = now
        return True

    def common(self, source: str) -> frozenset[str]:
        """What this process can do for every task of `source`: all that may be said without naming a task."""
        found = [enforces for (its, _), enforces in list(self._offered.items()) if its == source]
        return frozenset.intersection(*found) if found else frozenset()

    def announce(self, link: Link) -> None:
        """Tell what is new, what this daemon has not heard, and what was said more than an hour ago.

        Raises:
            TryLaterError, UnreachableError, RefusedError: the daemon did not hear it; say it again later.
        """
        for (source, task), enforces in list(self._offered.items()):
            told = self._told.get((source, task))
            fresh = told is not None and told[0] == enforces and clock.monotonic() - told[2] < AGAIN_S
            if fresh and told is not None and link.up and told[1] == link.generation:
                continue
            self._tell(link, source, task, enforces)
            self._told[source, task] = (enforces, link.generation, clock.monotonic())
            self._on_known(source)

    def _tell(self, link: Link, source: str, task: str, enforces: frozenset[str]) -> None:
        answer = link.request("GET", policy_path(source, enforces, self._client_id(), task=task))
        if answer.status in (400, 422):  # saying it again will not help
            self._tally.say_once(f"the daemon refused what {source}/{task} can do: {answer.body[:300]!r}")
        elif answer.status != 200:  # noqa: PLR2004 - HTTP's own number
            raise TryLaterError(f"{link.url}/v1/policy answered {answer.status}")


def policy_path(
    source: str, enforces: Iterable[str], client_id: str, *, task: str | None = None, wait: int | None = None
) -> str:
    """`/v1/policy?source=…&enforces=…&client=…`, with `task` or `wait` if given."""
    query = {"source": source, "enforces": ",".join(sorted(enforces)), "client": client_id}
    if task is not None:
        query["task"] = task
    if wait is not None:
        query["wait"] = str(wait)
    return f"/v1/policy?{urlencode(query)}"
