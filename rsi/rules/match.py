"""Which rule decides: the compiled form of a classify rule set.

Cheap first: literals, class names and statuses pick the few rules that can match; only those are evaluated, highest
precedence first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

import msgspec

from rsi.rules.book import PhraseBook
from rsi.rules.names import Names, class_globs
from rsi.rules.pattern import beginnings, compile_code, compile_phrase
from rsi.rules.shape import ClassifyRule, Condition
from rsi.rules.signals import Signals, class_names, examined, views
from rsi.rules.statuses import http_statuses

#: Below this a rule only says something general (`ValueError`, a bare 400): an outer view may know better.
DECISIVE: Final = 200
NAME_CACHE: Final = 4096


class _Test(msgspec.Struct, frozen=True):
    """A condition, compiled. Empty fields hold always."""

    names: Names | None
    statuses: frozenset[int]
    providers: tuple[str, ...]
    codes: frozenset[int]
    phrases: frozenset[int]
    nots: frozenset[int]

    def holds(self, seen: Signals, found: _Found) -> bool:
        if self.statuses and not (self.statuses & seen.statuses):
            return False
        if self.names and not any(map(self.names.match, seen.names)):
            return False
        if self.providers and not any(word in seen.provider for word in self.providers):
            return False
        if self.codes and not found.any(self.codes):
            return False
        if self.phrases and not found.any(self.phrases):
            return False
        return not (self.nots and found.any(self.nots))


class _Entry(msgspec.Struct, frozen=True):
    rule: ClassifyRule
    any: tuple[_Test, ...]
    all: tuple[_Test, ...]
    nots: frozenset[int]

    def holds(self, seen: Signals, found: _Found) -> bool:
        for test in self.all:
            if not test.holds(seen, found):
                return False
        for test in self.any:
            if test.holds(seen, found):
                return not (self.nots and found.any(self.nots))
        return False


class _Found:
    """The phrases (by number) whose literals are in a text; each is searched at most once, and only when asked for."""

    def __init__(self, book: PhraseBook, text: str) -> None:
        self._book = book
        self._text = text
        self._possible = book.possible(text)
        self._begun = beginnings(text) if self._possible else {}
        self._known: dict[int, bool] = {}

    @property
    def possible(self) -> set[int]:
        return self._possible

    def any(self, phrases: frozenset[int]) -> bool:
        for number in phrases & self._possible:  # noqa: SIM110 - asked so often that a generator costs more than it
            if self._is(number):
                return True
        return False

    def _is(self, number: int) -> bool:
        known = self._known.get(number)
        if known is None:
            known = self._known[number] = self._book.found(number, self._text, self._begun)
        return known


class Matcher:
    """A rule set that has been made ready; safe to share between threads.

    Args:
        rules: as `RuleSet.rules`: highest precedence first.
    """

    def __init__(self, rules: Sequence[ClassifyRule]) -> None:
        self._book = PhraseBook()
        self._entries = [_entry(rule, self._book) for rule in rules]
        self._by_phrase: dict[int, list[int]] = {}
        self._by_status: dict[int, list[int]] = {}
        self._by_provider: dict[str, list[int]] = {}
        named: list[tuple[Names, int]] = []
        for index, entry in enumerate(self._entries):
            for test in entry.any:
                self._index(test, index, named)
        self._by_name = _by_name(named)

    def decide(
        self, text: str, error_type: str | None = None, status: int | None = None, provider: str | None = None
    ) -> ClassifyRule | None:
        """The rule that says what this error is, or `None`."""
        general: ClassifyRule | None = None
        for view in views(examined(text)) or [""]:
            found = self._decide_view(signals(view, error_type, status, provider))
            if found and found.precedence >= DECISIVE:
                return found
            if found and (general is None or found.precedence > general.precedence):
                general = found
        return general

    def _decide_view(self, seen: Signals) -> ClassifyRule | None:
        found = _Found(self._book, seen.text)
        for index in sorted(self._candidates(seen, found.possible)):
            if self._entries[index].holds(seen, found):
                return self._entries[index].rule
        return None

    def _candidates(self, seen: Signals, possible: set[int]) -> set[int]:
        candidates = set().union(*[self._by_phrase[phrase] for phrase in possible & self._by_phrase.keys()])
        for name in seen.names:
            candidates.update(self._by_name(name))
        for status in seen.statuses:
            candidates.update(self._by_status.get(status, ()))
        for word, entries in self._by_provider.items() if seen.provider else ():
            if word in seen.provider:
                candidates.update(entries)
        return candidates

    def _index(self, test: _Test, index: int, named: list[tuple[Names, int]]) -> None:
        """File the rule under the field of this condition that keeps it away from most texts."""
        if test.phrases or test.codes:
            for phrase in test.phrases or test.codes:
                self._by_phrase.setdefault(phrase, []).append(index)
        elif test.names:
            named.append((test.names, index))
        elif test.statuses:
            for status in test.statuses:
                self._by_status.setdefault(status, []).append(index)
        else:
            for word in test.providers:
                self._by_provider.setdefault(word, []).append(index)


def signals(text: str, error_type: str | None, status: int | None, provider: str | None) -> Signals:
    """One view of an error → what rules compare. A declared status replaces those read from the text."""
    low = text.lower()
    statuses = frozenset((status,)) if status else http_statuses(low)
    return Signals(low, class_names(text, error_type), statuses, (provider or "").lower())


def _by_name(named: Sequence[tuple[Names, int]]) -> Callable[[str], tuple[int, ...]]:
    @lru_cache(maxsize=NAME_CACHE)
    def entries(name: str) -> tuple[int, ...]:
        return tuple(index for names, index in named if names.match(name))

    return entries


def _entry(rule: ClassifyRule, book: PhraseBook) -> _Entry:
    match = rule.match
    return _Entry(
        rule,
        tuple(_test(condition, book) for condition in match.any),
        tuple(_test(condition, book) for condition in match.all),
        book.numbers(map(compile_phrase, match.not_message)),
    )


def _test(condition: Condition, book: PhraseBook) -> _Test:
    return _Test(
        class_globs(condition.error_type) if condition.error_type else None,
        _statuses(condition.status),
        tuple(word.lower() for word in condition.provider),
        book.numbers(map(compile_code, condition.code)),
        book.numbers(map(compile_phrase, condition.message)),
        book.numbers(map(compile_phrase, condition.not_message)),
    )


def _statuses(values: Sequence[int | str]) -> frozenset[int]:
    found: set[int] = set()
    for value in values:
        found.update((value,) if isinstance(value, int) else range(int(value[0]) * 100, int(value[0]) * 100 + 100))
    return frozenset(found)
