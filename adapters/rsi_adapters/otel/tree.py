"""A trace → its outcomes: the root is the task, what agents did inside it steps, tools and model calls.

Pure: the same spans give the same outcomes, in whatever order and in how many requests they came. An error that passes
through several spans on its way up is told where it began and by the task that it ended, and nowhere between.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final, TypeAlias

from rsi.model import Status
from rsi_adapters.otel.fact import Fact
from rsi_adapters.otel.failure import came_from
from rsi_adapters.otel.item import Item, grade_item, span_item

#: Span → its outcome; `None` for one that is decided and has none.
Told: TypeAlias = dict[str, Item | None]
_LEAVES: Final = ("llm", "tool")


class Node:
    """A span in its tree."""

    __slots__ = (
        "anchor", "attempt", "fact", "grade", "inner", "kin", "outer", "parent", "session", "silent", "status", "user",
    )  # fmt: skip

    def __init__(self, fact: Fact) -> None:
        self.fact = fact
        self.status: Status = fact.status
        self.grade = fact.quality
        self.session, self.user = fact.session, fact.user
        self.attempt = 1
        self.parent: Node | None = None
        self.inner: list[Node] = []
        self.outer: Node | None = None
        """The nearest span around it that is an agent's, or the root."""
        self.kin: list[Node] = []
        """Those of which this is `outer`, by their start."""
        self.anchor: Node | None = None
        """The nearest span around it that has an outcome."""
        self.silent = False
        """It has no outcome of its own: not an agent's, or told by another."""


def told(facts: Collection[Fact], before: Collection[str] = (), *, final: bool = False) -> Told:
    """What can be said of a trace; spans that cannot be decided yet are left out.

    Args:
        facts: all that is known of one trace.
        before: spans that were told earlier, for a grade that comes after its span.
        final: nothing more will come: what has no root is told as far as it is known.
    """
    nodes = {fact.span: Node(fact) for fact in facts if fact.role != "grade"}
    late = _give_grades(nodes, facts, before)
    found: Told = {}
    rooted = False
    for order in _trees(nodes, final=final):
        root = order[0].fact
        rooted |= not root.parent
        if any(node.fact.role for node in order):
            found |= _tell(order, is_run=not root.parent or root.remote)
    for fact in facts:
        if fact.role == "grade" and fact.span not in before:
            if fact.span not in late:
                found |= {fact.span: None} if fact.parent in found else {}
            elif final or rooted:
                found[fact.span] = grade_item(fact)
    return found


def _give_grades(nodes: dict[str, Node], facts: Iterable[Fact], before: Collection[str]) -> set[str]:
    """A span takes the worst of its grades; those that find no span, or one that was told already."""
    late: set[str] = set()
    for fact in facts:
        if fact.role != "grade":
            continue
        node = nodes.get(fact.parent)
        if node is None or fact.parent in before:
            late.add(fact.span)
        else:
            node.grade = min((grade for grade in (node.grade, fact.quality) if grade is not None), default=None)
    return late


def _trees(nodes: dict[str, Node], *, final: bool) -> Iterator[list[Node]]:
    """Each tree with its root first and parents before what is inside them."""
    roots, orphans = [], []
    for node in sorted(nodes.values(), key=_by_start):
        fact = node.fact
        parent = nodes.get(fact.parent)
        if not fact.parent:
            roots.append(node)
        elif parent is None or parent is node:
            orphans.append(node)
        else:
            node.parent = parent
            parent.inner.append(node)
    if roots:  # what is between them and the root is missing, or not there yet
        for orphan in orphans:
            orphan.parent = roots[0]
        roots[0].inner += orphans
    elif final:
        roots = orphans
    reached: set[str] = set()
    for root in roots:
        yield _order(root, reached)
    if final:  # spans that name one another as parents
        for node in sorted(nodes.values(), key=_by_start):
            if node.fact.span not in reached:
                yield _order(node, reached)


def _order(root: Node, reached: set[str]) -> list[Node]:
    order = [root]
    root.parent = None
    reached.add(root.fact.span)
    for node in order:  # grows while it is walked
        inner = [child for child in node.inner if child.fact.span not in reached]
        reached.update(child.fact.span for child in inner)
        order += inner
    return order


def _by_start(node: Node) -> tuple[float, str]:
    return node.fact.start, node.fact.span


def _tell(order: Sequence[Node], *, is_run: bool) -> Told:
    root = order[0]
    _find_kin(order)
    _rise(order)
    _count_attempts(order, is_run=is_run)
    _inherit(order)
    found: Told = {}
    for node in order:
        if node is root and is_run:
            found[node.fact.span] = span_item(node, None, kind=root.fact.role if root.fact.alone else "task")
            continue
        node.silent = _is_silent(node)
        if node is not root and node.parent is not None:
            above = node.parent
            node.anchor = above if not above.silent else above.anchor
        parent = node.anchor.fact.span if node.anchor is not None else root.fact.parent
        found[node.fact.span] = None if node.silent else span_item(node, parent, kind=node.fact.role)
    return found


def _find_kin(order: Sequence[Node]) -> None:
    root = order[0]
    for node in order[1:]:
        above = node.parent
        if above is None:
            continue
        node.outer = above if above.fact.role or above is root else above.outer
        if node.fact.role and node.outer is not None:
            node.outer.kin.append(node)
    for node in order:
        node.kin.sort(key=_by_start)


def _rise(order: Sequence[Node]) -> None:
    """What rises from inside: waiting for a person, and the grade of the last thing that was graded."""
    for node in reversed(order):
        if node.status == "ok" and any(inner.status == "paused" for inner in node.kin):
            node.status = "paused"
    root = order[0]
    if root.grade is None:
        graded = [node for node in order if node.grade is not None]
        root.grade = max(graded, key=lambda node: (node.fact.end, node.fact.span)).grade if graded else None


def _count_attempts(order: Sequence[Node], *, is_run: bool) -> None:
    """One more than the failed ones of the same name that had ended when it began, as in one process.

    A task has the repeated ones of all inside, a model that stood in for another among them.
    """
    repeats = 0
    for node in order:
        failed: dict[tuple[str, str], tuple[int, float]] = {}
        for inner in node.kin:
            fact = inner.fact
            key = fact.role, fact.name
            count, ended = failed.get(key, (0, 0.0))
            earlier = count if count and fact.start >= ended else 0
            inner.attempt = earlier + 1
            models = [key for key, (_, ended) in failed.items() if key[0] == fact.role == "llm" and ended <= fact.start]
            repeats += 1 if earlier or models else 0
            if fact.failed:
                failed[key] = inner.attempt, fact.end
            else:
                for other in models or ([key] if earlier else ()):
                    del failed[other]
    if is_run:
        order[0].attempt = 1 + repeats


def _inherit(order: Sequence[Node]) -> None:
    """Session and user: its own, else that of what is around it; the root's own, else the only one inside."""
    root = order[0]
    for name in ("session", "user"):
        if getattr(root, name) is None:
            inside = {getattr(node.fact, name) for node in order} - {None}
            setattr(root, name, inside.pop() if len(inside) == 1 else None)
        for node in order[1:]:
            if getattr(node, name) is None and node.parent is not None:
                setattr(node, name, getattr(node.parent, name))


def _is_silent(node: Node) -> bool:
    fact, outer = node.fact, node.outer
    if not fact.role:
        return True
    if node.status == "failed":
        return _failed_inside(node) is not None
    if (
        outer is None
        or fact.role not in _LEAVES
        or outer.fact.role != fact.role
        or "failed" in (node.status, outer.status)
    ):
        return False
    # one call, seen by two libraries
    return fact.role == "llm" or fact.name == outer.fact.name


def _failed_inside(node: Node) -> Node | None:
    """The last span inside that ended with the same error."""
    failure = node.fact.failure
    if failure is None:
        return None
    for inner in reversed(node.kin):
        if inner.fact.failed and inner.fact.failure is not None and came_from(failure, inner.fact.failure):
            return inner
    return None
