"""A rule set in the form in which it is kept: checked, with its word lists written out and its literals found.

Regular expressions are not in it: they are made when a phrase is first searched.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from rsi.rules import kept, pattern
from rsi.rules.pattern import Phrase, compile_phrase
from rsi.rules.shape import ClassifyRule
from rsi.rules.source import Problem

_CODE: Final = Path(__file__).resolve().parent


class _Literals(msgspec.Struct, frozen=True, array_like=True):
    """Of one phrase, in the order of `_phrases`: its `needs` as numbers of groups, and its `starts`."""

    needs: list[int]
    starts: frozenset[str] | None


class Compiled(msgspec.Struct, frozen=True, array_like=True):
    """What is kept of a rule set."""

    rules: tuple[ClassifyRule, ...]
    problems: tuple[Problem, ...]
    groups: list[frozenset[str]]
    literals: list[_Literals]


#: Built while one thread imports this module: see the end of `rsi.model`.
_READER: Final = msgspec.msgpack.Decoder(Compiled)
_WRITER: Final = msgspec.msgpack.Encoder(order="deterministic")


class Shelf:
    """Where the rule set made of `files` is kept.

    Args:
        folder: a private folder of this user, such as the home's `.rsi`.
        files: everything that the rule set is read from.
        origins: the folders they are in, which are part of it.

    Raises:
        OSError: a file cannot be read, or the code that would be part of the key.
    """

    def __init__(self, folder: Path, files: Iterable[Path], origins: Sequence[Path]) -> None:
        names = "\n".join(map(str, origins))
        mark = hashlib.blake2b(f"{_CODE}\n{names}".encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
        self._path = folder / f"rules-{mark}.bin"
        self._key = kept.key_of(_made_of(files, names))

    def take(self) -> Compiled | None:
        """The rule set, its phrases made ready; `None` if it has to be read from its files."""
        body = kept.read(self._path, self._key)
        if body is None:
            return None
        try:
            found = _READER.decode(body)
            phrases = list(_restored(found))
        except (msgspec.MsgspecError, IndexError, ValueError) as error:
            kept.damaged(self._path, error)
            return None
        pattern.adopt(phrases)
        return found

    def put(self, rules: tuple[ClassifyRule, ...], problems: tuple[Problem, ...]) -> None:
        """Keep it for the next process."""
        groups: dict[frozenset[str], int] = {}
        literals = [
            _Literals([groups.setdefault(group, len(groups)) for group in phrase.needs], phrase.starts)
            for phrase in map(compile_phrase, _phrases(rules))
        ]
        kept.write(self._path, self._key, _WRITER.encode(Compiled(rules, problems, list(groups), literals)))


def _made_of(files: Iterable[Path], names: str) -> Iterator[bytes]:
    yield f"{sys.version}\n{names}".encode("utf-8", "surrogatepass")
    yield from kept.sources(_CODE)
    yield (_CODE.parent / "model.py").read_bytes()  # which categories there are
    for path in files:
        yield str(path).encode("utf-8", "surrogatepass")
        yield path.read_bytes()


def _phrases(rules: Iterable[ClassifyRule]) -> Iterator[str]:
    """Every phrase once, in the order of the rules."""
    seen: dict[str, None] = {}
    for rule in rules:
        for condition in (*rule.match.any, *rule.match.all):
            seen |= dict.fromkeys((*condition.message, *condition.not_message))
        seen |= dict.fromkeys(rule.match.not_message)
    yield from seen


def _restored(found: Compiled) -> Iterator[Phrase]:
    for source, one in zip(_phrases(found.rules), found.literals, strict=True):
        yield Phrase(source, tuple(found.groups[number] for number in one.needs), one.starts)
