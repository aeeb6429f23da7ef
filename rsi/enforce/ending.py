"""What guard and step report: the end of a run, a failed try, the start of a unit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from rsi import clock
from rsi.client import Item, Run
from rsi.client.facts import ErrorFacts
from rsi.client.wire import MAX_TEXT
from rsi.model import FixRef, Kind, Status
from rsi.redact.cutting import head

_FIELDS: Final = frozenset(Item.__struct_fields__)
CLIENT: Final = "client"
"""In the metadata: the process, where it is the unit of an experiment that the run is in."""


def ended(
    run: Run,
    outer: Run | None,
    *,
    source: str,
    kind: Kind,
    status: Status,
    ms: float,
    version: int | None = None,
    facts: ErrorFacts | None = None,
) -> Item:
    """A run that ended. `outer` is the run around it; without one it is a task, with the tries of all inside."""
    item = Item(
        id=run.id,
        ts=clock.now(),
        source=source,
        task=run.task,
        kind="task" if outer is None else kind,
        status=status,
        success=status == "ok",
        error=facts,
        duration_ms=ms,
        session=run.session,
        user=run.user,
        policy_version=version,
    )
    if outer is not None:
        item.parent, item.run = outer.id, run.root.id
    elif run.repeats:
        item.attempt = 1 + run.repeats
    if facts is not None:
        item.provider = facts.provider
    if run.in_trial:
        item.fixes = list(run.entered.values())
        if outer is None and run.process is not None:
            item.metadata = {CLIENT: run.process}
    return item


def tried(
    run: Run, facts: ErrorFacts, *, own_id: str, source: str, attempt: int, ms: float, version: int | None
) -> Item:
    """A try that failed and was followed by another: a step of its call."""
    item = ended(run, run, source=source, kind="step", status="failed", ms=ms, version=version, facts=facts)
    item.id, item.attempt = own_id, attempt
    return item


def started(run: Run, refs: tuple[FixRef, ...], *, own_id: str, source: str, version: int | None) -> Item:
    """A unit that entered experiments. It has an id of its own, and names its run, so that it hides no outcome."""
    root = run.root
    return Item(
        id=own_id,
        ts=clock.now(),
        source=source,
        task=root.task,
        kind="task",
        status="started",
        run=root.id,
        session=root.session,
        fixes=list(refs),
        metadata={CLIENT: root.process} if root.process is not None else None,
        policy_version=version,
    )


def with_fields(item: Item, fields: dict[str, Any]) -> Item:
    """The item with what else became known (`StepFields`); what is no field of an outcome goes into its metadata."""
    for key, value in fields.items():
        if key in ("input", "output") and isinstance(value, str):
            setattr(item, key, head(value, MAX_TEXT))  # the encoder cuts it, when secrets are out
        elif key == "metadata" and item.metadata and isinstance(value, Mapping):
            item.metadata = {**value, **item.metadata}  # whose arm it is goes first
        elif key in _FIELDS:
            setattr(item, key, value)
        else:
            item.metadata = {**(item.metadata or {}), key: value}
    return item
