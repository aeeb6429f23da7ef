r"""The phrase language of message rules: a small subset of regular expressions whose work is bounded by construction.

`a b` matches a, then up to three blanks, `_` or `-`, then b; `a ~ b` the words a and b (also as `as`) with up to 48
characters of any kind between them, `a~b` the same without regard to words; `'` is an optional apostrophe. `( | )`,
`[ ]`, `.`, `?`, `{m,n}`, `^`, `$`, `\b \d \w \s` (and capitals) and escaped punctuation are as usual. There is no `*`,
`+`, look-around or back-reference, hardly any repetition inside a repetition, and the number of ways through a phrase
from one place of a text is capped, so that a search is linear in the text by construction. A phrase starts at a word's
start, ends anywhere, and ignores case.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from rsi.rules.reader import (
    MAX_EXPANDED,
    MAX_LENGTH,
    MAX_WAYS,
    MIN_LITERAL,
    START,
    PhraseError,
    either,
    entry,
    read,
    spaced,
)

__all__ = [
    "MAX_EXPANDED", "MAX_LENGTH", "Phrase", "PhraseError", "adopt", "beginnings", "check_entry", "compile_code",
    "compile_phrase", "spaced",
]  # fmt: skip

#: Where a phrase can begin: not in the middle of a word.
_BEGIN: Final = re.compile(r"(?<![a-z0-9])[^ ]", re.DOTALL)
MANY: Final = 60  # starts of a phrase: if it has more, a text has fewer
_cache: dict[tuple[str, bool], re.Pattern[str]] = {}  # bounded by the number of phrases in loaded rules
_phrases: dict[str, Phrase] = {}
MOST: Final = 8192  # checked phrases that are remembered: the built-in ones and those of some homes


class Phrase(msgspec.Struct, frozen=True):
    """A checked phrase, for lower-cased text; its regular expression is made when it is first searched.

    Attributes:
        source: as written, with its word lists written out.
        needs: a text, `spaced`, must hold one literal of each group to match; the first group is the most selective.
        starts: what a match can start with, one or two characters each; `None`: anything.
        code: it is a provider's code, a whole word.
    """

    source: str
    needs: tuple[frozenset[str], ...]
    starts: frozenset[str] | None = None
    code: bool = False

    def found(self, text: str, begun: Mapping[str, Sequence[int]] | None = None) -> bool:
        """Whether lower-cased `text` holds it; its `beginnings` spare most of the search."""
        if begun is None or self.starts is None:
            return self._pattern().search(text) is not None
        starts = self.starts & begun.keys() if len(self.starts) > MANY else [one for one in self.starts if one in begun]
        if not starts:
            return False
        match = self._pattern().match
        for start in starts:
            for place in begun[start]:
                if match(text, place):
                    return True
        return False

    def _pattern(self) -> re.Pattern[str]:
        return _cache.get((self.source, self.code)) or self._compiled()

    def _compiled(self) -> re.Pattern[str]:
        if self.code:
            regex = rf"(?<![a-z0-9_]){re.escape(self.source.lower())}(?![a-z0-9_])"
        else:
            regex = f"(?<![a-z0-9]){read(self.source).regex}"
        made = _cache[self.source, self.code] = re.compile(regex, re.DOTALL)
        return made


def beginnings(text: str) -> dict[str, list[int]]:
    """Where phrases can begin in lower-cased `text`, by the first characters there: two, and one."""
    found: dict[str, list[int]] = {}
    for begin in _BEGIN.finditer(text):
        place = begin.start()
        start = text[place : place + START]
        if start in found:
            found[start].append(place)
        else:
            found[start] = [place]
    for start, places in list(found.items()):
        found[start[0]] = [*found[start[0]], *places] if start[0] in found else places
    return found


def compile_phrase(source: str) -> Phrase:
    """Check a phrase, and find the literals that keep it away from most texts.

    Args:
        source: the phrase; its word lists written out (`rsi.rules.words.expand`).

    Raises:
        PhraseError: not in the language, too much work, or without a literal of three characters.
    """
    known = _phrases.get(source)
    if known is not None:
        return known
    if len(source) > MAX_EXPANDED:
        raise PhraseError(f"{len(source)} characters, the limit is {MAX_EXPANDED}; split it in two")
    part = read(source)
    _check_ways(part.ways)
    if not part.needs:
        raise PhraseError(f"every alternative needs a literal of at least {MIN_LITERAL} characters")
    made = Phrase(source, part.needs, None if part.void else part.starts)
    adopt([made])
    return made


def adopt(phrases: Iterable[Phrase]) -> None:
    """Phrases that were checked before, by another process with the same rules."""
    if len(_phrases) > MOST:
        _phrases.clear()
    _phrases.update((phrase.source, phrase) for phrase in phrases)


def check_entry(source: str) -> None:
    """Whether an entry of a word list is in the language; it needs no literal.

    Raises:
        PhraseError: as `compile_phrase`.
    """
    if len(source) > MAX_EXPANDED:
        raise PhraseError(f"{len(source)} characters, the limit is {MAX_EXPANDED}; split it in two")
    _check_ways(either(entry(source)).ways)


def compile_code(code: str) -> Phrase:
    """A provider's code (`insufficient_quota`) as a whole word, case ignored."""
    low = code.lower()
    return Phrase(code, (frozenset((spaced(low),)),), frozenset((low[:START],)), code=True)


def _check_ways(ways: int) -> None:
    if ways > MAX_WAYS:
        raise PhraseError(f"{ways} ways through it, the limit is {MAX_WAYS}; use fewer or shorter gaps")
