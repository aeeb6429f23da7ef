"""Templates that say the same thing with other values are one group; the *set* of templates decides, never their order.

Pure, without similarity: two templates are joined because everything constant in them is the same and what differs
stands where values stand. What may never be joined (another category, class, code, quoted name or negation) is
constant. Every rule only adds joins when templates are added, so all of them at once and one by one end alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from rsi.analyze.cluster import Item
from rsi.analyze.spelling import WORDS, Marks, spelling, together
from rsi.analyze.variable import ANY, Kind, Value, frame, holes

#: So many different forms at one place of one frame make it a place of values; fewer are chance or states. The same for
#: every source; measured on Loghub-2k and agent errors (`docs/design/031-grouping.md`).
OPENS: Final = {Kind.MIXED: 3, Kind.NAMED: 3, Kind.NUMBERED: 4, Kind.FIELD: 5, Kind.WORD: 6}
#: What tells faults apart: quoted names, identifiers, models. They part, unless there are many at one place.
NAMES: Final = (Kind.QUOTED, Kind.SYMBOL, Kind.MODEL)
#: No number of forms is enough.
_NEVER: Final = 1 << 60
#: So many distinct names in one frame are a value (`tool 'a' not found` for four invented names is one fault), …
MANY: Final = 4
#: … but never where the name *is* the fault (which module is missing, which attribute, which model), or may be.
NAMED: Final = frozenset({"missing_resource", "code_bug", "model_not_found", "unknown"})
#: Kinds that one masked value at the same place is evidence enough for: `LOCAL(<num>)` beside `<host>`.
_WITH_MASKED: Final = (Kind.MIXED, Kind.NUMBERED)

#: Words by which texts are looked up that may be cut, and how many of its last words a cut may have spoilt.
_HEAD: Final = 8
_SPOILT: Final = 2


@dataclass(frozen=True, slots=True)
class Join:
    """Two ids that belong together, and why."""

    one: str
    other: str
    why: str


@dataclass(frozen=True, slots=True)
class Group:
    """Ids that belong together, sorted; `why` says how they came together (empty for a group of one)."""

    ids: tuple[str, ...]
    why: tuple[Join, ...] = ()


@dataclass(slots=True)
class _Place:
    """One place of values in a frame: the forms seen there."""

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


_Member = tuple[str, tuple[Value, ...], Marks]
_Label = tuple[str, ...]
_Key = tuple[str, tuple[str, ...]]


@dataclass(slots=True)
class _Bucket:
    """The templates of one category whose messages have one frame: ids by label and marks."""

    words: tuple[str, ...]
    places: list[_Place]
    members: list[_Member] = field(default_factory=list)
    known: dict[_Label, dict[Marks, str]] = field(default_factory=dict)
    stale: bool = False
    cut: bool = True
    counted: bool = False

    def label(self, values: tuple[Value, ...]) -> _Label:
        return tuple(place.label(value) for place, value in zip(self.places, values, strict=True))


class Grouper:
    """The incremental face: remembers what it was given; a new template costs what its frame's templates cost at most.

    Joins by frame only ever become more: the same follow in any order. A join of spellings (one says more than the
    other) holds as long as one fault is known that says more: of two such, the one added first keeps it; added
    together, neither gets it.

    Args:
        apart: says whether a person has parted two ids; they never end in one group.
        many: so many quoted names, identifiers or models at one place make it a place of values, but in the
            categories of `NAMED`; None: never.
    """

    def __init__(self, *, apart: Callable[[str, str], bool] | None = None, many: int | None = MANY) -> None:
        self._apart = apart
        self._opens = OPENS | dict.fromkeys(NAMES, _NEVER if many is None else many)
        self._bars = OPENS | dict.fromkeys(NAMES, _NEVER)
        self._buckets: dict[_Key, _Bucket] = {}
        self._moved: dict[_Key, tuple[_Key, int]] = {}
        self._rows: dict[int, _Key | dict[str, _Key]] = {}
        self._heads: dict[_Key, list[_Bucket]] = {}
        self._parent: dict[str, str] = {}
        self._members: dict[str, list[str]] = {}
        self._kinds: dict[str, set[str]] = {}

    def add(self, items: Iterable[Item]) -> list[Join]:
        """Take in items; the joins that they newly imply between any ids known so far. A join is never taken back."""
        joins: list[Join] = []
        touched: dict[int, tuple[str, _Bucket]] = {}
        for item in sorted(items, key=lambda one: (one.category, one.template, one.error_type or "", one.id)):
            if item.id not in self._parent:
                self._parent[item.id] = item.id
                self._members[item.id] = [item.id]
                self._kinds[item.id] = set()
            bucket = self._take(item, joins)
            touched[id(bucket)] = (item.category, bucket)
        for _category, bucket in touched.values():
            if bucket.stale:
                self._reopen(bucket, joins)
        for _category, bucket in touched.values():
            self._spellings(bucket, joins)
        for category, bucket in touched.values():
            self._cuts(category, bucket, joins)
        return joins

    def groups(self) -> list[tuple[str, ...]]:
        """The ids of each group, sorted, in the order of their smallest."""
        return sorted(tuple(sorted(ids)) for ids in self._members.values())

    def _take(self, item: Item, joins: list[Join]) -> _Bucket:
        """Put a template into the bucket of its message's frame."""
        said = spelling(item)
        found = frame(said.message)
        key, values = self._where((item.category, found.words), found.values)
        bucket = self._bucket(key)
        bucket.cut = bucket.cut and said.cut
        self._kinds[self._root(item.id)] |= {said.marks.kind} - {""}
        self._put(bucket, (item.id, values, said.marks), joins)
        return self._widened(key, bucket)

    def _where(self, key: _Key, values: tuple[Value, ...]) -> tuple[_Key, tuple[Value, ...]]:
        """The frame that a frame has become since some of its words turned out to be values."""
        category, words = key
        if key not in self._buckets and key not in self._moved:
            for place, row in _rows(key):
                if len(self._row(row, key, place)) >= self._opens[Kind.WORD]:
                    self._moved[key] = ((category, (*words[:place], ANY, *words[place + 1 :])), place)
                    break
        if key not in self._moved:
            return key, values
        wider, place = self._moved[key]
        before = words[:place].count(ANY)
        return self._where(wider, (*values[:before], Value(Kind.WORD, words[place]), *values[before:]))

    def _bucket(self, key: _Key) -> _Bucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            category, words = key
            opens = self._bars if category in NAMED else self._opens
            bucket = self._buckets[key] = _Bucket(words, [_Place(opens) for word in words if word == ANY])
            if len(words) >= _HEAD:
                self._heads.setdefault((category, words[:_HEAD]), []).append(bucket)
        return bucket

    def _widened(self, key: _Key, bucket: _Bucket) -> _Bucket:
        """Count the bucket's words; where one of them is the last of many at its place, all those frames become one."""
        if bucket.counted:
            return bucket
        bucket.counted = True
        for place, name in _rows(key):
            row = self._row(name, key, place)
            row[key[1][place]] = key
            self._rows[name] = row if len(row) > 1 else key
            if len(row) >= self._opens[Kind.WORD]:
                return self._merge(row, place)
        return bucket

    def _row(self, name: int, key: _Key, place: int) -> dict[str, _Key]:
        """The frames that differ from this one at this place only, by the word that they have there."""
        row = self._rows.get(name)
        if row is None:
            return {}
        row = row if isinstance(row, dict) else {row[1][place]: row}
        category, words = next(iter(row.values()))
        alike = (category, words[:place], words[place + 1 :]) == (key[0], key[1][:place], key[1][place + 1 :])
        return row if alike else {}  # two hashes met: nothing is joined for it

    def _merge(self, row: dict[str, _Key], place: int) -> _Bucket:
        category, words = next(iter(row.values()))
        wider = (category, (*words[:place], ANY, *words[place + 1 :]))
        merged = self._bucket(wider)
        before = words[:place].count(ANY)
        for word, key in row.items():
            old = self._buckets.pop(key, None)
            if old is None:
                continue
            self._moved[key] = (wider, place)
            if len(key[1]) >= _HEAD:
                self._heads[category, key[1][:_HEAD]].remove(old)
            merged.cut = merged.cut and old.cut
            for one, values, marks in old.members:
                self._put(merged, (one, (*values[:before], Value(Kind.WORD, word), *values[before:]), marks), None)
        return self._widened(wider, merged)

    def _put(self, bucket: _Bucket, member: _Member, joins: list[Join] | None) -> None:
        bucket.members.append(member)
        seen = [place.see(value) for place, value in zip(bucket.places, member[1], strict=True)]
        bucket.stale = bucket.stale or joins is None or any(seen)
        if joins is not None and not bucket.stale:
            self._note(bucket, member, joins)

    def _note(self, bucket: _Bucket, member: _Member, joins: list[Join]) -> None:
        one, values, marks = member
        first = bucket.known.setdefault(bucket.label(values), {}).setdefault(marks, one)
        if first != one:
            self._join(first, one, _why(bucket), joins)

    def _reopen(self, bucket: _Bucket, joins: list[Join]) -> None:
        """A place has opened: what it told apart is the same now."""
        bucket.stale = False
        bucket.known.clear()
        for member in bucket.members:
            self._note(bucket, member, joins)

    def _spellings(self, bucket: _Bucket, joins: list[Join]) -> None:
        """Join the spellings of one message that can only be one fault."""
        if sum(word[0].isalpha() for word in bucket.words) < WORDS:
            return
        for known in bucket.known.values():
            for one, other in together(known) if len(known) > 1 else ():
                self._join(known[one], known[other], f"the same message, said more fully: {_said(bucket)}", joins)

    def _cuts(self, category: str, bucket: _Bucket, joins: list[Join]) -> None:
        """Join what was cut off a message with it, if only one message begins like that."""
        near = self._heads.get((category, bucket.words[:_HEAD]), ()) if len(bucket.words) >= _HEAD else ()
        for short in (one for one in near if one.cut) if bucket in near else ():
            begins = short.words[:-_SPOILT] if len(short.words) > _HEAD + _SPOILT else short.words[:_HEAD]
            longer = [one for one in near if not one.cut and one.words[: len(begins)] == begins]
            if len(longer) == 1:
                self._cut(short, longer[0], joins)

    def _cut(self, short: _Bucket, long: _Bucket, joins: list[Join]) -> None:
        for label, known in short.known.items():
            stem = label[: max(len(label) - _SPOILT, 0)]
            whole = [
                (marks, one)
                for other, said in long.known.items()
                if other[: len(stem)] == stem
                for marks, one in said.items()
            ]
            for marks, one in known.items():
                roots = {self._root(other) for fuller, other in whole if marks.fits(fuller)}
                if len(roots) == 1:
                    self._join(
                        next(other for fuller, other in whole if marks.fits(fuller)),
                        one,
                        f"cut off: {_said(short)}",
                        joins,
                    )

    def _join(self, one: str, other: str, why: str, joins: list[Join]) -> None:
        mine, theirs = self._root(one), self._root(other)
        if mine == theirs or not self._one_fault(mine, theirs):
            return
        small, large = sorted((mine, theirs), key=lambda root: len(self._members[root]))
        self._members[large] += self._members.pop(small)
        self._kinds[large] |= self._kinds.pop(small)
        self._parent[small] = large
        joins.append(Join(one, other, why))

    def _one_fault(self, one: str, other: str) -> bool:
        """Whether nothing parts the groups of these two: not a class, not a person."""
        mine, theirs = self._kinds[one], self._kinds[other]
        if mine and theirs and mine != theirs:
            return False
        apart = self._apart
        return apart is None or not any(apart(a, b) for a in self._members[one] for b in self._members[other])

    def _root(self, one: str) -> str:
        parent = self._parent
        while parent[one] != one:
            parent[one] = one = parent[parent[one]]
        return one


def _rows(key: _Key) -> Iterator[tuple[int, int]]:
    """Each place of a frame where a word may turn out to be a value, and a hash of everything else in the frame."""
    category, words = key
    places = holes(words)
    if places:
        whole = sum(hash(one) for one in enumerate(words))
        for place in places:
            yield place, hash((category, place, len(words), whole - hash((place, words[place]))))


def _said(bucket: _Bucket) -> str:
    return " ".join(bucket.words)[:100]


def _why(bucket: _Bucket) -> str:
    values = len(bucket.places)
    return f"the same but for {values} value{'s' * (values != 1)}: {_said(bucket)}"


def group(
    items: Sequence[Item], *, apart: Callable[[str, str], bool] | None = None, many: int | None = MANY
) -> list[Group]:
    """The groups of these items, in the order of their smallest ids; every id is in exactly one.

    Args:
        items: distinct templates; several items of one id are together already.
        apart: says whether a person has parted two ids; they never end in one group.
        many: as for `Grouper`.
    """
    grouper = Grouper(apart=apart, many=many)
    joins = grouper.add(items)
    groups = grouper.groups()
    of = {one: place for place, ids in enumerate(groups) for one in ids}
    why: list[list[Join]] = [[] for _ in groups]
    for join in joins:
        why[of[join.one]].append(join)
    return [Group(ids, tuple(said)) for ids, said in zip(groups, why, strict=True)]
