"""Which texts the rules cannot tell apart: texts with one key have one category, whatever their digits are.

Nearly all that varies in an error's text is digits, and rules read few of them: statuses, and those of phrases such
as `exit code 137`. For a text of a new *shape* (all digits alike) it is found out once which phrases could match some
text of that shape, and where statuses could stand. Of every other text of the shape only that is asked.

This rests on one property of `views`, `class_names` and where a status stands: they ask *whether* a digit stands
somewhere, never which (`tests/rules/test_alike.py`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Final, Literal, TypeAlias

import msgspec

from rsi.rules.book import PhraseBook
from rsi.rules.names import Names, class_globs
from rsi.rules.noise import decoded
from rsi.rules.pattern import Phrase, beginnings, compile_code, compile_phrase
from rsi.rules.reader import lowered, read
from rsi.rules.shape import ClassifyRule
from rsi.rules.signals import class_names, examined, views
from rsi.rules.statuses import MAX_NUMBERS, STATUSES, http_statuses

#: Shapes that are remembered: of most nothing is to be asked, of the others some kilobytes are kept.
SHAPES: Final = 1 << 15
ASKED_SHAPES: Final = 1 << 12
_DIGITS: Final = "0123456789"
#: Every digit as the one that makes `444`, which is a status wherever one can stand.
_SHAPE: Final = {ord(digit): "4" for digit in _DIGITS}
#: A phrase that is a number, or one of several: `\b(401|403)\b`.
_NUMBERS: Final = re.compile(r"(?:\\b)?\(?(\d{1,3}(?:\|\d{1,3}){0,60})\)?(?:\\b)?")
_SHORT: Final = re.compile(r"[0-9]{1,3}(?![0-9])")
_NOWHERE: Final = {ord(digit): "7" for digit in _DIGITS}
_DIGIT: Final = re.compile(r"[0-9]")
_THREE: Final = re.compile(r"(?<![0-9])[0-9]{3}(?![0-9])")
#: Of a phrase: an escape, a count, a class, a digit.
_PIECES: Final = re.compile(r"\\.|\{\d{1,3}(?:,\d{1,3})?\}|\[(\^?)((?:\\.|[^\\])(?:\\.|[^\]\\])*)\]|(\d)")

#: Of a shape: there is too much to ask.
_Unsaid: TypeAlias = Literal[False]
#: A key: `None` for a text of which nothing is known.
Key: TypeAlias = Hashable


class _Asked(msgspec.Struct, frozen=True):
    """What to ask of one view of a text.

    Attributes:
        at: the part of the text, in lower case, that the view is; else it is put together:
        parts: what stands between its digits, and
        digits: the places of these among the digits of the text.
        statuses: where a status could stand in it.
        numbers: numbers, from and to, that phrases could be.
        phrases: what it could hold, and where that would begin.
    """

    at: tuple[int, int] | None
    parts: tuple[str, ...]
    digits: tuple[int, ...]
    statuses: tuple[int, ...]
    numbers: tuple[tuple[int, int], ...]
    phrases: tuple[tuple[Callable[[str, int], object], int], ...]

    def answers(self, low: str, digits: Sequence[str], named: frozenset[str]) -> tuple[Hashable, ...]:
        if self.at is None:
            here = [digits[place] for place in self.digits]
            low = "".join([piece for pair in zip(self.parts, [*here, ""], strict=True) for piece in pair])
        else:
            low = low[self.at[0] : self.at[1]]
        said: list[Hashable] = [
            value if (value := int(low[place : place + 3])) in STATUSES else 0 for place in self.statuses
        ]
        said += [
            number if not named.isdisjoint(accumulate(number := low[start:end])) else "" for start, end in self.numbers
        ]
        said += [begins(low, place) is not None for begins, place in self.phrases]
        return tuple(said)


class Alike:
    """Keys of texts, for one rule set; used by one thread at a time.

    Args:
        rules: as `RuleSet.rules`.
    """

    def __init__(self, rules: Iterable[ClassifyRule]) -> None:
        self._book = PhraseBook()
        self._phrases: dict[int, Phrase] = {}
        self._starts: dict[int, frozenset[str] | None] = {}
        self._simple: set[int] = set()
        self._named: set[str] = set()
        self._begins: dict[int, re.Pattern[str]] = {}
        names: set[str] = set()
        for rule in rules:
            names.update(self._read(rule))
        self._numbers = frozenset(self._named)
        self._names: Names = class_globs(name.translate(_SHAPE) for name in names if _DIGIT.search(name))
        self._plain: set[bytes] = set()
        self._met: set[bytes] = set()
        self._shapes: dict[bytes, tuple[_Asked, ...] | _Unsaid] = {}

    def key(self, text: str) -> Key | None:
        """The same for two texts only if rules say the same of both (their types, statuses and providers being equal).

        `None`: this text has to be asked for itself.
        """
        text = decoded(examined(text))
        if "\\u" in text:
            return None
        shape = text.translate(_SHAPE)
        name = hashlib.blake2b(shape.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if name in self._plain:
            return name
        asked = self._shapes.get(name)
        if asked is None:
            if name not in self._met:
                self._meet(name)
                return None
            asked = self._learned(name, shape)
        if not asked:
            return name if asked == () else None
        low, digits = text.lower(), _DIGIT.findall(text)
        return (name, *[one.answers(low, digits, self._numbers) for one in asked])

    def _meet(self, name: bytes) -> None:
        """A shape is looked into when it comes again: of texts that never come again that would be lost work."""
        if len(self._met) >= SHAPES:
            self._met.clear()
        self._met.add(name)

    def _learned(self, name: bytes, shape: str) -> tuple[_Asked, ...] | _Unsaid:
        asked = self._asked(shape)
        if asked == ():
            if len(self._plain) >= SHAPES:
                self._plain.clear()
            self._plain.add(name)
            return asked
        if len(self._shapes) >= ASKED_SHAPES:
            self._shapes.clear()
        self._shapes[name] = asked
        return asked

    def _read(self, rule: ClassifyRule) -> Iterable[str]:
        match = rule.match
        for written in match.not_message:
            self._add(compile_phrase, written)
        for condition in (*match.any, *match.all):
            for written in (*condition.message, *condition.not_message):
                self._add(compile_phrase, written)
            for code in condition.code:
                self._add(compile_code, code)
            yield from condition.error_type

    def _add(self, compiled: Callable[[str], Phrase], written: str) -> None:
        if any(_names_digits(found) for found in _PIECES.finditer(written)):
            phrase = compiled(written)
            needs = tuple(frozenset(literal.translate(_SHAPE) for literal in group) for group in phrase.needs)
            filed = Phrase(phrase.source, needs, code=phrase.code)
            for number in self._book.numbers([filed]):
                self._phrases[number] = phrase
                if simple := _NUMBERS.fullmatch(phrase.source):
                    self._simple.add(number)
                    self._named.update(simple[1].split("|"))
                self._starts[number] = phrase.starts and frozenset(one.translate(_SHAPE) for one in phrase.starts)

    def _asked(self, shape: str) -> tuple[_Asked, ...] | _Unsaid:
        """What to ask of texts of this shape, view by view; `False` if that cannot be said."""
        seen = _views(shape)
        if seen is None:
            return False
        asked = []
        for view, digits in seen:
            names = class_names(view, None)
            if any(map(self._names.match, names)):
                return False
            statuses = _status_places(view.lower())
            if statuses is None:
                return False
            low = view.lower()
            numbers, phrases = self._possible(low)
            if statuses or numbers or phrases:
                at = _part(shape, view, digits)
                parts = () if at else tuple(_DIGIT.split(low))
                asked.append(_Asked(at, parts, () if at else digits, statuses, numbers, phrases))
        return tuple(asked)

    def _possible(
        self, low: str
    ) -> tuple[tuple[tuple[int, int], ...], tuple[tuple[Callable[[str, int], object], int], ...]]:
        """What texts of this shape could hold: numbers of which phrases speak, and phrases."""
        begun = beginnings(low)
        numbers: dict[tuple[int, int], None] = {}
        phrases: list[tuple[Callable[[str, int], object], int]] = []
        for one in sorted(self._book.possible(low)):
            for place in self._places(one, low, begun):
                number = _SHORT.match(low, place) if one in self._simple else None
                if number:
                    numbers[number.span()] = None
                else:
                    phrases.append((self._phrases[one]._pattern().match, place))  # noqa: SLF001 - at a known place
        return tuple(numbers), tuple(phrases)

    def _places(self, number: int, low: str, begun: Mapping[str, Sequence[int]]) -> Iterable[int]:
        """Where a text of this shape could hold the phrase, and perhaps more places."""
        pattern = self._begins.get(number)
        if pattern is None:
            pattern = self._begins[number] = _whatever_digits(self._phrases[number])
        starts = self._starts[number]
        if starts is None:
            return [found.start() for found in pattern.finditer(low)]
        return [place for start in starts & begun.keys() for place in begun[start] if pattern.match(low, place)]


def _part(shape: str, view: str, digits: tuple[int, ...]) -> tuple[int, int] | None:
    """Where a view stands in the texts that it is a view of; `None` if in several pieces."""
    at = shape.find(view)
    if at < 0 or len(shape.lower()) != len(shape):
        return None
    before = len(_DIGIT.findall(shape[:at]))
    return (at, at + len(view)) if digits == tuple(range(before, before + len(digits))) else None


def _names_digits(found: re.Match[str]) -> bool:
    """Whether this piece of a phrase holds for some digits and not for others."""
    if found[2] is None:
        return found[3] is not None
    one = re.compile(f"[{found[1]}{found[2].replace('[', chr(92) + '[')}]")
    return len({one.match(digit) is None for digit in _DIGITS}) > 1


def _whatever_digits(phrase: Phrase) -> re.Pattern[str]:
    """Finds every place where a text of some other digits could hold the phrase, and perhaps more places."""
    if phrase.code:
        body = rf"(?<![a-z0-9_])(?={_DIGIT.sub(r'[0-9]', re.escape(phrase.source.lower()))}(?![a-z0-9_]))"
    else:
        body = f"(?<![a-z0-9])(?={read(_PIECES.sub(_any_digit, lowered(phrase.source))).regex})"
    return re.compile(body, re.DOTALL)


def _any_digit(found: re.Match[str]) -> str:
    if not _names_digits(found):
        return found[0]
    if found[3]:
        return r"\d"
    return "." if found[1] else rf"[{found[2]}\d]"


def _views(shape: str) -> list[tuple[str, tuple[int, ...]]] | None:
    """The views of texts of this shape, each with the places, in the text, that its digits come from.

    Views leave words out and change none of their digits. So the places are read from the views of texts whose digits
    are the units, tens, hundreds … of their places.
    """
    count = len(_DIGIT.findall(shape))
    rounds = [views(_numbered(shape, 10**power)) for power in range(len(str(count)))]
    if any(len(seen) != len(rounds[0]) for seen in rounds):
        return None  # two views that are equal for some digits only
    found = []
    for same in zip(*rounds, strict=True):
        pattern = same[0].translate(_SHAPE)
        digits = [_DIGIT.findall(view) for view in same]
        if any(view.translate(_SHAPE) != pattern for view in same):
            return None
        places = tuple(int("".join(powers[::-1])) for powers in zip(*digits, strict=True))
        found.append((pattern, places))
    return found


def _numbered(shape: str, unit: int) -> str:
    places = iter(range(len(shape)))
    return _DIGIT.sub(lambda _: _DIGITS[next(places) // unit % 10], shape)


def _status_places(low: str) -> tuple[int, ...] | None:
    """Where a status can stand in a lower-cased view; `None`: too many numbers to say."""
    numbers = [found.start() for found in _THREE.finditer(low)]
    if len(numbers) > MAX_NUMBERS:
        return None
    if not http_statuses(low):
        return ()
    bare = low.translate(_NOWHERE)
    return tuple(place for place in numbers if http_statuses(f"{bare[:place]}444{bare[place + 3 :]}"))
