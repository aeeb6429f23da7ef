"""All phrases of a rule set, and which of them a text can hold at all: the search that makes matching cheap."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rsi.rules.pattern import Phrase

GRAM: Final = 4  # characters by which literals are filed; three would name five times as many


class PhraseBook:
    """Phrases by number. A text's four-character runs name the few literals that are then looked for."""

    def __init__(self) -> None:
        self._phrases: list[Phrase] = []
        self._numbers: dict[Phrase, int] = {}
        self._by_literal: dict[str, list[int]] = {}
        self._by_gram: dict[str, list[str]] = {}
        self._short: list[str] = []
        self._short_wide: list[str] = []
        self._filed: set[str] = set()

    def numbers(self, phrases: Iterable[Phrase]) -> frozenset[int]:
        """The numbers of phrases, adding those that are new."""
        return frozenset(self._numbers[phrase] if phrase in self._numbers else self._add(phrase) for phrase in phrases)

    def possible(self, text: str) -> tuple[set[int], set[str]]:
        """The phrases of which `text` (lower case) holds a literal of the first group, and the literals it holds."""
        present = self._present(text)
        filed = [self._by_literal[literal] for literal in present if literal in self._by_literal]
        return set().union(*filed), present

    def found(self, number: int, text: str, present: set[str]) -> bool:
        """Whether `text`, which holds the literals `present`, holds the phrase."""
        phrase = self._phrases[number]
        for group in phrase.needs[1:]:
            if present.isdisjoint(group):
                return False
        return phrase.found(text)

    def _present(self, text: str) -> set[str]:
        grams = {text[at : at + GRAM] for at in range(len(text) - GRAM + 1)}
        short = self._short if text.isascii() else self._short + self._short_wide
        present = {literal for literal in short if literal in text}
        for gram in grams & self._by_gram.keys():
            present.update([literal for literal in self._by_gram[gram] if literal in text])
        return present

    def _add(self, phrase: Phrase) -> int:
        number = self._numbers[phrase] = len(self._phrases)
        self._phrases.append(phrase)
        for literal in phrase.needs[0]:
            self._by_literal.setdefault(literal, []).append(number)
        for literal in frozenset().union(*phrase.needs) - self._filed:
            self._filed.add(literal)
            if len(literal) < GRAM:
                (self._short if literal.isascii() else self._short_wide).append(literal)
            else:
                self._by_gram.setdefault(literal[:GRAM], []).append(literal)
        return number
