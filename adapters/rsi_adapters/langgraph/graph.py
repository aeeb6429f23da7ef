"""`apply_to_graph`: tries of a compiled graph's nodes follow the policy, unit by unit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, Self

from langchain_core.runnables.retry import RunnableRetry
from langgraph.prebuilt import ToolNode
from langgraph.pregel import _retry

from rsi.client import default_client
from rsi.client.tally import log
from rsi_adapters.langgraph.everywhere import install
from rsi_adapters.langgraph.place import MARK, PLACES, Place
from rsi_adapters.langgraph.retrying import LivePolicies

_START: Final = "__start__"


class Applied:
    """What was done to a graph; `restore` undoes it. As a context manager it does so at the end."""

    def __init__(self, graph: Any, changed: list[_Changed]) -> None:
        self.graph = graph
        self._changed = changed

    @property
    def nodes(self) -> list[str]:
        """The nodes whose tries follow the policy, as `outer/inner`."""
        return [one.path for one in self._changed]

    def restore(self) -> None:
        """Give every node back what it had. Safe to call twice; runs that are under way end by the old rules."""
        while self._changed:
            self._changed.pop().restore()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()


def apply_to_graph(
    compiled: Any,
    *,
    nodes: Iterable[str] | None = None,
    source: str | None = None,
    inner_retries: int | None = None,
) -> Applied:
    """Let the policy decide how often a node of a compiled `StateGraph` is tried, for each unit by its arm.

    Live: a new policy, an arm or a rollback holds from the next failure on. It also observes, as `install()`. A node's
    own `retry_policy` stays in force: it decides where ours does not, and their tries are not multiplied.

    Args:
        compiled: what `builder.compile()` gave.
        nodes: those that may be tried again. Default: all but tool nodes. LangGraph itself runs a node again from its
            first line when it resumes; name the others where that is not harmless. A node that holds a subgraph is
            not tried again itself, its inner nodes are.
        source: which agent; default the client's.
        inner_retries: tries that the layer below makes of one call (an SDK's own, `.with_retry()` inside a node).
            Default: what the node's own `.with_retry()` says, else 2.

    Raises:
        ValueError: `nodes` names one that the graph does not have.
    """
    install()
    if not default_client().enforcing:
        return Applied(compiled, [])
    found = list(_nodes(compiled))
    wanted = None if nodes is None else set(nodes)
    unknown = sorted((wanted or set()) - {name for _, name, _, _ in found})
    if unknown:
        raise ValueError(f"the graph has no node {', '.join(unknown)}; it has {', '.join(n for _, n, _, _ in found)}")
    changed = []
    for path, name, node, graph in found:
        if isinstance(node.retry_policy, LivePolicies) or not _may_repeat(name, node, wanted):
            continue
        inner = inner_retries if inner_retries is not None else _with_retry(node.bound)
        changed.append(_Changed(path, node, graph, _place(name, source, inner)))
    log.info("langgraph: the policy decides about tries of %s", ", ".join(one.path for one in changed) or "no node")
    return Applied(compiled, changed)


class _Changed:
    """One node, and what it had."""

    def __init__(self, path: str, node: Any, graph: Any, place: Place) -> None:
        self.path = path
        self._node, self._place = node, place
        self._before = (node.retry_policy, node.metadata)
        PLACES[place.mark] = place
        node.metadata = {**(node.metadata or {}), MARK: place.mark}
        node.retry_policy = LivePolicies(place, graph, node.retry_policy)

    def restore(self) -> None:
        self._node.retry_policy, self._node.metadata = self._before
        PLACES.pop(self._place.mark, None)


def _place(name: str, source: str | None, inner: int | None) -> Place:
    # Before this function came, a second try forgot the answers that the first had read; nothing public says so.
    return Place(name, source=source, inner_retries=inner, asks_again=not hasattr(_retry, "_reset_interrupt_counter"))


def _nodes(graph: Any, prefix: str = "") -> Iterator[tuple[str, str, Any, Any]]:
    """Path, name, node and graph of every node at which something is done, subgraphs' included, each once."""
    for name, node in graph.nodes.items():
        if name == _START:
            continue
        inner = [sub for sub in node.subgraphs or () if hasattr(sub, "nodes")]
        for sub in inner:
            yield from _nodes(sub, f"{prefix}{name}/")
        if not inner:
            yield f"{prefix}{name}", name, node, graph


def _may_repeat(name: str, node: Any, wanted: set[str] | None) -> bool:
    return not isinstance(node.bound, ToolNode) if wanted is None else name in wanted


def _with_retry(bound: Any) -> int | None:
    """The most tries that a node's own `.with_retry()` makes; `None` without one."""
    tries = [
        part.max_attempt_number for part in (bound, *getattr(bound, "steps", ())) if isinstance(part, RunnableRetry)
    ]
    return max(tries, default=None)
