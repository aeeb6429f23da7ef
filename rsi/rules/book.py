"""All phrases of a rule set, and which of them a text can hold at all: the search that makes matching cheap."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from rsi.rules.pattern import Phrase, spaced

GRAM: Final = 4  # bytes by which literals are filed: read as one number; three would name five times as many …
SHORT: Final = 3  # … but the shortest literals have no more
#: Three bytes of a run: its first on little-endian machines, its last on others.
_SHORT_MASK: Final = (1 << 8 * SHORT) - 1


class PhraseBook:
    """Phrases by number. A text's four-byte runs name the few literals that are then looked for.

    Literals come in groups, one of each of which a phrase needs; phrases share groups, so groups are numbered too.
    """

    def __init__(self) -> None:
        self._phrases: list[Phrase] = []
        self._numbers: dict[Phrase, int] = {}
        self._others: list[frozenset[int]] = []  # phrase → the groups it needs beside its first
        self._groups: dict[frozenset[str], int] = {}  # … and their numbers
        self._leading: dict[str, list[int]] = {}  # literal → phrases in whose first group it is
        self._holding: dict[str, list[int]] = {}  # literal → other groups that hold it
        self._by_gram: dict[int, list[str]] = {}
        self._short: dict[int, str] = {}
        self._odd: list[str] = []  # shorter still: codes
        self._filed: set[str] = set()

    def numbers(self, phrases: Iterable[Phrase]) -> frozenset[int]:
        """The numbers of phrases, adding those that are new."""
        return frozenset(self._numbers[phrase] if phrase in self._numbers else self._add(phrase) for phrase in phrases)

    def possible(self, text: str) -> set[int]:
        """The phrases of which `text` (lower case) holds a literal of each group."""
        present = self._present(spaced(text))
        leading, holding, others = self._leading, self._holding, self._others
        first = set().union(*[leading[literal] for literal in present if literal in leading])
        groups = set().union(*[holding[literal] for literal in present if literal in holding])
        return {number for number in first if others[number] <= groups}

    def found(self, number: int, text: str, begun: Mapping[str, Sequence[int]]) -> bool:
        """Whether `text`, which has these `beginnings`, holds the phrase."""
        return self._phrases[number].found(text, begun)

    def _present(self, text: str) -> list[str]:
        """The literals that `text`, spaced, holds."""
        grams, short, by_gram = _grams(text), self._short, self._by_gram
        present = [literal for literal in self._odd if literal in text]
        present += [short[run] for run in {gram & _SHORT_MASK for gram in grams} & short.keys()]
        return present + [one for gram in grams & by_gram.keys() for one in by_gram[gram] if one in text]

    def _add(self, phrase: Phrase) -> int:
        number = self._numbers[phrase] = len(self._phrases)
        self._phrases.append(phrase)
        first, *others = phrase.needs
        for literal in first:
            self._file(literal, number, self._leading)
        self._others.append(frozenset(map(self._group, others)))
        return number

    def _group(self, literals: frozenset[str]) -> int:
        number = self._groups.get(literals)
        if number is None:
            number = self._groups[literals] = len(self._groups)
            for literal in literals:
                self._file(literal, number, self._holding)
        return number

    def _file(self, literal: str, number: int, among: dict[str, list[int]]) -> None:
        if literal in among:
            among[literal].append(number)
            return
        among[literal] = [number]
        if literal in self._filed:
            return
        self._filed.add(literal)
        raw = max(literal.split(" "), key=len).encode()  # few texts hold a long word
        raw = raw if len(raw) >= GRAM else literal.encode()
        if len(raw) >= GRAM:
            self._by_gram.setdefault(int.from_bytes(raw[:GRAM], sys.byteorder), []).append(literal)
        elif len(raw) == SHORT:
            self._short[int.from_bytes(raw, sys.byteorder)] = literal
        else:
            self._odd.append(literal)


def _grams(text: str) -> set[int]:
    """Every run of four bytes, as a number: four readings of the text, each a byte further, sooner than any slicing.

    A byte at either end, so that the first three and the last three bytes are in a run as well.
    """
    raw = memoryview(b"\0%b\0" % text.encode("utf-8", "surrogatepass"))
    found: set[int] = set()
    for start in range(min(GRAM, len(raw) - GRAM + 1)):
        found.update(raw[start : start + (len(raw) - start) // GRAM * GRAM].cast("I"))
    return found
