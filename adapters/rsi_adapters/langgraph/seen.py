"""A run of the framework that has not ended, as its observer knows it."""

from __future__ import annotations

from typing import Any

from rsi import clock
from rsi.client import Run
from rsi.enforce.call import Call
from rsi.enforce.watched import Watched
from rsi_adapters.langgraph.place import Place

_MS = 1000.0


class Seen:
    """One open run.

    Args:
        key: the framework's id.
        name: of the node, tool, model or chain.
        up: the run around it.
        watched: who reports it.
        run: as what.
        slot: of a node: its task, the same over all its tries; empty for everything else.
    """

    __slots__ = (
        "answerless",
        "answers",
        "began",
        "calls",
        "failed_tools",
        "held",
        "home",
        "inner",
        "key",
        "kind",
        "model_error",
        "name",
        "place",
        "resumed",
        "run",
        "slot",
        "up",
        "used",
        "watched",
    )

    def __init__(
        self, key: Any, name: str, up: Seen | None, watched: Watched, run: Run, *, kind: str, slot: str = ""
    ) -> None:
        self.key = key
        self.name = name
        self.kind = kind
        self.up = up
        self.watched = watched
        self.run = run
        self.slot = slot
        self.began = clock.monotonic()
        self.home: Seen | None = None if up is None else up if up.slot else up.home
        """The node around it."""
        self.used: list[tuple[float, float]] = [] if up is None else up.used
        """What all models inside the outermost run were given and gave, in tokens."""
        self.resumed: bool = up.resumed if up is not None else False
        """Whether the outermost run goes on after a person was asked."""
        self.place: Place | None = None
        self.inner: dict[Any, Seen] = {}
        """Nodes, models and tools that are at work inside. LangChain does not always tell that one was cancelled."""
        self.calls: dict[str, Call | None] = {}
        """Of a graph: what decides about the tries of its tasks; `None` once it has said no."""
        self.held: tuple[tuple[Seen, float], ...] = ()
        """What was cancelled inside, with its duration in ms: why is known when this ends."""
        self.failed_tools: dict[str, bool] = {}
        """Of a node: tools that were seen to fail."""
        self.model_error: BaseException | None = None
        """Of a node: what ended its last model call."""
        self.answers = False
        """Whether it is the node where an agent's model answers."""
        self.answerless: BaseException | None = None
        """Of an agent: why no model gave its last answer."""

    @property
    def lasted_ms(self) -> float:
        """How long it has been open."""
        return (clock.monotonic() - self.began) * _MS

    def hold(self, inner: Seen) -> None:
        """Something inside was cancelled."""
        self.held = (*self.held, (inner, inner.lasted_ms))
