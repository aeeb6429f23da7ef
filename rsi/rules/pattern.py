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

_SPACE: Final = r"[\s_\-]{1,3}"
_APOSTROPHE: Final = "['\u2019]?"
_KEPT_ESCAPES: Final = "bdwsBDWS"
_COUNT: Final = re.compile(r"\{(\d{1,3})(?:,(\d{1,3}))?\}")
_BLANKS: Final = re.compile(r"[\s_-]+")
_ESCAPE_OR_TEXT: Final = re.compile(r"\\.|[^\\]+")
_RUN: Final = re.compile(r"[^\\()\[\]{}|?*+.^$~' ]+(?![?{*+])")
_PLAIN: Final = re.compile(r"[^\\()\[\]{}|?*+.^$~' ]")


class PhraseError(ValueError):
    """The phrase cannot be compiled; says where and what to write instead."""


class Phrase(msgspec.Struct, frozen=True):
    """A compiled phrase: `regex` for lower-cased text; a text must hold one literal of each group in `needs` to match.

    The first group is the most selective one.
    """

    source: str
    regex: str
    needs: tuple[frozenset[str], ...]

    def found(self, text: str) -> bool:
        """Whether lower-cased `text` holds it."""
        return _compiled(self.regex).search(text) is not None


_KEY: Final = 40  # characters of a group by which it is looked up
_groups: dict[str, tuple[str, _Part]] = {}  # bounded by the number of word lists
_cache: dict[str, re.Pattern[str]] = {}  # bounded by the number of phrases in loaded rules


def _compiled(regex: str) -> re.Pattern[str]:
    found = _cache.get(regex)
    if found is None:
        found = _cache[regex] = re.compile(regex, re.DOTALL)
    return found


@lru_cache(maxsize=8192)
def compile_phrase(source: str, *, alone: bool = True) -> Phrase:
    """Phrase → regular expression and the literals that keep it away from most texts.

    Args:
        source: the phrase; its word lists written out (`rsi.rules.words.expand`).
        alone: it is searched by itself, so it needs a literal; entries of word lists do not.

    Raises:
        PhraseError: not in the language, too much work, or without a literal of three characters.
    """
    if len(source) > MAX_EXPANDED:
        raise PhraseError(f"{len(source)} characters, the limit is {MAX_EXPANDED}; split it in two")
    reader = _Reader(_lowered(source))
    part = reader.alternatives()
    if reader.at < len(reader.text):
        raise PhraseError(f"column {reader.at + 1}: unmatched {reader.text[reader.at]!r}")
    if part.ways > MAX_WAYS:
        raise PhraseError(f"{part.ways} ways through it, the limit is {MAX_WAYS}; use fewer or shorter gaps")
    if alone and not part.needs:
        raise PhraseError(f"every alternative needs a literal of at least {MIN_LITERAL} characters")
    regex = f"(?<![a-z0-9]){part.regex}"
    return Phrase(source, regex, part.needs)


def compile_code(code: str) -> Phrase:
    """A provider's code (`insufficient_quota`) as a whole word, case ignored."""
    low = code.lower()
    return Phrase(code, rf"(?<![a-z0-9_]){re.escape(low)}(?![a-z0-9_])", (frozenset((low,)),))


def remember(group: str) -> None:
    """Read a group `(a|b|…)` now, because many phrases hold it."""
    text = _lowered(group)
    if _groups.get(text[:_KEY], ("",))[0] != text:
        _groups.pop(text[:_KEY], None)
        reader = _Reader(text)
        part = reader.alternatives()
        if reader.at == len(text):
            _groups[text[:_KEY]] = text, part


def _lowered(source: str) -> str:
    return _ESCAPE_OR_TEXT.sub(lambda part: part[0] if part[0][0] == "\\" else part[0].lower(), source)


@lru_cache(maxsize=1024)
def _check_class(written: str) -> None:
    try:
        re.compile(written)
    except re.error as error:
        raise PhraseError(f"not a valid expression: {error}") from error


class _Part(msgspec.Struct, frozen=True):
    regex: str
    ways: int
    needs: tuple[frozenset[str], ...]  # every match holds one literal of each group; best group first
    first: str = ""  # the character every match starts with; empty: not known
    plain: str = ""  # what it matches, if that is one text (blanks of any kind as one blank)


class _Reader:
    """Recursive descent over one phrase; `at` is the place of the next character."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def alternatives(self) -> _Part:
        parts = [self._sequence()]
        while self._take("|"):
            parts.append(self._sequence())
        if len(parts) == 1:
            return parts[0]
        known = all(part.needs for part in parts)
        needs = (frozenset().union(*(part.needs[0] for part in parts)),) if known else ()
        regex = "(?:" + "|".join(part.regex for part in parts) + ")"
        return _Part(regex, _ways(parts), needs)

    def _sequence(self) -> _Part:
        regex, run, first = "", "", ""
        ways, text = 1, ""
        pure = True
        needs: list[frozenset[str]] = []
        while self.at < len(self.text) and self.text[self.at] not in "|)":
            letters = _RUN.match(self.text, self.at)
            plain = letters[0] if letters else self._plain()
            if plain is not None:
                self.at = letters.end() if letters else self.at
                first = first if regex else plain[0]
                regex, run, text = regex + re.escape(plain), run + plain, text + plain
                continue
            if self.text[self.at] == " " and self.text[self.at + 1 : self.at + 2] not in ("~", "?", "{"):
                text += " "
            else:
                pure = False
            needs += _literal(run)
            run = ""
            part = self._repeated(self._atom())
            regex, ways = regex + part.regex, ways * part.ways
            needs += part.needs
        return _Part(regex, ways, _best([*needs, *_literal(run)]), first, text if pure else "")

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

    def _atom(self) -> _Part:
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
        special = {" ": _SPACE, "'": _APOSTROPHE, ".": ".", "^": "^", "$": "$"}
        if char == "~":
            return _Part(f".{{0,{GAP}}}?", GAP + 1, ())
        return _Part(special.get(char, re.escape(char)), 1, ())

    def _between_words(self) -> _Part:
        """` ~ `: the end of a word (`tool` may be `tools`), any words, the start of a word; ` ~ ?`: a plain gap."""
        self.at += 2
        if self._take("?"):
            return _Part(f".{{0,{GAP}}}?", GAP + 1, ())
        return _Part(rf"[^\W_]{{0,3}}[\W_](?:.{{0,{GAP}}}?[\W_])?", GAP + 2, ())

    def _group(self) -> _Part:
        known = _groups.get(self.text[self.at - 1 : self.at - 1 + _KEY])
        if known is not None and self.text.startswith(known[0], self.at - 1):
            self.at += len(known[0]) - 1
            return known[1]
        if self._peek("?"):
            raise PhraseError(f"column {self.at}: '(?' is not in the language; groups are plain ( | )")
        part = self.alternatives()
        if not self._take(")"):
            raise PhraseError(f"column {self.at + 1}: ')' is missing")
        return _Part(f"(?:{part.regex})", part.ways, part.needs)

    def _class(self) -> _Part:
        end = self.text.find("]", self.at + 1)
        while end > 0 and self.text[end - 1] == "\\":
            end = self.text.find("]", end + 1)
        if end < 0:
            raise PhraseError(f"column {self.at}: ']' is missing")
        body = self.text[self.at : end].replace("[", r"\[")
        self.at = end + 1
        _check_class(f"[{body}]")  # the only thing that is taken over unread
        return _Part(f"[{body}]", 1, ())

    def _escape(self) -> _Part:
        char = self.text[self.at : self.at + 1]
        if char.isalnum() and char not in _KEPT_ESCAPES:
            raise PhraseError(
                f"column {self.at}: \\{char} is not in the language (only \\b \\d \\w \\s and their capitals)"
            )
        if not char:
            raise PhraseError(f"column {self.at}: nothing after the backslash")
        self.at += 1
        return _Part("\\" + char, 1, ())

    def _repeated(self, part: _Part) -> _Part:
        if self._take("?"):
            part = _Part(f"(?:{part.regex})?", part.ways + 1, ())
        elif self._peek("{"):
            part = self._counted(part)
        if self.at < len(self.text) and self.text[self.at] in "*+?{":
            raise PhraseError(f"column {self.at + 1}: {self.text[self.at]!r} is unbounded or nested; write {{0,40}}")
        return part

    def _counted(self, part: _Part) -> _Part:
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
        return _Part(f"(?:{part.regex}){found[0]}", ways, part.needs if low else ())

    def _peek(self, char: str) -> bool:
        return self.text[self.at : self.at + 1] == char

    def _take(self, char: str) -> bool:
        if self._peek(char):
            self.at += 1
            return True
        return False


def _ways(parts: list[_Part]) -> int:
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


def _literal(run: str) -> list[frozenset[str]]:
    least = MIN_LITERAL if run.isascii() else MIN_LITERAL_WIDE
    return [frozenset((run,))] if len(run) >= least else []


def _best(groups: list[frozenset[str]]) -> tuple[frozenset[str], ...]:
    """The groups that keep most texts away: few and long literals."""
    return tuple(sorted(groups, key=lambda group: (-min(map(len, group)), len(group)))[:MAX_GROUPS])
