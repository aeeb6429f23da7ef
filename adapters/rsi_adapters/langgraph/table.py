"""All open runs of the framework in this process: one table for all handlers, so that none is told twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, Unpack

from rsi.client import Run
from rsi.client.facts import ErrorFacts
from rsi.client.recorded import StepFields
from rsi.enforce.watched import MAX_OPEN, Watched
from rsi.model import Kind
from rsi_adapters.langgraph.cutting import cuts, end_as_cut, left_to, waits
from rsi_adapters.langgraph.naming import session_of, streamed, task_of, user_of
from rsi_adapters.langgraph.nodes import heard, node_began, node_ended, slot_of
from rsi_adapters.langgraph.seen import Seen

_NOTHING: Final[Mapping[str, Any]] = {}


class Table:
    """By the framework's id. What a handler tells of a run that another one told of already changes nothing."""

    def __init__(self) -> None:
        self._open: dict[Any, Seen] = {}

    def __len__(self) -> int:
        """Runs that are open."""
        return len(self._open)

    def begin(
        self,
        watched: Watched,
        key: Any,
        up_key: Any,
        kind: str,
        name: str,
        *,
        metadata: Mapping[str, Any] | None,
        resumed: bool = False,
        fields: StepFields | None = None,
    ) -> None:
        """A run began.

        Args:
            watched: who reports it, unless what is around it is somebody else's.
            key: the framework's id.
            up_key: of the run around it.
            kind: `chain`, `retriever`, `llm`, `tool`.
            name: what the framework calls it.
            metadata: the framework's.
            resumed: whether it goes on after a person was asked.
            fields: of its outcome.
        """
        more: StepFields = fields or {}
        if key in self._open:
            return
        said = metadata or _NOTHING
        up = self._open.get(up_key) if up_key is not None else None
        slot = slot_of(kind, name, said, up)
        watched = watched if up is None else up.watched
        if up is None:
            run = _begin_root(watched, key, kind, name, metadata=said, fields=more)
        else:
            plain = kind == "chain" and not slot
            task = str(said.get("langgraph_node") or name) if plain else name
            enter = kind != "llm" and not plain
            run = watched.begin(
                key, task, parent=up.key, kind=_KINDS[kind], quiet=plain, enter=enter, lane=slot or None, **more
            )
        if run is None:
            return
        seen = self._open[key] = Seen(key, name, up, watched, run, kind=kind, slot=slot)
        seen.resumed = seen.resumed or resumed
        if slot and up is not None:
            if up.inner or up.held:
                self._end_cut(up, lambda inner: inner.slot == slot)
            node_began(seen, up, said, run)
        if up is not None and waits(seen):
            up.inner[key] = seen
        if len(self._open) > MAX_OPEN:
            self._open.pop(next(iter(self._open)), None)

    def end(self, key: Any, error: BaseException | ErrorFacts | None = None, **fields: Unpack[StepFields]) -> None:
        """A run ended. One that is not open changes nothing."""
        seen = self._open.pop(key, None)
        if seen is None:
            return
        up = seen.up if seen.up is not None and seen.up.key in self._open else None
        if not left_to(up, seen, error):
            self._settle(seen, error)
        if seen.up is not None:
            seen.up.inner.pop(key, None)
        if seen.slot and seen.up is not None:
            node_ended(seen, seen.up, error)
        else:
            heard(seen, error, fields)
        if isinstance(error, asyncio.CancelledError) and waits(seen) and up is not None:
            up.hold(seen)
            return
        if error is None and seen.answerless is not None:
            seen.watched.condemn(key, seen.answerless)
        if seen.up is None and seen.used and seen.kind == "chain":
            fields["tokens_in"], fields["tokens_out"] = (sum(spent) for spent in zip(*seen.used, strict=True))
        seen.watched.end(key, error, **fields)

    def refused(self, key: Any, tool: str, facts: ErrorFacts) -> None:
        """A node gave out a tool's error; told only where the tool was not seen to fail."""
        seen = self._open.get(key)
        if seen is not None and seen.slot and tool not in seen.failed_tools:
            seen.watched.failed_inside(key, tool, facts)

    def tried_again(self, run: Run, kind: str, name: str | None) -> None:
        """A model call or tool that is cancelled inside `run` was cut by us, and is being tried again.

        Args:
            run: of the node.
            kind: `llm` or `tool`.
            name: of the tool; any model for `None`.
        """
        for seen in [seen for seen in list(self._open.values()) if seen.run.id == run.id]:
            self._end_cut(seen, lambda inner: inner.kind == kind and name in (None, inner.name))

    def _end_cut(self, up: Seen, which: Callable[[Seen], bool]) -> None:
        """The first such thing that was cancelled inside, or not even that, is tried again: it was cut."""
        for inner, ms in up.held:
            if which(inner):
                up.held = tuple(one for one in up.held if one[0] is not inner)
                end_as_cut(inner, ms)
                return
        for inner in list(up.inner.values()):
            if which(inner) and self.forget(inner):
                end_as_cut(inner, inner.lasted_ms)
                return

    def _settle(self, seen: Seen, error: BaseException | ErrorFacts | None) -> None:
        """What was cancelled inside, or never ended, was cut if this ended of a timeout, else it was cancelled."""
        late = [(inner, inner.lasted_ms) for inner in list(seen.inner.values()) if self.forget(inner)]
        for inner, ms in (*seen.held, *late):
            why = error if cuts(error, inner) else asyncio.CancelledError()
            inner.watched.end(inner.key, why, ms=ms)

    def forget(self, seen: Seen) -> bool:
        """Hear no more of a run that is cut; whether it was open."""
        if seen.place is not None:
            seen.place.ended(seen, None)
        if seen.up is not None:
            seen.up.inner.pop(seen.key, None)
        return self._open.pop(seen.key, None) is not None


_KINDS: Final[Mapping[str, Kind]] = {"chain": "step", "retriever": "step", "llm": "llm", "tool": "tool"}


def _begin_root(
    watched: Watched, key: Any, kind: str, name: str, *, metadata: Mapping[str, Any], fields: StepFields
) -> Run | None:
    """Outermost, as far as we can see. In a graph, or no chain: somebody left the context behind, and it is no task."""
    chain = kind == "chain"
    alone = not chain or "langgraph_node" in metadata
    return watched.begin(
        key,
        name if alone else task_of(name, metadata),
        kind=_KINDS[kind],
        session=session_of(metadata),
        user=user_of(metadata),
        alone=alone,
        enter=kind != "llm" and not streamed(),
        **fields,
    )


#: The process's own.
TABLE: Final = Table()
