"""Word lists: what phrases call `<tool>` or `<timed-out>`, written once, in every language that agents fail in.

A list lies in `rules/words/*.yaml` under `words:`; a home's `rules/words/` adds to a list or makes a new one. A phrase
names lists, so that a rule says *what* must meet *what* and not in which of a thousand wordings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from rsi.rules import reader
from rsi.rules.pattern import MAX_EXPANDED, MAX_LENGTH, PhraseError, check_entry
from rsi.rules.source import LocatedRuleError, Place, Problem, Source, read

FOLDER: Final = "words"
MAX_ENTRIES: Final = 400
"""Entries of one list: fifteen languages with some 25 wordings each."""

_NAME: Final = re.compile(r"[a-z][a-z0-9-]{1,30}")
_REFERENCE: Final = re.compile(r"<([a-z][a-z0-9-]{1,30})>")

Words = Mapping[str, tuple[str, ...]]


class Entry(NamedTuple):
    """One entry of a list, and where it stands."""

    name: str
    text: str
    source: Source
    place: Place


def load_words(folders: Iterable[Path]) -> tuple[dict[str, tuple[str, ...]], list[Problem]]:
    """The lists of these rule folders (each with a `words/`), joined by name in order, and what was skipped."""
    lists: dict[str, tuple[str, ...]] = {}
    problems: list[Problem] = []
    for found in (one for folder in folders for one in entries(folder)):
        if isinstance(found, Problem):
            problems.append(found)
        else:
            add(lists, [found])
    return lists, problems


def entries(folder: Path) -> Iterator[Entry | Problem]:
    """Every entry of a folder's lists in order, or a `Problem` in place of a list."""
    for path in word_files(folder):
        yield from _file(path)


def add(lists: dict[str, tuple[str, ...]], more: Iterable[Entry]) -> None:
    """Put entries into the lists of their names, each once."""
    for one in more:
        there = lists.get(one.name, ())
        if one.text not in there:
            lists[one.name] = (*there, one.text)


def word_files(folder: Path) -> list[Path]:
    """The word lists of a folder of rules, by name."""
    return sorted((folder / FOLDER).glob("*.yaml"))


def names(phrase: str) -> frozenset[str]:
    """The lists that a phrase names."""
    return frozenset(_REFERENCE.findall(phrase))


def expand(phrase: str, words: Words) -> str:
    """The phrase with each `<name>` written out as a group.

    Raises:
        PhraseError: no list has that name, or the result is too long.
    """

    def written(found: re.Match[str]) -> str:
        entries = words.get(found[1])
        if entries is None:
            raise PhraseError(f"there is no word list {found[1]!r}; known are {', '.join(sorted(words)) or 'none'}")
        return reader.group(entries)

    if len(phrase) > MAX_LENGTH:
        raise PhraseError(f"{len(phrase)} characters, the limit is {MAX_LENGTH}; split it in two")
    whole = _REFERENCE.sub(written, phrase)
    if len(whole) > MAX_EXPANDED:
        raise PhraseError(f"{len(whole)} characters with its word lists written out, the limit is {MAX_EXPANDED}")
    return whole


def _file(path: Path) -> Iterator[Entry | Problem]:
    try:
        source = read(path)
        lists = source.data.get("words") if isinstance(source.data, dict) else None
        if not isinstance(lists, dict):
            raise source.error((), "expected `words:` with lists by name")
    except LocatedRuleError as error:
        yield error.problem
        return
    for name, written in lists.items():
        try:
            checked = _checked(source, name, written)
        except LocatedRuleError as error:
            yield error.problem
            continue
        yield from (Entry(name, text, source, ("words", name, index)) for index, text in enumerate(checked))


def _checked(source: Source, name: str, written: object) -> list[str]:
    place = ("words", name)
    if not _NAME.fullmatch(name):
        raise source.error(place, f"{name!r}: a name is lower-case letters, digits and `-`, at most 31")
    if not isinstance(written, list) or not written or not all(isinstance(entry, str) for entry in written):
        raise source.error(place, "expected a list of phrases; quote what YAML would read as a number or as yes and no")
    if len(written) > MAX_ENTRIES:
        raise source.error(place, f"{len(written)} entries, the limit is {MAX_ENTRIES}; split it in two lists")
    for index, entry in enumerate(written):
        try:
            check_entry(entry)
        except PhraseError as error:
            raise source.error((*place, index), f"{entry!r}: {error}") from error
    return written
