"""Whether a failed step was made good: its parent's end decides, and a failed parent's own parent in turn.

| its parent | the step |
|---|---|
| ended ok, was paused or cancelled, or "failed" in a way that is no failure | is recovered |
| is a task and failed | is unrecovered |
| is itself a step and failed | waits for (or is judged by) that step's parent |
| is a failed step without a parent | is unrecovered: nothing above could make it good |
| has not ended | waits; after `verify.silent_after` it is unrecovered |
| there is none | is unrecovered at once: it is its own root |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

from sqlalchemy import Connection

from rsi.analyze.delta import Waiting
from rsi.store import pending
from rsi.store.pending import Ended, Ref

#: Steps within steps; whatever is deeper (or goes in a circle) counts as unrecovered.
MAX_DEPTH: Final = 64

RECOVERED: Final = "recovered"
LOST: Final = "lost"
#: `RECOVERED`, `LOST`, or `wait:<id>` for the outcome to wait for.
Fate: TypeAlias = str
WAIT: Final = "wait:"


def settle(
    conn: Connection, waiting: Iterable[Waiting], ended: Mapping[Ref, Ended], up_to: int
) -> list[tuple[Waiting, Fate]]:
    """Judge steps by how their parents ended.

    Args:
        conn: asked for parents that were analysed before these rows, in one question per level.
        waiting: the steps.
        ended: how the rows of this pass ended.
        up_to: the newest row that was analysed before this pass.
    """
    known: dict[Ref, Ended | None] = dict(ended)
    open_ = [(step, step.parent) for step in waiting]
    judged: list[tuple[Waiting, Fate]] = []
    for _ in range(MAX_DEPTH):
        if not open_:
            break
        _learn(conn, known, [(step.source, parent) for step, parent in open_], up_to)
        upwards = []
        for step, parent in open_:
            fate, above = _judge(known[step.source, parent], parent)
            if above is not None:
                upwards.append((step, above))
            else:
                judged.append((step, fate))
        open_ = upwards
    return judged + [(step, LOST) for step, _ in open_]


def _learn(conn: Connection, known: dict[Ref, Ended | None], refs: Iterable[Ref], up_to: int) -> None:
    unknown = {ref for ref in refs if ref not in known}
    if unknown:
        found = pending.ended(conn, unknown, up_to)
        known.update({ref: found.get(ref) for ref in unknown})


def _judge(end: Ended | None, parent: str) -> tuple[Fate, str | None]:
    """The fate, or the parent above that decides."""
    if end is None or end.status == "started":
        return WAIT + parent, None
    if end.status != "failed" or end.excused:
        return RECOVERED, None
    return LOST, None if end.kind == "task" else end.parent
