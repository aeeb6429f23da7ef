"""What guard and step report: the end of a run, a failed try, the start of a unit. Made into items by the sender."""

from __future__ import annotations

from typing import Any, Final

from rsi import clock
from rsi.client import Run
from rsi.client.facts import ErrorFacts
from rsi.client.recorded import within
from rsi.model import FixRef, Kind, Status

#: Fields that hold the host's words; the rest of these items is made here, of numbers and of words of our own.
_TEXTS: Final = (
    "task", "source", "session", "user", "error", "model", "provider", "release", "env", "tags", "metadata", "input",
    "output", "issues",
)  # fmt: skip


class Ended:
    """A run that ended. `outer` is the run around it; without one it is a task."""

    texts = _TEXTS
    __slots__ = ("_facts", "_fields", "_kind", "_ms", "_outer", "_run", "_source", "_status", "_ts", "_version")

    def __init__(
        self,
        run: Run,
        outer: Run | None,
        *,
        source: str,
        kind: Kind,
        status: Status,
        ms: float,
        version: int | None = None,
        facts: ErrorFacts | None = None,
        fields: dict[str, Any] | None = None,
    ) -> None:
        self._run = run
        self._outer = outer
        self._source = source
        self._kind: Kind = kind
        self._status: Status = status
        self._ms = ms
        self._version = version
        self._facts = facts
        self._fields = fields
        self._ts = clock.now()

    def item(self) -> dict[str, Any]:
        """As the contract spells it."""
        run = self._run
        item = {
            "id": run.id,
            "ts": self._ts,
            "source": self._source,
            "task": run.task,
            "success": self._status == "ok",
            "status": self._status,
            "duration_ms": round(self._ms, 3),
        }
        _around(item, run, self._outer, self._version)
        item["kind"] = "task" if self._outer is None else self._kind
        if self._facts is not None:
            item["error"] = self._facts.item()
            if self._facts.provider is not None:
                item["provider"] = self._facts.provider
        if self._fields is not None:
            item |= self._fields
        return item


class Tried:
    """A try that failed and was followed by another: a step of its call."""

    texts = _TEXTS
    __slots__ = ("_attempt", "_facts", "_id", "_ms", "_run", "_source", "_ts", "_version")

    def __init__(
        self,
        own_id: str,
        run: Run,
        facts: ErrorFacts,
        *,
        source: str,
        attempt: int,
        ms: float,
        version: int | None,
    ) -> None:
        self._id = own_id
        self._run = run
        self._facts = facts
        self._source = source
        self._attempt = attempt
        self._ms = ms
        self._version = version
        self._ts = clock.now()

    def item(self) -> dict[str, Any]:
        """As the contract spells it."""
        item = {
            "id": self._id,
            "ts": self._ts,
            "source": self._source,
            "task": self._run.task,
            "success": False,
            "status": "failed",
            "attempt": self._attempt,
            "duration_ms": round(self._ms, 3),
            "error": self._facts.item(),
        }
        _around(item, self._run, self._run, self._version)
        return item


class Started:
    """A unit that entered experiments. It has an id of its own, and names its run, so that it hides no outcome."""

    texts = _TEXTS
    __slots__ = ("_id", "_refs", "_run", "_source", "_ts", "_version")

    def __init__(self, own_id: str, run: Run, refs: tuple[FixRef, ...], *, source: str, version: int | None) -> None:
        self._id = own_id
        self._run = run
        self._refs = refs
        self._source = source
        self._version = version
        self._ts = clock.now()

    def item(self) -> dict[str, Any]:
        """As the contract spells it."""
        root = self._run.root
        item = {"id": self._id, "ts": self._ts, "source": self._source, "task": root.task, "kind": "task"}
        item |= {"status": "started", "run": root.id, "fixes": [_ref(ref) for ref in self._refs]}
        if root.session is not None:
            item["session"] = root.session
        return item if self._version is None else item | {"policy_version": self._version}


def _around(item: dict[str, Any], run: Run, outer: Run | None, version: int | None) -> None:
    """Add what a run has from the runs and the policy around it."""
    if outer is not None:
        item |= within(outer)
    elif run.session is not None:
        item["session"] = run.session
    if run.user is not None:
        item["user"] = run.user
    if version is not None:
        item["policy_version"] = version
    if run.in_trial:
        item["fixes"] = [_ref(ref) for ref in list(run.entered.values())]


def _ref(ref: FixRef) -> dict[str, Any]:
    return {"id": ref.id, "arm": ref.arm, "f": ref.f, "stage": ref.stage, "enforced": ref.enforced}
