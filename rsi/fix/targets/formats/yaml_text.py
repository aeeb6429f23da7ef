"""YAML: two readers (1.2 and 1.1) must agree on the old text, on the new one, and on the one value that differs."""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from functools import lru_cache
from threading import Lock
from typing import Any, Final

import yaml
from ruamel.yaml.resolver import VersionedResolver

from rsi.fix.targets.formats.model import Gap, NotEditableError, Spot, number, same
from rsi.fix.targets.formats.yaml_nodes import Node, check_keys, compose, count, second_reading
from rsi.fix.targets.keypath import KeyPath

_STR: Final = "tag:yaml.org,2002:str"
#: Numbers that YAML 1.1 and 1.2 read alike: no octal, no underscores, no exponent without a point and a sign.
_INT: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT: Final = re.compile(r"[-+]?[0-9]+\.[0-9]+(?:e[-+][0-9]+)?")
_BOOLS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
MAX_CHARS: Final = 128 * 1024
MAX_EVENTS: Final = 16_000
"""ruamel.yaml reads some 16,000 names and values a second (measured), and a cycle of the daemon waits for it."""
_SPLIT: Final = "split it, or edit it by hand"
_SIDES: Final = 2
"""An edit looks at the old text and the new one."""
_KEPT_CHARS: Final = 3 * MAX_CHARS
"""Their documents take some 60 times as many bytes."""
#: A text that can stand without quotes anywhere, flow style included.
_PLAIN: Final = re.compile(r"[A-Za-z/][A-Za-z0-9_./@+-]*")
_LINE_BREAKS: Final = re.compile("[\n\r\u0085\u2028\u2029]")


class YamlDocument:
    """One YAML text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._root, self._said = compose(text)
        check_keys(self._root)
        self._second = second_reading(text)
        if len(self._second) != len(self._said):
            raise NotEditableError("YAML 1.1 and 1.2 read this file differently; change it by hand")

    def find(self, path: KeyPath) -> Spot | None:
        """See `Document`."""
        found = self._node(path)
        if found is None:
            return None
        _check_value(found[1], self._text)
        return Spot(_read(found[1]), found[1].start, found[1].end)

    def gap(self, path: KeyPath) -> Gap:
        """Before the first key of its map; as a line of its own unless the map is in flow style."""
        parent = self._node(path[:-1])
        above = parent[1] if parent else None
        if above is None or above.kind != "map" or not above.items:
            raise NotEditableError("its parent is no mapping with keys; add the key by hand with the value it has now")
        _check_place(above)
        first = above.items[0]
        line = self._text.rfind("\n", 0, first.start) + 1
        before = self._text[line : first.start]
        if first.kind != "scalar" or first.tag or first.anchor or (before.strip(" -") and not above.flow):
            raise NotEditableError("its parent's first key is written in a way that rsi does not edit; add it by hand")
        name = path[-1] if _is_text(path[-1]) and not (above.flow and first.style) else json.dumps(path[-1])
        if above.flow:
            return Gap(first.start, f"{name}: ", ", ")
        newline = "\r\n" if "\r\n" in self._text else "\n"
        return Gap(first.start, f"{name}: ", newline + " " * (first.start - line))

    def write(self, value: Any, raw: str | None) -> str:
        """See `Document`: single quotes stay single, double ones double, a bare text gets quotes if it needs them."""
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int | float):
            return number(value)
        if not isinstance(value, str):
            return json.dumps(value, ensure_ascii=False)
        if raw is not None and raw.startswith("'"):
            return "'" + value.replace("'", "''") + "'"
        if (raw is None or not raw.startswith('"')) and _is_text(value):
            return value
        return json.dumps(value, ensure_ascii=False)

    def only(self, new: str, path: KeyPath, value: Any) -> None:
        """See `Document`; events are compared, so a custom tag or an alias elsewhere is no obstacle."""
        other = read(new)
        here, there = self._node(path), other._node(path)  # noqa: SLF001 - the same class
        if there is None or value is None:
            if here is None or there is not None or value is not None:
                raise NotEditableError("the edit could not be checked: the key is not where it was written")
            longer, shorter, gap = self, other, (here[0].first, here[1].last + 1)
            _check_rest(longer, shorter, gap, (gap[0], gap[0]))
            return
        if not same(_read(there[1]), value):
            raise NotEditableError("the value would not be read back as it was meant; change it by hand")
        if here is None:
            at = there[0].first
            _check_rest(other, self, (at, there[1].last + 1), (at, at))
        else:
            _check_rest(other, self, (there[1].first, there[1].last + 1), (here[1].first, here[1].last + 1))

    def _node(self, path: KeyPath) -> tuple[Node, Node] | None:
        """The key's node (the value's own, for an index) and the value's."""
        key = node = self._root
        for depth, part in enumerate(path):
            _check_way(node, part)
            if node.kind == "seq":
                if not part.isascii() or not part.isdigit() or int(part) >= len(node.items):
                    raise NotEditableError(f"the list has {len(node.items)} entries, none at {part!r}")
                key = node = node.items[int(part)]
                continue
            found = next((pair for pair in node.pairs if pair[0].kind == "scalar" and pair[0].value == part), None)
            if found is None:
                if any(name.kind == "scalar" and name.value == "<<" for name, _ in node.pairs):
                    raise NotEditableError(f"{part!r} may come from a merge (<<); write the key out where it counts")
                if depth + 1 < len(path):
                    raise NotEditableError(f"there is no {part!r} above it; add it by hand first")
                return None
            key, node = found
        return key, node


class _Documents:
    """Documents by their texts. The same file is asked about several times a cycle, and seldom says something else."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, YamlDocument] = OrderedDict()
        self._lock = Lock()

    def __call__(self, text: str) -> YamlDocument:
        """The document of a text; raises `NotEditableError`."""
        with self._lock:
            if text in self._kept:
                self._kept.move_to_end(text)
                return self._kept[text]
        made = YamlDocument(text)
        with self._lock:
            self._kept[text] = made
            self._trim(least=_SIDES)
        return made

    def __contains__(self, text: str) -> bool:
        """Whether its document is kept."""
        return text in self._kept

    def cache_clear(self) -> None:
        """Let go of what is too large to be kept until somebody asks again."""
        with self._lock:
            self._trim(least=0)

    def _trim(self, least: int) -> None:
        while len(self._kept) > least and sum(map(len, self._kept)) > _KEPT_CHARS:
            self._kept.popitem(last=False)


read: Final = _Documents()


def check_size(text: str) -> None:
    """That the slower of the two readers takes about a second at most.

    Raises:
        NotEditableError: names the limit.
    """
    if len(text) > MAX_CHARS:
        raise NotEditableError(f"it has {len(text)} characters, YAML is edited up to {MAX_CHARS}; {_SPLIT}")
    if (found := _count(text)) > MAX_EVENTS:
        raise NotEditableError(
            f"it has {found} names, values and brackets, YAML is edited up to {MAX_EVENTS}; {_SPLIT}"
        )


@lru_cache(maxsize=_SIDES)
def _count(text: str) -> int:
    return count(text)


def _check_rest(a: YamlDocument, b: YamlDocument, in_a: tuple[int, int], in_b: tuple[int, int]) -> None:
    """Outside these events both readers must read both texts alike."""
    for one, two in ((a._said, b._said), (a._second, b._second)):  # noqa: SLF001 - of this module
        if one[: in_a[0]] != two[: in_b[0]] or one[in_a[1] :] != two[in_b[1] :]:
            raise NotEditableError("the edit would change more than this key; change it by hand")


def _check_way(node: Node, part: str) -> None:
    _check_place(node)
    if node.kind == "scalar":
        raise NotEditableError(f"{part!r} lies inside a plain value")


def _check_place(node: Node) -> None:
    if node.kind == "alias":
        raise NotEditableError(f"an alias (*{node.anchor}) stands there; write the value out where it counts")
    if node.anchor:
        raise NotEditableError(f"it has an anchor (&{node.anchor}), so the edit could show elsewhere; write it out")
    if node.tag:
        raise NotEditableError(f"it has a tag ({node.tag}), whose meaning only its reader knows; change it by hand")


def _check_value(node: Node, text: str) -> None:
    _check_place(node)
    raw = text[node.start : node.end]
    if node.kind == "scalar" and node.style in ("|", ">"):
        raise NotEditableError("it is a block text (| or >); only one-line values are edited")
    if not raw:
        raise NotEditableError("it has no value; write the one that it has now")
    if node.kind != "scalar" and not node.flow:
        raise NotEditableError("it is written over several lines; write it on one, like [a, b]")
    if _LINE_BREAKS.search(raw):
        raise NotEditableError("it is written over several lines; only one-line values are edited")


def _read(node: Node) -> Any:
    """The value, where both readers take it for the same."""
    _check_place(node)
    if node.kind == "seq":
        return [_read(item) for item in node.items]
    if node.kind == "map":
        return {_text(_read(key)): _read(value) for key, value in node.pairs}
    if node.style:
        return node.value
    if node.value in _BOOLS:
        return _BOOLS[node.value]
    if _INT.fullmatch(node.value):
        return int(node.value)
    if _FLOAT.fullmatch(node.value):
        return float(node.value)
    if not _is_text(node.value, plain=None):
        raise NotEditableError(
            f"readers differ on what {node.value!r} is; write it plainly (10, 0.5, true) or quote it"
        )
    return node.value


def _text(key: Any) -> str:
    if not isinstance(key, str):
        raise NotEditableError("a key in it is no text; change it by hand")
    return key


def _is_text(value: str, plain: re.Pattern[str] | None = _PLAIN) -> bool:
    """Whether a plain scalar is a text to YAML 1.1 and 1.2; with `plain`, also whether it may stand without quotes."""
    if plain is not None and not plain.fullmatch(value):
        return False
    old = yaml.SafeLoader.yaml_implicit_resolvers
    resolvers = old.get(value[:1], []) + old.get(None, [])
    return not any(pattern.match(value) for _, pattern in resolvers) and _NEW.resolve_text(value) == _STR


class _Yaml12(VersionedResolver):
    """What a plain scalar is by YAML 1.2's core schema."""

    def __init__(self) -> None:
        super().__init__(version=(1, 2))

    def resolve_text(self, value: str) -> str:
        resolvers = self.versioned_resolver
        return next((str(tag) for tag, pattern in resolvers.get(value[:1], []) if pattern.match(value)), _STR)


_NEW: Final = _Yaml12()
