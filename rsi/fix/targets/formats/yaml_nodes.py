"""A YAML text as a tree of nodes with positions, built from ruamel.yaml's events. Nothing is constructed from it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

import yaml
from ruamel.yaml import YAML
from ruamel.yaml import events as ev
from ruamel.yaml.error import YAMLError

from rsi.fix.targets.formats.model import NotEditableError

#: The second reader is what most programs use; in C where it was built, thirty times as fast.
_SECOND: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Node:
    """One node. `kind` is scalar, map, seq or alias; `start`/`end` are characters, `first`/`last` its events."""

    __slots__ = ("anchor", "column", "end", "first", "flow", "items", "kind", "last", "start", "style", "tag", "value")

    def __init__(self, kind: str, event: Any, index: int) -> None:
        self.kind = kind
        self.start: int = event.start_mark.index
        self.column: int = event.start_mark.column
        self.end: int = event.end_mark.index
        self.first = self.last = index
        self.anchor: str | None = event.anchor
        self.tag: str | None = str(event.tag) if getattr(event, "tag", None) else None
        self.style: str | None = getattr(event, "style", None)
        self.flow = bool(getattr(event, "flow_style", False))
        self.value: str = getattr(event, "value", "")
        self.items: list[Node] = []

    @property
    def pairs(self) -> list[tuple[Node, Node]]:
        """The entries of a map."""
        return list(zip(self.items[::2], self.items[1::2], strict=True))


def compose(text: str) -> tuple[Node, list[Any]]:
    """The one document's root, and what the text says as plain tuples: one per event, without positions.

    Raises:
        NotEditableError: not YAML, empty, or more than one document.
    """
    said: list[Any] = []
    roots: list[Node] = []
    above: list[Node] = []
    for index, event in enumerate(_parse(text)):
        said.append(_said(event))
        if isinstance(event, ev.MappingEndEvent | ev.SequenceEndEvent):
            ended = above.pop()
            ended.end, ended.last = event.end_mark.index, index
            continue
        kind = _KINDS.get(type(event))
        if kind is None:
            continue
        node = Node(kind, event, index)
        (above[-1].items if above else roots).append(node)
        if kind in ("map", "seq"):
            above.append(node)
    if len(roots) != 1:
        raise NotEditableError(f"it holds {len(roots)} documents; an edit needs a file with one")
    return roots[0], said


def second_reading(text: str) -> list[Any]:
    """The same from PyYAML, which most programs read with (YAML 1.1).

    Raises:
        NotEditableError: it cannot read this.
    """
    try:
        return [_said(event) for event in yaml.parse(text, Loader=_SECOND)]
    except (yaml.YAMLError, RecursionError) as error:
        raise NotEditableError(f"not YAML to PyYAML: {_line(error)}") from error


def count(text: str) -> int:
    """How many events PyYAML reads, which takes a thirtieth of the time; up to where it cannot read on."""
    found = 0
    with suppress(yaml.YAMLError, RecursionError):
        for _ in yaml.parse(text, Loader=_SECOND):
            found += 1
    return found


def check_keys(root: Node) -> None:
    """No map may hold a key twice, anywhere: readers differ on which one counts.

    Raises:
        NotEditableError: names the key.
    """
    waiting = [root]
    while waiting:
        node = waiting.pop()
        waiting += node.items
        if node.kind == "map":
            names = [key.value for key, _ in node.pairs if key.kind == "scalar"]
            if len(set(names)) != len(names):
                twice = next(name for name in names if names.count(name) > 1)
                raise NotEditableError(
                    f"the key {twice!r} is there twice in one mapping; readers differ on which counts"
                )


_KINDS: Final = {
    ev.ScalarEvent: "scalar",
    ev.MappingStartEvent: "map",
    ev.SequenceStartEvent: "seq",
    ev.AliasEvent: "alias",
}


def _parse(text: str) -> list[Any]:
    try:
        return list(YAML(typ="safe", pure=True).parse(text))
    except (YAMLError, RecursionError, ValueError) as error:
        raise NotEditableError(f"not YAML: {_line(error)}") from error


def _said(event: Any) -> tuple[Any, ...]:
    tag = getattr(event, "tag", None)
    return (
        type(event).__name__,
        getattr(event, "anchor", None),
        str(tag) if tag else None,
        getattr(event, "value", None),
        getattr(event, "implicit", None),
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
