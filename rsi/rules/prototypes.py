"""Written prototypes: one-line texts of a category, which the worker compares with what no rule decides.

Format: docs/reference/rules.md. `unknown` has none, and neither has `not_a_failure`: what resembles an interrupt is
still counted until a rule says otherwise, because excusing a failure by resemblance would hide it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec

from rsi.model import CATEGORIES
from rsi.rules.loader import builtin_dir, rule_files
from rsi.rules.shape import Origin
from rsi.rules.source import LocatedRuleError, Problem, Source, read

FOLDER: Final = "prototypes"
NEVER: Final = ("unknown",)
POSSIBLE: Final = tuple(name for name in CATEGORIES if name not in NEVER)
SHORTEST: Final = 8  # characters: one word is like too much
LONGEST: Final = 320  # two sentences, or an exception with its provider's body cut short
MOST: Final = 600  # of one file: every worker learns them all when it is first asked, some 1 ms each
_FIELDS: Final = ("category", "prototypes")

Found: TypeAlias = "Prototype | Problem"


class Prototype(msgspec.Struct, frozen=True):
    """One line that says what errors of its category say."""

    category: str
    text: str
    origin: Origin = "builtin"
    file: str = ""
    line: int = 0


class PrototypeSet(msgspec.Struct, frozen=True):
    """What was loaded, and what was skipped. `key` changes whenever a text or its category does."""

    prototypes: tuple[Prototype, ...] = ()
    problems: tuple[Problem, ...] = ()
    key: str = ""


def load_prototypes(extra_dirs: Iterable[Path] = ()) -> PrototypeSet:
    """The built-in prototypes, then those of `extra_dirs` (folders like `<home>/rules`), which are added.

    The same text under another category replaces the built-in one. What is broken is skipped and named in `problems`.
    """
    own = builtin_dir()
    sources: list[tuple[Path, Origin]] = [(own, "builtin")]
    sources += [(folder, "user") for folder in extra_dirs if folder.resolve() != own.resolve()]
    held: dict[str, Prototype] = {}
    problems: list[Problem] = []
    for folder, origin in sources:
        for path in rule_files(folder / FOLDER):
            for found in load_prototype_file(path, origin):
                _place(found, held, problems)
    ordered = tuple(sorted(held.values(), key=lambda one: (one.category, one.text)))
    said = "\n".join(f"{one.category}\t{one.text}" for one in ordered)
    return PrototypeSet(ordered, tuple(problems), hashlib.blake2b(said.encode(), digest_size=8).hexdigest())


def load_prototype_file(path: Path, origin: Origin) -> Iterator[Found]:
    """Every prototype of one file, or a `Problem` in its place."""
    try:
        source = read(path)
        category, texts = _head(source)
    except LocatedRuleError as error:
        yield error.problem
        return
    for index, text in enumerate(texts):
        place = ("prototypes", index)
        try:
            yield Prototype(category, _line(source, index, text), origin, source.file, source.line(place))
        except LocatedRuleError as error:
            yield error.problem


def _place(found: Found, held: dict[str, Prototype], problems: list[Problem]) -> None:
    if isinstance(found, Problem):
        problems.append(found)
        return
    same = found.text.lower()
    before = held.get(same)
    if before is not None and before.origin == found.origin:
        message = f"{found.text!r} is in {before.file}:{before.line} already; each text belongs to one category, once"
        problems.append(Problem(found.file, found.line, "prototypes", message))
        return
    held[same] = found


def _head(source: Source) -> tuple[str, list[Any]]:
    data = source.data
    if not isinstance(data, dict):
        raise source.error((), "expected `category` and `prototypes`")
    for key in data:
        if key not in _FIELDS:
            raise source.error((key,), f"is not a field; known are {', '.join(_FIELDS)}")
    category = data.get("category")
    if category not in POSSIBLE:
        raise source.error(("category",), f"{category!r} is not a category; known are {', '.join(POSSIBLE)}")
    texts = data.get("prototypes")
    if not isinstance(texts, list) or not texts:
        raise source.error(("prototypes",), "expected a list of one-line texts")
    if len(texts) > MOST:
        raise source.error(("prototypes",), f"{len(texts)} texts, at most {MOST}; keep those that differ")
    return str(category), texts


def _line(source: Source, index: int, text: Any) -> str:
    place = ("prototypes", index)
    if not isinstance(text, str):
        raise source.error(place, f"expected a text, got {type(text).__name__}; put it in quotes")
    line = text.strip()
    if "\n" in line:
        raise source.error(place, "expected one line")
    if not SHORTEST <= len(line) <= LONGEST:
        raise source.error(place, f"{len(line)} characters; expected {SHORTEST} to {LONGEST}")
    return line
