"""A node's retry policy that asks for each failure anew, so that a fix, an arm, or a rollback holds at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from rsi.client import default_client
from rsi_adapters.langgraph.place import Place


class Policied(Protocol):
    """What may have retry policies of the host's: a node, a graph."""

    retry_policy: Any


class LivePolicies(Sequence[Any]):
    """What LangGraph takes for a node's sequence of policies.

    It goes through them at each failure and takes the first that wants the error. Ours comes first; where it does not
    want it, the host's own decide as if we were not there. LangGraph counts the tries of all of them together, so that
    the most patient policy decides how many there are, and nothing is multiplied.

    Args:
        place: the node.
        graph: its graph, whose policies hold where the node has none.
        own: the node's.
    """

    def __init__(self, place: Place, graph: Policied, own: Sequence[Any] | None) -> None:
        self._place, self._graph, self._own = place, graph, own

    def _all(self) -> tuple[Any, ...]:
        return (Once(self._place), *(self._own or self._graph.retry_policy or ()))

    def __iter__(self) -> Iterator[Any]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def __getitem__(self, at: Any) -> Any:
        return self._all()[at]


class Once:
    """A retry policy for one failure: LangGraph asks `retry_on`, then reads how long to wait and how often at most."""

    backoff_factor = 1.0
    jitter = False

    def __init__(self, place: Place) -> None:
        self._place = place
        self.initial_interval = self.max_interval = 0.0
        self.max_attempts = default_client().config.fix.bounds.max_attempts

    def retry_on(self, error: Exception) -> bool:
        """Whether this unit tries again. Never raises: the host's error must not be replaced by ours."""
        try:
            wait = self._place.wait_after(error)
        except Exception as problem:  # noqa: BLE001 - the border into the host
            tally = default_client().tally
            tally.count("adapter_errors")
            tally.say_once(f"langgraph: {self._place.node} is not tried again: {type(problem).__name__}: {problem}")
            return False
        if wait is None:
            return False
        self.initial_interval = self.max_interval = wait
        return True
