"""A span of a told trace → the item that ingest takes (contract §2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from rsi_adapters.otel.fact import Fact, Failure

if TYPE_CHECKING:
    from rsi_adapters.otel.tree import Node

Item: TypeAlias = dict[str, Any]
_KINDS: Final = {"task": "task", "llm": "llm", "tool": "tool"}
_MS: Final = 1000.0


def ident(trace: str, span: str) -> str:
    """The outcome's id: the same span is one outcome however often it is sent."""
    return f"otel:{trace}:{span}"


def span_item(node: Node, parent: str | None, *, kind: str) -> Item:
    """The outcome of a span.

    Args:
        node: the span in its tree.
        parent: the span that it belongs to; `None` for a root.
        kind: `task`, or a role.
    """
    fact = node.fact
    is_task = parent is None
    tokens_in, tokens_out, cost = _spent(node) if is_task else (fact.tokens_in, fact.tokens_out, fact.cost_usd)
    failure = _failure(node) if node.status == "failed" else None
    item: Item = {
        "id": ident(fact.trace, fact.span), "ts": fact.end, "source": fact.source,
        "task": fact.run_name if is_task else fact.name, "kind": _KINDS.get(kind, "step"),
        "success": node.status == "ok", "status": node.status, "error": failure and _error(failure),
        "model": fact.model, "provider": fact.provider, "duration_ms": (fact.end - fact.start) * _MS,
        "tokens_in": tokens_in, "tokens_out": tokens_out, "cost_usd": cost, "quality": node.grade,
        "session": node.session, "user": node.user, "run": fact.trace,
        "parent": ident(fact.trace, parent) if parent else None, "attempt": node.attempt if node.attempt > 1 else None,
        "release": fact.release, "env": fact.env,
    }  # fmt: skip
    return {key: value for key, value in item.items() if value is not None}


def grade_item(fact: Fact) -> Item:
    """The outcome of a grade that came after its span was told, or without it."""
    item: Item = {
        "id": ident(fact.trace, fact.span), "ts": fact.end or None, "source": fact.source, "task": fact.name,
        "kind": "step", "success": True, "quality": fact.quality, "session": fact.session, "run": fact.trace,
        "parent": ident(fact.trace, fact.parent) if fact.parent else None, "release": fact.release, "env": fact.env,
    }  # fmt: skip
    return {key: value for key, value in item.items() if value is not None}


def _error(failure: Failure) -> Item | None:
    said = {"type": failure.type, "message": failure.message, "stack": failure.stack, "status": failure.status}
    return {key: value for key, value in said.items() if value is not None} or None


def _failure(node: Node) -> Failure | None:
    """What it says itself; a root that does not say what ended it has it from the last that failed inside."""
    own = node.fact.failure
    if own is not None and own.message is not None:
        return own
    for inner in reversed(node.kin):
        if inner.fact.failed:
            return _failure(inner) or own
    return own


def _spent(root: Node) -> tuple[float | None, float | None, float | None]:
    """Tokens in, tokens out and cost of a run: as it says itself, else the sum over its model calls."""
    calls = [node.fact for node in _calls(root)]
    own = root.fact
    return tuple(  # type: ignore[return-value]
        own_value if (own_value := getattr(own, name)) is not None
        else sum(values) if (values := [v for call in calls if (v := getattr(call, name)) is not None]) else None
        for name in ("tokens_in", "tokens_out", "cost_usd")
    )  # fmt: skip


def _calls(root: Node) -> Iterator[Node]:
    """The outermost model calls."""
    waiting = list(root.kin)
    while waiting:
        node = waiting.pop()
        if node.fact.role == "llm":
            yield node
        else:
            waiting += node.kin
