"""A home's entries of built-in word lists: one that a built-in phrase cannot bear is left out, and *its* file is named.

Without this a short entry, or one too many, would make built-in phrases refuse themselves, and whole rules with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rsi.rules.pattern import PhraseError, compile_phrase
from rsi.rules.source import Problem
from rsi.rules.words import Entry, Words, add, entries, expand, load_words, names


def fitted(own: Path, more: Iterable[Path], phrases: Iterable[str]) -> tuple[dict[str, tuple[str, ...]], list[Problem]]:
    """The lists of a folder of rules and of others, joined by name, and what was skipped.

    Args:
        own: the folder whose phrases hold without the others.
        more: folders that may add to its lists, as far as its phrases bear it.
        phrases: the own phrases as written, with the names of lists.
    """
    lists, problems = load_words([own])
    given: dict[str, list[Entry]] = {}
    for found in (one for folder in more for one in entries(folder)):
        if isinstance(found, Problem):
            problems.append(found)
        else:
            given.setdefault(found.name, []).append(found)
    naming = _naming(phrases, lists) if given.keys() & lists.keys() else {}
    for name, added in given.items():
        problems += _fit(lists, added, naming.get(name, ()))
    return lists, problems


def _naming(phrases: Iterable[str], lists: Words) -> Mapping[str, list[str]]:
    """The phrases that name a list, but for those that do not hold anyway."""
    found: dict[str, list[str]] = {}
    for phrase in dict.fromkeys(phrases):
        named = names(phrase)
        if named and _refusal([phrase], lists) is None:
            for name in named:
                found.setdefault(name, []).append(phrase)
    return found


def _fit(lists: dict[str, tuple[str, ...]], added: Sequence[Entry], phrases: Sequence[str]) -> list[Problem]:
    """Add the entries that these phrases bear; halves are tried where not all can be."""
    tried = dict(lists)
    add(tried, added)
    why = _refusal(phrases, tried)
    if why is None:
        add(lists, added)
        return []
    if len(added) > 1:
        middle = len(added) // 2
        return _fit(lists, added[:middle], phrases) + _fit(lists, added[middle:], phrases)
    one = added[0]
    message = f"{one.text!r} is left out: the built-in phrase {why}; write a list and a rule of your own for it"
    return [one.source.error(one.place, message).problem]


def _refusal(phrases: Iterable[str], lists: Words) -> str | None:
    for phrase in phrases:
        try:
            compile_phrase(expand(phrase, lists))
        except PhraseError as error:
            return f"{phrase!r} would have {error}" if str(error)[:1].isdigit() else f"{phrase!r}: {error}"
    return None
