"""A rule file as plain data in which every value knows its line. Safe YAML only, with caps."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from rsi.errors import RuleError

MAX_BYTES: Final = 256 * 1024  # the largest built-in file has a tenth of it
MAX_DEPTH: Final = 12  # built-in rules use six

_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SCALARS: Final = {"str", "int", "float", "bool", "null", "timestamp"}  # a date stays the text it was written as
_TAG: Final = "tag:yaml.org,2002:"

Place = tuple[str | int, ...]  # where in a file: keys and indices from its top


class Problem(msgspec.Struct, frozen=True):
    """Something wrong in a rule file: which file, line (from 1) and field, and what to do."""

    file: str
    line: int
    field: str
    message: str

    def __str__(self) -> str:
        """`file:line: field: message`."""
        return f"{self.file}:{self.line}: {self.field}: {self.message}"


class LocatedRuleError(RuleError):
    """A `RuleError` that carries its `Problem`."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem), field=problem.field)
        self.problem = problem


class Source(msgspec.Struct, frozen=True):
    """A parsed file: `data` is plain dicts, lists and scalars; `lines` maps a path within it to its line (from 1)."""

    file: str
    data: Any
    lines: dict[Place, int]

    def line(self, path: Place) -> int:
        """The line of `path`, or of its nearest parent that has one."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def error(self, path: Place, message: str) -> LocatedRuleError:
        """The error to raise about the value at `path`."""
        return LocatedRuleError(Problem(self.file, self.line(path), field_name(path), message))


def field_name(path: Place) -> str:
    """`("rules", 0, "match")` → `rules[0].match`."""
    name = ""
    for part in path:
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else part
    return name or "file"


def read(path: Path) -> Source:
    """Read one rule file.

    Raises:
        LocatedRuleError: unreadable, too large, not YAML, too deep, or using an alias, a tag or a key twice.
    """
    try:
        # a pipe would keep whoever reads it waiting for ever; O_NONBLOCK opens it, and fstat tells
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with open(fd, "rb") as stream:  # noqa: PTH123 - a descriptor, not a path
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise _broken(str(path), 1, "is not a regular file; remove it")
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise _broken(str(path), 1, f"cannot be read: {error.strerror or error}") from error
    if len(raw) > MAX_BYTES:
        raise _broken(str(path), 1, f"over the limit of {MAX_BYTES} bytes; split it")
    return parse(raw, file=str(path))


def parse(raw: bytes, *, file: str) -> Source:
    """Bytes of a rule file → `Source`; errors as `read`."""
    try:
        node = yaml.compose(raw.decode("utf-8"), Loader=_LOADER)
    except UnicodeDecodeError as error:
        raise _broken(file, 1, f"not UTF-8: {error.reason} at byte {error.start}") from error
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        problem = getattr(error, "problem", None) or type(error).__name__
        raise _broken(file, line, f"not YAML: {problem}") from error
    walk = _Walk(file)
    data = walk.value(node, ()) if node is not None else None
    return Source(file, data, walk.lines)


def _broken(file: str, line: int, message: str) -> LocatedRuleError:
    return LocatedRuleError(Problem(file, line, "file", message))


class _Walk:
    """Nodes → values. Every node is visited once: a second visit is an alias, which rules do not use."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[Place, int] = {}
        self._seen: set[int] = set()

    def value(self, node: yaml.Node, path: Place) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        if id(node) in self._seen:
            raise self._error(node, path, "aliases (&name, *name) are not allowed; write the value out")
        self._seen.add(id(node))
        if len(path) > MAX_DEPTH:
            raise self._error(node, path, f"nested deeper than {MAX_DEPTH}")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(child, (*path, index)) for index, child in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Place) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, child in node.value:
            key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else ""
            if not key or key in found:
                raise self._error(key_node, path, f"duplicate key {key!r}" if key else "a key must be a word")
            self.lines[(*path, key)] = key_node.start_mark.line + 1
            found[key] = self.value(child, (*path, key))
        return found

    def _scalar(self, node: yaml.Node, path: Place) -> Any:
        kind = node.tag.removeprefix(_TAG)
        if kind not in _SCALARS:
            raise self._error(node, path, f"the tag {node.tag} is not allowed; write plain YAML")
        if kind in ("str", "timestamp"):
            return node.value
        try:
            return yaml.constructor.SafeConstructor().construct_object(node)
        except (ValueError, yaml.YAMLError) as error:
            raise self._error(node, path, f"{node.value!r} is not a {kind}") from error

    def _error(self, node: yaml.Node, path: Place, message: str) -> LocatedRuleError:
        return LocatedRuleError(Problem(self.file, node.start_mark.line + 1, field_name(path), message))
