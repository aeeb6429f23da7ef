"""A world to analyse: a real store, the real rules, and a clock that only moves when told."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from rsi.analyze import health, issues
from rsi.analyze.delta import Delta
from rsi.analyze.issues import Changed
from rsi.analyze.observe import Observer, write
from rsi.classify import Classifier
from rsi.config import Config
from rsi.model import Health, Issue, Outcome
from rsi.rules import load
from rsi.store import Store, outcomes
from rsi.store import issues as stored

#: A Tuesday, ten minutes past an hour.
BEGIN = 1_780_000_000.0 // 3600 * 3600 + 600
HOUR = 3600.0
DAY = 24 * HOUR


@cache
def rules() -> Classifier:
    """The built-in rules, read once."""
    return Classifier(load("classify").rules)


class World:
    """Outcomes go in, `cycle` analyses them; time is the world's own."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.config = Config()
        self.at = BEGIN
        self.observer = Observer(rules())
        self._seq = 0
        self._ids = 0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += seconds

    async def asleep(self, seconds: float) -> None:
        self.at += seconds

    def add(self, **fields: Any) -> str:
        """One outcome, now, unless the fields say otherwise; its id."""
        return self.add_all([fields])[0]

    def add_all(self, many: Sequence[dict[str, Any]]) -> list[str]:
        """Several outcomes, now, in one batch; their ids."""
        made = [self._outcome(fields) for fields in many]
        self.store.add_outcomes(made, self.at).result()
        return [one.id for one in made]

    def _outcome(self, fields: dict[str, Any]) -> Outcome:
        self._ids += 1
        given: dict[str, Any] = {
            "id": f"o{self._ids}",
            "ts": self.at,
            "source": "app",
            "task": "search",
            "kind": "task",
        }
        given |= fields
        given.setdefault("status", "failed" if "error" in given or "error_type" in given else "ok")
        return Outcome(**given)

    def cycle(self) -> Delta:
        """Analyse what is new; the delta as it was written."""
        self.changed: list[Changed] = []
        with self.store.read() as conn:
            rows = outcomes.since(conn, self._seq, 10_000)
            delta = self.observer.observe(conn, rows, self.at, self.config)

        def job(conn: Any) -> None:
            write(conn, delta)
            self.changed = issues.sweep(conn, self.at, self.config, delta.touched)

        self.store.write(job)
        self._seq = max(self._seq, delta.up_to)
        return delta

    def fail(self, error: str = "429 Too Many Requests", times: int = 1, **fields: Any) -> Delta:
        self.add_all([{"error": error, **fields}] * times)
        return self.cycle()

    def succeed(self, times: int = 1, **fields: Any) -> Delta:
        self.add_all([fields] * times)
        return self.cycle()

    def issues(self, **filters: Any) -> list[Issue]:
        with self.store.read() as conn:
            return stored.list_issues(conn, **filters)[0]

    def issue(self, ref: str) -> Issue:
        with self.store.read() as conn:
            return stored.get_issue(conn, ref)

    def only(self) -> Issue:
        (one,) = self.issues()
        return one

    def health(self, source: str | None = None) -> Health:
        with self.store.read() as conn:
            return health.read(conn, self.config, self.at, source)
