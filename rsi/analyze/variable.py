"""Where values stand in a template, by the look of each word and of the word before it; one template at a time.

A template becomes its *frame*: what is constant in it, with `<*>` for every place where a value may stand. Whether it
really is a value there is decided over all templates of one frame (`grouping`); here only what could be one is told
from what never is: codes, names in quotes, negations, source frames, verbs and states.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from rsi.analyze.cluster import kept_codes
from rsi.analyze.masks import is_kept, is_model
from rsi.analyze.roles import BEFORE, BEHIND, ROLES, beside, names_what_failed
from rsi.analyze.words import CODED_KEYS, IDENTITIES, INSTANCES, OUTCOMES, OWNED, VERBS_AFTER, is_name

ANY: Final = "<*>"


class Kind(Enum):
    """What a value looks like, from certain to doubtful."""

    MASKED = "masked"
    """A placeholder and nothing else: masking decided."""
    MIXED = "a masked part"
    """A placeholder within a name: `rdd_<num>`."""
    NUMBERED = "a name with a number"
    """Letters and digits: `eth0`, `root28_domain`."""
    NAMED = "a name"
    """A word after a noun that has instances: `user cyrus`."""
    QUOTED = "a quoted name"
    """`'report'`: a name that tells faults apart until there are many of them."""
    IDENTITY = "the name of what failed"
    """`Tool 'search'`, `gpt-4o`, `card_declined`: it tells faults apart, however many there are."""
    WORD = "a word"
    """Any word, where the same sentence was seen with many others in its place."""
    FIELD = "a field's name"
    """The same in `key=value`, where words are often states: `user=guest`."""


@dataclass(frozen=True, slots=True)
class Value:
    """One value: its kind and its form (digits of numbered names as `#`, so that `eth0` and `eth1` are one)."""

    kind: Kind
    form: str


@dataclass(frozen=True, slots=True)
class Frame:
    """`words`: the constants, `<*>` at the places; `values`: what stands there, one for each `<*>`, in order."""

    words: tuple[str, ...]
    values: tuple[Value, ...]


_FLAGS: Final = frozenset({"true", "false"})
_PLACE: Final = re.compile(r"<[a-z]+>|\[redacted:[a-z0-9-]+\]")
_SOURCE_FRAME: Final = re.compile(r"(?<=\bat )\S+:\S+(?: < \S+)*|\S+\.\w{1,5}:[A-Za-z_<]\S*")
_RAISED: Final = re.compile(r"(?:^|(?<= ))at [^\s:]+:\S+(?: < \S+)*(?: caused by [\w, .]+)?$| caused by \w+(?:, \w+)*$")
_ATOM: Final = re.compile(
    r"\[redacted:[a-z0-9-]+\]|[A-Za-z]\w*\(<[a-z]+>\)|(?<!\S)\(\)(?!\S)|(?:<[a-z]+>|[\w@+*#\\/%$^~-]|\.(?=[\w<\\]))+|[^\s]"
)
#: An empty pair of brackets that stands alone holds a value that is not there.
_EMPTY: Final = ("(", "<none>", ")")
_QUOTES: Final = "'\"`"
#: Names of things; a number or a code in quotes is none.
_QUOTABLE: Final = re.compile(r"[A-Za-z_][\w.-]{0,63}")
#: Identifiers of two parts; in capitals they are codes (`RESOURCE_EXHAUSTED`).
_SYMBOL: Final = re.compile(r"[A-Za-z][A-Za-z]*(?:[_.][a-z]+)+")
#: What may name what failed; names with a number only right behind the noun: `tool fetch_2`, not `node-7 task`.
_NAMES: Final = (Kind.QUOTED, Kind.NAMED, Kind.FIELD)
_NUMBERS: Final = (Kind.NUMBERED, Kind.MIXED)
_UNIT: Final = re.compile(r"[A-Za-z%]{0,3}")
_LETTER: Final = re.compile(r"[A-Za-z]")
_DIGITS: Final = re.compile(r"\d+")
#: `E501`, `ORA-00942`: codes, not names of things.
_ERROR_CODE: Final = re.compile(r"[A-Z]{1,6}-?\d{3,}")


def place(template: str) -> tuple[str, str]:
    """A template and where it was raised: what `trace` wrote behind the message, empty if nothing."""
    found = _RAISED.search(template)
    return (template[: found.start()].rstrip(), found[0].strip()) if found else (template, "")


def frame(template: str) -> Frame:
    """The frame of a template; the same kind of value repeated is one value: `<id> <id>`, `an1 an2 an3`."""
    words: list[str] = []
    values: list[Value] = []
    for word, value in _folded(_read(template)):
        words.append(word)
        if value is not None:
            values.append(value)
    return Frame(tuple(words), tuple(values))


_Read = tuple[str, Value | None]


def _read(template: str) -> list[_Read]:
    found: list[_Read] = []
    start = 0
    for source in _SOURCE_FRAME.finditer(template):
        found += _atoms(template[start : source.start()])
        found.append((source[0], None))
        start = source.end()
    return found + _atoms(template[start:])


def _atoms(text: str) -> list[_Read]:
    atoms = [piece for atom in _ATOM.findall(text) for piece in (_EMPTY if atom == "()" else (atom,))]
    padded = ["", "", "", "", *atoms, ""]
    return [_read_atom(padded[place : place + 6], atoms, place) for place in range(len(atoms))]


def _read_atom(near: list[str], atoms: list[str], place: int) -> _Read:
    """The word in the fifth place of six, by the four before it and the one after it; `atoms[place]` is the same."""
    key, _, second, before, atom, after = near
    quoted = before != "" and before in _QUOTES and after == before
    if quoted and second == ":" and near[1] in _QUOTES and key.lower() in CODED_KEYS:
        return atom, None
    value = _value(atom, before, second, quoted)
    if value is None:
        return atom, None
    return ANY, Value(Kind.IDENTITY, atom) if _tells_apart(value.kind, atoms, place) else value


def _tells_apart(kind: Kind, atoms: list[str], place: int) -> bool:
    """Whether the word in this place is a code, or the name of what failed."""
    before = atoms[max(place - BEFORE, 0) : place][::-1]
    if kind in _NUMBERS:
        noun = before[0].lower() if before else ""
        return noun in ROLES and noun not in INSTANCES
    if kind not in _NAMES:
        return False
    is_code = kind is Kind.QUOTED and bool(kept_codes(atoms[place]))
    return is_code or names_what_failed(before, atoms[place + 1 : place + 1 + BEHIND])


def _value(atom: str, before: str, second: str, quoted: bool) -> Value | None:
    """The value that this word may be, `None` if it is constant whatever other templates say."""
    if (placeholder := _PLACE.search(atom)) is not None:
        rest = _PLACE.sub("", atom)
        if not _LETTER.search(rest) or _UNIT.fullmatch(rest):
            return Value(Kind.MASKED, placeholder[0])
        return Value(Kind.MIXED, _PLACE.sub("#", atom))
    if quoted:
        return Value(Kind.QUOTED, atom) if _QUOTABLE.fullmatch(atom) else None
    if is_model(atom):
        return Value(Kind.IDENTITY, atom)
    if len(atom) == 1 or is_kept(atom):
        return None
    if _DIGITS.search(atom):
        return _numbered(atom, before)
    return _word(atom, before.lower(), second.lower())


def _numbered(atom: str, before: str) -> Value | None:
    if not _LETTER.search(atom) or _ERROR_CODE.fullmatch(atom):
        return None
    return Value(Kind.MASKED if before.lower() in INSTANCES else Kind.NUMBERED, _DIGITS.sub("#", atom))


def _word(atom: str, before: str, second: str) -> Value | None:
    if before == "=" and atom.lower() in _FLAGS:
        return None if second in OUTCOMES else Value(Kind.MASKED, "<flag>")
    named = is_name(atom)
    if named and (before in INSTANCES or (before == "for" and second in OWNED)):
        return Value(Kind.NAMED, atom)
    if _SYMBOL.fullmatch(atom):
        return Value(Kind.IDENTITY, atom)
    if not named:
        return None
    return Value(Kind.FIELD, atom) if before == "=" and second in INSTANCES else None


#: Longest group of words that is looked for again right behind itself: `node-1 0x2 <ok>`.
_PERIOD: Final = 8


def _folded(read: list[_Read]) -> list[_Read]:
    """Values that repeat, with the constants between them, once: what a list holds does not say how long it is."""
    out: list[_Read] = []
    for one in read:
        out.append(one)
        for period in range(1, min(_PERIOD, len(out) // 2) + 1):
            tail = out[-period:]
            if tail[-1][0] != out[-period - 1][0]:
                continue
            if any(value for _, value in tail) and _alike(tail, out[-2 * period : -period]):
                del out[-period:]
                break
    return out


def _alike(one: list[_Read], other: list[_Read]) -> bool:
    return all(
        word == known and (value is None) == (before is None) and (value is None or _kin(value, before))
        for (word, value), (known, before) in zip(one, other, strict=True)
    )


def _kin(one: Value, other: Value | None) -> bool:
    return other is not None and one.form == other.form


#: Words of a frame that have to be constant beside a word that may be one of many.
_CONTEXT: Final = 4


def holes(words: tuple[str, ...]) -> list[int]:
    """Places of plain words that may turn out to be values when many sentences differ only there."""
    plain = [place for place, word in enumerate(words) if word.isalpha() and word.isascii()]
    if len(plain) <= _CONTEXT:
        return []
    return [place for place in plain if place and len(words[place]) > 2 and _may_vary(words, place)]  # noqa: PLR2004


def _may_vary(words: tuple[str, ...], place: int) -> bool:
    before, word = words[place - 1].lower(), words[place]
    behind = words[place + 1] if place + 1 < len(words) else ""
    if before in IDENTITIES or before in VERBS_AFTER or word.isupper() or not is_name(word):
        return False
    coded = before in _QUOTES and behind == before  # what is quoted and yet constant is a code
    return not coded and not beside(before, behind)
