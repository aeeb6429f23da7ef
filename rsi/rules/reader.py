"""Reads a phrase (`rsi.rules.pattern` says what one is): its regular expression, work, literals and beginnings.

Recursive descent, because every bound is a property of the parts; word lists, of which phrases hold thousands of
entries, take a shorter way wherever an alternative is plain words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import msgspec

GAP: Final = 48  # characters of `~`: eight words, not a paragraph
MAX_REPEAT: Final = 120  # {m,n}: n at most
MAX_NESTED: Final = 4  # repetitions of what itself can match in several ways
MAX_WAYS: Final = 120_000  # two gaps (50²) and five options; three gaps (125k) are too many
MAX_LENGTH: Final = 1_500  # characters of one phrase as written …
MAX_EXPANDED: Final = 24_000  # … and with its word lists written out
MAX_GROUPS: Final = 3  # groups of literals that are looked for before a phrase is searched
MIN_LITERAL: Final = 3  # a shorter literal would not keep a phrase away from most texts …
MIN_LITERAL_WIDE: Final = 2  # … but two Chinese or Japanese characters do
START: Final = 2  # characters of a start that are told: few words of a text share two

_SPACE: Final = r"[\s_\-]{1,3}"
_APOSTROPHE: Final = "['\u2019]?"
_KEPT_ESCAPES: Final = "bdwsBDWS"
_COUNT: Final = re.compile(r"\{(\d{1,3})(?:,(\d{1,3}))?\}")
_BLANKS: Final = re.compile(r"[\s_-]+")
_ESCAPE_OR_TEXT: Final = re.compile(r"\\.|[^\\]+")
_RUN: Final = re.compile(r"[^\\()\[\]{}|?*+.^$~' ]+(?![?{*+])")
_PLAIN: Final = re.compile(r"[^\\()\[\]{}|?*+.^$~' ]")
#: A whole alternative of plain words: most entries of word lists.
_WORDS: Final = re.compile(r"[^\\()\[\]{}|?*+.^$~']+(?=[|)]|\Z)")


class PhraseError(ValueError):
    """The phrase cannot be compiled; says where and what to write instead."""


@lru_cache(maxsize=1024)
def _check_class(written: str) -> None:
    try:
        re.compile(written)
    except re.error as error:
        raise PhraseError(f"not a valid expression: {error}") from error


class Part(msgspec.Struct, frozen=True):
    """What a piece of a phrase is."""

    regex: str
    ways: int
    needs: tuple[frozenset[str], ...]  # every match holds one literal of each group; best group first
    first: str = ""  # the character every match starts with; empty: not known
    plain: str = ""  # what it matches, if that is one text (blanks of any kind as one blank)
    starts: frozenset[str] | None = None  # what a match can start with, 1 or 2 characters each; None: anything
    void: bool = False  # it may match nothing, so that what follows can be the start


_SPECIAL: Final = {
    " ": Part(_SPACE, 1, ()),
    "'": Part(_APOSTROPHE, 1, (), starts=frozenset("'\u2019"), void=True),
    ".": Part(".", 1, ()),
    "^": Part("^", 1, (), void=True),
    "$": Part("$", 1, (), void=True),
}
_KEY: Final = 40  # characters of a group by which it is looked up
_groups: dict[str, tuple[str, Part]] = {}  # bounded by the number of word lists


def lowered(source: str) -> str:
    """A phrase as it is compared: everything but its escapes in lower case."""
    return _ESCAPE_OR_TEXT.sub(lambda part: part[0] if part[0][0] == "\\" else part[0].lower(), source)


def read(source: str) -> Part:
    """The whole phrase.

    Raises:
        PhraseError: not in the language.
    """
    return either(_alternatives(lowered(source)))


@lru_cache(maxsize=1 << 14)  # all entries of all word lists: checked one by one, then read as parts of their lists
def entry(source: str) -> tuple[Part, ...]:
    """An entry of a word list; errors as `read`."""
    return tuple(_alternatives(lowered(source)))


@lru_cache(maxsize=1024)
def group(entries: tuple[str, ...]) -> str:
    """A word list as the group that phrases hold, `(a|b|…)`, which is read only once."""
    whole = f"({'|'.join(entries)})"
    text = lowered(whole)
    part = either([part for one in entries for part in entry(one)])
    regex = f"(?:{part.regex})"
    _groups[text[:_KEY]] = text, Part(regex, part.ways, part.needs, starts=part.starts, void=part.void)
    return whole


def _alternatives(text: str) -> list[Part]:
    reader = Reader(text)
    parts = reader.sequences()
    if reader.at < len(text):
        raise PhraseError(f"column {reader.at + 1}: unmatched {text[reader.at]!r}")
    return parts


def either(parts: Sequence[Part]) -> Part:
    """One of these."""
    if len(parts) == 1:
        return parts[0]
    known = all(part.needs for part in parts)
    needs = (frozenset().union(*(part.needs[0] for part in parts)),) if known else ()
    starts = [part.starts for part in parts if part.starts is not None]
    return Part(
        "(?:" + "|".join(part.regex for part in parts) + ")",
        _ways(parts),
        needs,
        starts=frozenset().union(*starts) if len(starts) == len(parts) else None,
        void=any(part.void for part in parts),
    )


class Reader:
    """Recursive descent over one phrase; `at` is the place of the next character."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def alternatives(self) -> Part:
        """What is left, up to a `)` that was not opened."""
        return either(self.sequences())

    def sequences(self) -> list[Part]:
        """The same, one part each."""
        parts = [self._sequence()]
        while self._take("|"):
            parts.append(self._sequence())
        return parts

    def _sequence(self) -> Part:
        words = _WORDS.match(self.text, self.at)
        if words:
            self.at = words.end()
            return _plain_words(words[0])
        regex, run, first = "", "", ""
        ways, text = 1, ""
        pure = True
        starts: frozenset[str] | None = frozenset()
        void = True
        needs: list[frozenset[str]] = []
        while self.at < len(self.text) and self.text[self.at] not in "|)":
            letters = _RUN.match(self.text, self.at)
            plain = letters[0] if letters else self._plain()
            if plain is not None:
                self.at = letters.end() if letters else self.at
                first = first if regex else plain[0]
                starts, void = _begun(starts, frozenset((plain[:START],)), void=void), False
                regex, run, text = regex + re.escape(plain), run + plain, text + plain
                continue
            if self.text[self.at] == " " and self.text[self.at + 1 : self.at + 2] not in ("~", "?", "{"):
                self.at += 1
                regex, run, text = regex + _SPACE, run + " ", text + " "
                starts, void = _begun(starts, None, void=void), False
                continue
            pure = False
            needs += _literal(run)
            run = ""
            part = self._repeated(self._atom())
            regex, ways = regex + part.regex, ways * part.ways
            starts, void = _begun(starts, part.starts, void=void), void and part.void
            needs += part.needs
        return Part(regex, ways, _best([*needs, *_literal(run)]), first, text if pure else "", starts, void)

    def _plain(self) -> str | None:
        """A character that stands for itself and is not repeated."""
        escaped = self.text[self.at] == "\\" and self.text[self.at + 1 : self.at + 2].strip() != ""
        char = self.text[self.at + 1] if escaped else self.text[self.at]
        if escaped and char.isalnum():
            return None
        if not escaped and not _PLAIN.match(char):
            return None
        width = 2 if escaped else 1
        if self.text[self.at + width : self.at + width + 1] in ("?", "{", "*", "+"):
            return None
        self.at += width
        return char

    def _atom(self) -> Part:
        char = self.text[self.at]
        self.at += 1
        if char == "(":
            return self._group()
        if char == "[":
            return self._class()
        if char == "\\":
            return self._escape()
        if char in "*+{?":
            raise PhraseError(f"column {self.at}: {char!r} has nothing to repeat or is unbounded; write {{0,40}}")
        if char == " " and self.text.startswith("~ ", self.at):
            return self._between_words()
        if char == "~":
            return Part(f".{{0,{GAP}}}?", GAP + 1, (), void=True)
        known = _SPECIAL.get(char)
        return known or Part(re.escape(char), 1, (), starts=frozenset(char))

    def _between_words(self) -> Part:
        """` ~ `: the end of a word (`tool` may be `tools`), any words, the start of a word; ` ~ ?`: a plain gap."""
        self.at += 2
        if self._take("?"):
            return Part(f".{{0,{GAP}}}?", GAP + 1, (), void=True)
        return Part(rf"[^\W_]{{0,3}}[\W_](?:.{{0,{GAP}}}?[\W_])?", GAP + 2, ())

    def _group(self) -> Part:
        known = _groups.get(self.text[self.at - 1 : self.at - 1 + _KEY])
        if known is not None and self.text.startswith(known[0], self.at - 1):
            self.at += len(known[0]) - 1
            return known[1]
        if self._peek("?"):
            raise PhraseError(f"column {self.at}: '(?' is not in the language; groups are plain ( | )")
        part = self.alternatives()
        if not self._take(")"):
            raise PhraseError(f"column {self.at + 1}: ')' is missing")
        return Part(f"(?:{part.regex})", part.ways, part.needs, starts=part.starts, void=part.void)

    def _class(self) -> Part:
        end = self.text.find("]", self.at + 1)
        while end > 0 and self.text[end - 1] == "\\":
            end = self.text.find("]", end + 1)
        if end < 0:
            raise PhraseError(f"column {self.at}: ']' is missing")
        body = self.text[self.at : end].replace("[", r"\[")
        self.at = end + 1
        _check_class(f"[{body}]")  # the only thing that is taken over unread
        return Part(f"[{body}]", 1, ())

    def _escape(self) -> Part:
        char = self.text[self.at : self.at + 1]
        if char.isalnum() and char not in _KEPT_ESCAPES:
            raise PhraseError(
                f"column {self.at}: \\{char} is not in the language (only \\b \\d \\w \\s and their capitals)"
            )
        if not char:
            raise PhraseError(f"column {self.at}: nothing after the backslash")
        self.at += 1
        return Part("\\" + char, 1, ())

    def _repeated(self, part: Part) -> Part:
        if self._take("?"):
            part = Part(f"(?:{part.regex})?", part.ways + 1, (), starts=part.starts, void=True)
        elif self._peek("{"):
            part = self._counted(part)
        if self.at < len(self.text) and self.text[self.at] in "*+?{":
            raise PhraseError(f"column {self.at + 1}: {self.text[self.at]!r} is unbounded or nested; write {{0,40}}")
        return part

    def _counted(self, part: Part) -> Part:
        found = _COUNT.match(self.text, self.at)
        if not found:
            raise PhraseError(f"column {self.at + 1}: expected {{m,n}} with both numbers")
        low, high = int(found[1]), int(found[2] or found[1])
        if high > MAX_REPEAT or low > high:
            raise PhraseError(f"column {self.at + 1}: {found[0]} must be ordered and at most {MAX_REPEAT}")
        if part.ways > 1 and high > MAX_NESTED:
            raise PhraseError(
                f"column {self.at + 1}: a repetition inside a repetition; at most {{0,{MAX_NESTED}}} of those"
            )
        self.at = found.end()
        ways = sum(part.ways**count for count in range(low, high + 1))
        needs = part.needs if low else ()
        return Part(f"(?:{part.regex}){found[0]}", ways, needs, starts=part.starts, void=part.void or not low)

    def _peek(self, char: str) -> bool:
        return self.text[self.at : self.at + 1] == char

    def _take(self, char: str) -> bool:
        if self._peek(char):
            self.at += 1
            return True
        return False


def _plain_words(text: str) -> Part:
    """What `_sequence` makes of words and blanks."""
    words = text.split(" ")
    regex = _SPACE.join(map(re.escape, words))
    needs = tuple(_literal(text))
    start = frozenset((words[0][:START],)) if words[0] else None
    return Part(regex, 1, needs, words[0][:1], text, start)


def _begun(starts: frozenset[str] | None, more: frozenset[str] | None, *, void: bool) -> frozenset[str] | None:
    """The possible starts when something follows; `void`: what came before may match nothing."""
    if not void or starts is None:
        return starts
    return None if more is None else starts | more


def _ways(parts: Sequence[Part]) -> int:
    """Of alternatives, only those that begin alike can all match at one place; of plain texts, only prefixes."""
    by_first: dict[str, int] = {}
    plain: dict[str, list[str]] = {}
    for part in parts:
        if part.plain and part.first:
            plain.setdefault(part.first, []).append(_BLANKS.sub(" ", part.plain))
        else:
            by_first[part.first] = by_first.get(part.first, 0) + part.ways
    for first, texts in plain.items():
        by_first[first] = by_first.get(first, 0) + max(sum(map(text.startswith, texts)) for text in texts)
    unknown = by_first.pop("", 0)
    return max(by_first.values(), default=0) + unknown


def spaced(text: str) -> str:
    """Blanks of any kind and length as one blank: a literal of several words is looked for in texts like that."""
    return _BLANKS.sub(" ", text)


def _literal(run: str) -> list[frozenset[str]]:
    literal = spaced(run).strip()
    return [frozenset((literal,))] if any(map(_long_enough, literal.split(" "))) else []


def _long_enough(word: str) -> bool:
    return len(word) >= (MIN_LITERAL if word.isascii() else MIN_LITERAL_WIDE)


def _best(groups: list[frozenset[str]]) -> tuple[frozenset[str], ...]:
    """The groups that keep most texts away: few and long literals."""
    return tuple(sorted(groups, key=lambda group: (-min(map(len, group)), len(group)))[:MAX_GROUPS])
