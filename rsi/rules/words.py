"""Word lists: what phrases call `<tool>` or `<timed-out>`, written once, in every language that agents fail in.

A list lies in `rules/words/*.yaml` under `words:`; a home's `rules/words/` adds to a list or makes a new one. A phrase
names lists, so that a rule says *what* must meet *what* and not in which of a thousand wordings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from rsi.rules import reader
from rsi.rules.pattern import MAX_EXPANDED, MAX_LENGTH, PhraseError, check_entry
from rsi.rules.source import LocatedRuleError, Problem, Source, read

FOLDER: Final = "words"
MAX_ENTRIES: Final = 400
"""Entries of one list: fifteen languages with some 25 wordings each."""

_NAME: Final = re.compile(r"[a-z][a-z0-9-]{1,30}")
_REFERENCE: Final = re.compile(r"<([a-z][a-z0-9-]{1,30})>")

Words = Mapping[str, tuple[str, ...]]


def load_words(folders: Iterable[Path]) -> tuple[dict[str, tuple[str, ...]], list[Problem]]:
    """The lists of these rule folders (each with a `words/`), joined by name in order, and what was skipped."""
    lists: dict[str, tuple[str, ...]] = {}
    problems: list[Problem] = []
    for folder in folders:
        for path in word_files(folder):
            for found in _file(path):
                if isinstance(found, Problem):
                    problems.append(found)
                else:
                    name, entries = found
                    lists[name] = tuple(dict.fromkeys((*lists.get(name, ()), *entries)))
    return lists, problems


def word_files(folder: Path) -> list[Path]:
    """The word lists of a folder of rules, by name."""
    return sorted((folder / FOLDER).glob("*.yaml"))


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


def _file(path: Path) -> Iterator[tuple[str, list[str]] | Problem]:
    try:
        source = read(path)
        lists = source.data.get("words") if isinstance(source.data, dict) else None
        if not isinstance(lists, dict):
            raise source.error((), "expected `words:` with lists by name")
    except LocatedRuleError as error:
        yield error.problem
        return
    for name, entries in lists.items():
        try:
            yield name, _checked(source, name, entries)
        except LocatedRuleError as error:
            yield error.problem


def _checked(source: Source, name: str, entries: object) -> list[str]:
    place = ("words", name)
    if not _NAME.fullmatch(name):
        raise source.error(place, f"{name!r}: a name is lower-case letters, digits and `-`, at most 31")
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, str) for entry in entries):
        raise source.error(place, "expected a list of phrases; quote what YAML would read as a number or as yes and no")
    if len(entries) > MAX_ENTRIES:
        raise source.error(place, f"{len(entries)} entries, the limit is {MAX_ENTRIES}; split it in two lists")
    for index, entry in enumerate(entries):
        try:
            check_entry(entry)
        except PhraseError as error:
            raise source.error((*place, index), f"{entry!r}: {error}") from error
    return entries
