"""Templates whose messages have one frame: which of their places hold values, and so which of them say the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from rsi.analyze.spelling import Marks
from rsi.analyze.variable import ANY, Kind, Value

#: What of a template's values tells it apart, one word for each place.
Label: TypeAlias = tuple[str, ...]

#: So many spellings of one message are weighed against one another. Real messages have some ten; beyond it what they
#: have in common says too little, and weighing them would cost the square of their number.
MOST: Final = 64
#: Kinds that one masked value at the same place is evidence enough for: `LOCAL(<num>)` beside `<host>`.
_WITH_MASKED: Final = (Kind.MIXED, Kind.NUMBERED)


@dataclass(slots=True)
class Place:
    """One place of values in a frame: the forms seen there. `opens`: so many forms make it a place of values."""

    opens: Mapping[Kind, int]
    forms: set[str] = field(default_factory=set)
    masked: bool = False

    def see(self, value: Value) -> bool:
        """Take in a value; whether that may have opened the place for some kind."""
        if value.kind is Kind.MASKED:
            first, self.masked = not self.masked, True
            return first
        if value.form in self.forms:
            return False
        self.forms.add(value.form)
        return len(self.forms) in self.opens.values()

    def label(self, value: Value) -> str:
        """What of a value tells templates apart: nothing where the place is open for its kind."""
        if value.kind is Kind.MASKED or len(self.forms) >= self.opens[value.kind]:
            return ANY
        return ANY if self.masked and value.kind in _WITH_MASKED else value.form


class Member(NamedTuple):
    """A template of a bucket."""

    id: str
    values: tuple[Value, ...]
    marks: Marks


class Known(NamedTuple):
    """The first template that said this with these marks."""

    id: str
    label: Label
    marks: Marks


@dataclass(slots=True)
class Spellings:
    """What is said of one label: ids by marks. `beside`: the first that a person has parted from the first."""

    ids: dict[Marks, str] = field(default_factory=dict)
    unplaced: dict[Marks, str] = field(default_factory=dict)
    places: set[str] = field(default_factory=set)
    beside: dict[Marks, str] = field(default_factory=dict)

    def first(self, marks: Marks, one: str) -> str:
        """The id that had these marks first: this one, if none had."""
        found = self.ids.setdefault(marks, one)
        if found == one:
            if marks.at:
                self.places.add(marks.at)
            else:
                self.unplaced[marks] = one
        return found

    def comparable(self) -> Mapping[Marks, str]:
        """Those that may be one fault. Of several places in the code each is a fault of its own; of too many: none."""
        weighed = self.unplaced if len(self.places) > 1 else self.ids
        return weighed if len(weighed) <= MOST else {}


@dataclass(slots=True, eq=False)
class Bucket:
    """The templates of one category whose messages have one frame; `fresh`: known since it was settled last.

    `cut`: none of them surely ends where its message ends. `gone`: its members are in a wider frame now.
    """

    category: str
    words: tuple[str, ...]
    places: list[Place]
    members: list[Member] = field(default_factory=list)
    known: dict[Label, Spellings] = field(default_factory=dict)
    fresh: list[Known] = field(default_factory=list)
    stale: bool = False
    cut: bool = True
    counted: bool = False
    gone: bool = False

    def label(self, values: tuple[Value, ...]) -> Label:
        """What of these values tells their template apart from others of the frame, as far as is known now."""
        return tuple(place.label(value) for place, value in zip(self.places, values, strict=True))

    def put(self, member: Member) -> None:
        """Take in a template; `stale` if that may have opened a place."""
        self.members.append(member)
        seen = [place.see(value) for place, value in zip(self.places, member.values, strict=True)]
        self.stale = self.stale or any(seen)

    def same_as(self, member: Member) -> tuple[str, Spellings]:
        """The first template that says the same (this one, if it is the first), and all that is said of its label."""
        label = self.label(member.values)
        spellings = self.known.setdefault(label, Spellings())
        first = spellings.first(member.marks, member.id)
        if first == member.id:
            self.fresh.append(Known(member.id, label, member.marks))
        return first, spellings

    def reopened(self) -> Iterable[Member]:
        """A place has opened: all members, to be told again which are the same."""
        self.stale = False
        self.known.clear()
        self.fresh.clear()
        return self.members

    def said(self) -> str:
        """The frame, for people."""
        return " ".join(self.words)[:100]
