"""One outcome that somebody recorded by hand."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any, Final, TypedDict

from rsi import clock
from rsi.client.context import Run, current_run
from rsi.client.facts import ErrorFacts, facts_of
from rsi.model import Kind, Status


class StepFields(TypedDict, total=False):
    """What the reporter of an outcome may know beside what happened (contract §2)."""

    model: str
    provider: str
    tokens_in: float
    tokens_out: float
    cost_usd: float
    quality: float
    release: str
    env: str
    tags: list[str]
    metadata: Mapping[str, Any]
    input: str
    output: str
    issues: list[str]


class OutcomeFields(StepFields, total=False):
    """The optional fields of an outcome (contract §2)."""

    id: str
    ts: float | str
    status: Status
    error_type: str
    kind: Kind
    duration_ms: float
    session: str
    run: str
    parent: str
    attempt: int
    user: str


_KNOWN: Final = OutcomeFields.__optional_keys__
#: Of one outcome so many texts are counted, and containers in containers so deep.
_TEXTS, _DEEP = 1_000, 5
#: What an outcome is taken for that cannot be looked through.
_UNKNOWN: Final = 1_000


class Recorded:
    """Fields as they were given, with what had to be looked at in the caller's thread."""

    __slots__ = ("_error", "_fields", "_id", "_run", "_source", "_success", "_task", "_ts")

    def __init__(
        self,
        made_id: str,
        task: str,
        success: bool | None,
        *,
        error: str | dict[str, Any] | BaseException | None,
        source: str,
        fields: Mapping[str, Any],
    ) -> None:
        self._id = made_id
        self._task = task
        self._success = success
        self._error: Any = facts_of(error) if isinstance(error, BaseException) else error
        self._source = source
        self._fields = fields
        self._run: Run | None = current_run()
        self._ts = clock.now()

    def weight(self) -> int:
        """What it holds of the host's memory, roughly: characters of its texts, and those of its bytes."""
        try:
            return texts_in((self._fields, self._task, self._error))
        except Exception:  # noqa: BLE001 - the host's own containers, perhaps changed meanwhile by another thread
            return _UNKNOWN

    def item(self) -> dict[str, Any]:
        """The outcome; inside an open run a step of it, unless its kind was given."""
        item: dict[str, Any] = {"id": self._id, "ts": self._ts, "source": self._source, "task": self._task}
        if self._success is not None:
            item["success"] = self._success
        if self._error is not None:
            item["error"] = self._error.item() if isinstance(self._error, ErrorFacts) else self._error
        if self._run is not None:
            item |= within(self._run)
        item |= {key: value for key, value in self._fields.items() if key in _KNOWN and value is not None}
        strange = {key: value for key, value in self._fields.items() if key not in _KNOWN}
        if strange:  # as the daemon does with unknown fields
            item["metadata"] = {**strange, **(item.get("metadata") or {})}
        return item


def texts_in(value: Any) -> int:
    """Characters of the texts in it, and bytes of its bytes; of the first so many, so deep."""
    left, total = _TEXTS, 0
    inside: list[tuple[Any, int]] = [(value, 0)]
    while inside and left > 0:
        value, depth = inside.pop()
        if isinstance(value, str | bytes | bytearray):
            total += len(value)
            left -= 1
        elif depth < _DEEP and isinstance(value, dict | list | tuple):
            values = value.values() if isinstance(value, dict) else value
            inside += [(each, depth + 1) for each in islice(values, left)]
    return total


def within(run: Run) -> dict[str, Any]:
    """The fields that something inherits which happens inside `run`."""
    item: dict[str, Any] = {"kind": "step", "parent": run.id, "run": run.root.id}
    if run.session is not None:
        item["session"] = run.session
    if run.user is not None:
        item["user"] = run.user
    return item
