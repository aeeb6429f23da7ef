"""Templates that say the same thing with other values are one group; the *set* of templates decides, never their order.

Pure, without similarity: two templates are joined because everything constant in them is the same and what differs
stands where values stand. What may never be joined (another category, class, code, quoted name or negation) is
constant. Every rule only adds joins when templates are added, so all of them at once and one by one end alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from rsi.analyze.beginnings import Beginnings
from rsi.analyze.bucket import Bucket, Member, Place
from rsi.analyze.cluster import Item
from rsi.analyze.spelling import WORDS, spelling, together
from rsi.analyze.variable import ANY, Kind, Value, frame, holes

#: So many different forms at one place of one frame make it a place of values; fewer are chance or states. The same for
#: every source; measured on Loghub-2k and agent errors (`docs/design/031-grouping.md`).
OPENS: Final = {Kind.MIXED: 3, Kind.NAMED: 3, Kind.NUMBERED: 4, Kind.FIELD: 5, Kind.WORD: 6}
#: No number of forms is enough.
_NEVER: Final = 1 << 60
#: So many distinct quoted names at one place of one frame are values (`'a' not found` for four files is one fault), …
MANY: Final = 4
#: … but never where the name *is* the fault (which module is missing, which attribute, which model), or may be.
#: What names the failing thing by its role or shape (`variable.Kind.IDENTITY`) parts in every category.
NAMED: Final = frozenset({"missing_resource", "code_bug", "model_not_found", "unknown"})


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


_Key = tuple[str, tuple[str, ...]]


class Grouper:
    """The incremental face: remembers what it was given; a new template costs what its frame's templates cost at most.

    Joins by frame only ever become more: the same follow in any order. A join of spellings (one says more than the
    other) holds as long as one fault is known that says more: of two such, the one added first keeps it; added
    together, neither gets it.

    Args:
        parted: pairs of ids that a person has parted; they never end in one group.
        many: so many quoted names at one place make it a place of values, but in the categories of `NAMED`;
            None: never.
    """

    def __init__(self, *, parted: Iterable[tuple[str, str]] = (), many: int | None = MANY) -> None:
        self._bars = OPENS | dict.fromkeys((Kind.QUOTED, Kind.IDENTITY), _NEVER)
        self._opens = self._bars | {Kind.QUOTED: _NEVER if many is None else many}
        self._buckets: dict[_Key, Bucket] = {}
        self._moved: dict[_Key, tuple[_Key, int]] = {}
        self._rows: dict[int, _Key | dict[str, _Key]] = {}
        self._beginnings = Beginnings()
        self._parent: dict[str, str] = {}
        self._members: dict[str, list[str]] = {}
        self._kinds: dict[str, set[str]] = {}
        self._foes: dict[str, set[str]] = {}
        self._against: dict[str, set[str]] = {}
        self.part(parted)

    def part(self, pairs: Iterable[tuple[str, str]]) -> None:
        """All pairs that a person has parted by now, instead of those that were known; what is joined stays so."""
        self._foes, self._against = {}, {}
        for one, other in pairs:
            self._foes.setdefault(one, set()).add(other)
            self._foes.setdefault(other, set()).add(one)
        for one, foes in self._foes.items():
            if one in self._parent:
                self._against.setdefault(self._root(one), set()).update(foes)

    def add(self, items: Iterable[Item]) -> list[Join]:
        """Take in items; the joins that they newly imply between any ids known so far. A join is never taken back."""
        joins: list[Join] = []
        touched: dict[Bucket, None] = {}
        for item in sorted(items, key=lambda one: (one.category, one.template, one.error_type or "", one.id)):
            self._meet(item.id)
            touched[self._take(item, joins)] = None
        for bucket in [one for one in touched if not one.gone]:
            anew = bucket.stale
            if anew:
                self._reopen(bucket, joins)
            self._spellings(bucket, joins)
            self._beginnings.file(bucket, anew=anew)
            bucket.fresh.clear()
        for cut in self._beginnings.answers():
            if len({self._root(one) for one in cut.fuller}) == 1:
                self._join(cut.fuller[0], cut.short, f"cut off: {cut.said}", joins)
        return joins

    def group_of(self, one: str) -> str:
        """The group of a known id, by the name of one of its ids; joins may change it."""
        return self._root(one)

    def groups(self) -> list[tuple[str, ...]]:
        """The ids of each group, sorted, in the order of their smallest."""
        return sorted(tuple(sorted(ids)) for ids in self._members.values())

    def _meet(self, one: str) -> None:
        if one not in self._parent:
            self._parent[one] = one
            self._members[one] = [one]
            self._kinds[one] = set()
            if one in self._foes:
                self._against[one] = set(self._foes[one])

    def _take(self, item: Item, joins: list[Join]) -> Bucket:
        """Put a template into the bucket of its message's frame."""
        said = spelling(item)
        found = frame(said.message)
        key, values = self._where((item.category, found.words), found.values)
        bucket = self._bucket(key)
        bucket.cut = bucket.cut and said.cut
        self._kinds[self._root(item.id)] |= {said.marks.kind} - {""}
        member = Member(item.id, values, said.marks)
        bucket.put(member)
        if not bucket.stale:
            self._note(bucket, member, joins)
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

    def _bucket(self, key: _Key) -> Bucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            category, words = key
            opens = self._bars if category in NAMED else self._opens
            bucket = self._buckets[key] = Bucket(category, words, [Place(opens) for word in words if word == ANY])
        return bucket

    def _widened(self, key: _Key, bucket: Bucket) -> Bucket:
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

    def _merge(self, row: Mapping[str, _Key], place: int) -> Bucket:
        category, words = next(iter(row.values()))
        wider = (category, (*words[:place], ANY, *words[place + 1 :]))
        merged = self._bucket(wider)
        before = words[:place].count(ANY)
        for word, key in row.items():
            old = self._buckets.pop(key, None)
            if old is None:
                continue
            self._moved[key], old.gone = (wider, place), True
            self._beginnings.drop(old)
            merged.cut = merged.cut and old.cut
            for one, values, marks in old.members:
                merged.put(Member(one, (*values[:before], Value(Kind.WORD, word), *values[before:]), marks))
        merged.stale = True
        return self._widened(wider, merged)

    def _note(self, bucket: Bucket, member: Member, joins: list[Join]) -> None:
        first, spellings = bucket.same_as(member)
        if first != member.id and not self._join(first, member.id, _why(bucket), joins):
            beside = spellings.beside.setdefault(member.marks, member.id)
            if beside != member.id:
                self._join(beside, member.id, _why(bucket), joins)

    def _reopen(self, bucket: Bucket, joins: list[Join]) -> None:
        """A place has opened: what it told apart is the same now."""
        for member in bucket.reopened():
            self._note(bucket, member, joins)

    def _spellings(self, bucket: Bucket, joins: list[Join]) -> None:
        """Join the spellings of one message that can only be one fault."""
        if sum(word[0].isalpha() for word in bucket.words) < WORDS:
            return
        for label in dict.fromkeys(known.label for known in bucket.fresh):
            known = bucket.known[label].comparable()
            for one, other in together(known) if len(known) > 1 else ():
                self._join(known[one], known[other], f"the same message, said more fully: {bucket.said()}", joins)

    def _join(self, one: str, other: str, why: str, joins: list[Join]) -> bool:
        """Put two ids into one group if nothing parts them; whether they are in one now."""
        mine, theirs = self._root(one), self._root(other)
        if mine == theirs:
            return True
        if not self._one_fault(mine, theirs):
            return False
        small, large = sorted((mine, theirs), key=lambda root: len(self._members[root]))
        self._members[large] += self._members.pop(small)
        self._kinds[large] |= self._kinds.pop(small)
        if foes := self._against.pop(small, None):
            self._against.setdefault(large, set()).update(foes)
        self._parent[small] = large
        joins.append(Join(one, other, why))
        return True

    def _one_fault(self, one: str, other: str) -> bool:
        """Whether nothing parts the groups of these two: not a class, not a person."""
        mine, theirs = self._kinds[one], self._kinds[other]
        if mine and theirs and mine != theirs:
            return False
        foes, root = min(
            ((self._against.get(group, set()), rival) for group, rival in ((one, other), (other, one))),
            key=lambda found: len(found[0]),
        )
        return not any(foe in self._parent and self._root(foe) == root for foe in foes)

    def _root(self, one: str) -> str:
        parent = self._parent
        while parent[one] != one:
            parent[one] = one = parent[parent[one]]
        return one


@lru_cache(2)  # a new frame is asked for twice
def _rows(key: _Key) -> tuple[tuple[int, int], ...]:
    """Each place of a frame where a word may turn out to be a value, and a hash of everything else in the frame."""
    category, words = key
    places = holes(words)
    if not places:
        return ()
    whole = sum(hash(one) for one in enumerate(words))
    return tuple((place, hash((category, place, len(words), whole - hash((place, words[place]))))) for place in places)


def _why(bucket: Bucket) -> str:
    values = len(bucket.places)
    return f"the same but for {values} value{'s' * (values != 1)}: {bucket.said()}"


def group(items: Sequence[Item], *, parted: Iterable[tuple[str, str]] = (), many: int | None = MANY) -> list[Group]:
    """The groups of these items, in the order of their smallest ids; every id is in exactly one.

    Args:
        items: distinct templates; several items of one id are together already.
        parted: pairs of ids that a person has parted; they never end in one group.
        many: as for `Grouper`.
    """
    grouper = Grouper(parted=parted, many=many)
    joins = grouper.add(items)
    groups = grouper.groups()
    of = {one: place for place, ids in enumerate(groups) for one in ids}
    why: list[list[Join]] = [[] for _ in groups]
    for join in joins:
        why[of[join.one]].append(join)
    return [Group(ids, tuple(said)) for ids, said in zip(groups, why, strict=True)]
