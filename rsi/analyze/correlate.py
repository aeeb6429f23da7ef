"""Which issues move together: one issue's marks, shifted round the window, tell how often that happens by chance.

A *mark* is a minute in which an issue struck more than it usually does for the traffic that there was. Of two issues we
ask how close the marks of one lie to those of the other, against all circular shifts of the one: a shift keeps how
bursty each of them is and breaks only what they share. It is done on two clocks, and the larger chance counts:

- the wall's: outages come at any time of day;
- the issue's own traffic (time rescaled by expected strikes; Brown et al., Neural Computation 14, 2002): where
  everybody works by day, or every quarter of an hour, that alone brings marks together and must not look like a cause.

Over all pairs that are asked together, the false discovery rate is held by Benjamini and Hochberg (1995). Pure: the
standard library, no store.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, combinations
from typing import Final, NamedTuple

#: Minutes of the window. Its length is what a chance can be at its smallest: 1 in 2,880.
WIDTH: Final = 2880
#: A mark weighs one for every one of these distances (minutes) within which the other issue has one: near counts more.
REACH: Final = (0, 2, 5, 10)
#: The longest lag, minutes: what follows later is another story.
FAR: Final = REACH[-1]
#: Minutes of a part that is shifted by itself, and what share of the risk is given to a single time together.
PART: Final = 720
ONCE: Final = 0.8
#: Minutes without a mark together after which it is over.
QUIET: Final = 60
#: A strike is marked when in the minutes around it there were more than expected and this many standard deviations.
SIGMAS: Final = 3.0
#: Minutes before and after that are counted with it.
AROUND: Final = 5
#: Below this many attempts per failure a source seems to report failures only: its traffic is not known.
ATTEMPTS_PER_FAILURE: Final = 1.5

_WEIGHTS: Final = tuple(sum(distance <= reach for reach in REACH) for distance in range(FAR + 1))
_FIELD_BYTES: Final = 2  # a field of the product holds at most len(REACH) * WIDTH = 11,520

Counts = Mapping[int, int]  # minute of the window (0..WIDTH-1) → how many


class Series(NamedTuple):
    """One issue over the window: its marks, and the window as its traffic sees it.

    `slots`: where each mark lies in WIDTH equal parts of the expected strikes; `minutes`: the minute of each part.
    """

    marks: tuple[int, ...]
    slots: tuple[int, ...]
    minutes: tuple[int, ...]


class Together(NamedTuple):
    """What two issues have in common.

    `p`: the chance of lying so close by accident. `lag`: minutes by which the second follows the first. `times`: marks
    of the rarer one within `FAR` minutes of the other; `expected` by chance. `since`, `until`: minutes of the window in
    which the last stretch of them began and ended.
    """

    p: float
    lag: int
    times: int
    expected: float
    since: int
    until: int


NEVER: Final = Together(1.0, 0, 0, 0.0, 0, 0)


class Bar(NamedTuple):
    """What is asked of a pair: marks of each that lie close to the other's, and the false discovery rate."""

    support: int
    rate: float


#: Pairs that the taxonomy names have a reason to move together, so that less evidence will do.
NAMED: Final = Bar(2, 0.1)
OTHERS: Final = Bar(3, 0.05)
#: A chance above this is no discovery at any bar, whatever the other clocks say.
HOPELESS: Final = max(NAMED.rate, OTHERS.rate)


def series(strikes: Mapping[str, Counts], traffic: Mapping[str, Counts]) -> Series:
    """An issue's series.

    Args:
        strikes: by source, how often it struck in each minute.
        traffic: by source, attempts in each minute; `''` stands in for sources that are not in it. Without any, every
            minute counts alike.
    """
    struck, expected = [0] * WIDTH, [0.0] * WIDTH
    for source, counts in strikes.items():
        tried = _tried(counts, traffic.get(source) or traffic.get("") or {})
        rate = sum(counts.values()) / sum(tried)
        for minute, n in counts.items():
            struck[minute] += n
        for minute, n in enumerate(tried):
            expected[minute] += rate * n
    marks = _marks(struck, expected)
    slots, minutes = _rescaled(expected, marks)
    return Series(marks, slots, minutes)


def _tried(strikes: Counts, traffic: Counts) -> list[int]:
    """Attempts by minute; what struck was tried."""
    if not traffic:
        return [1] * WIDTH
    tried = [0] * WIDTH
    for minute, n in traffic.items():
        tried[minute] = n
    for minute in strikes:
        tried[minute] = max(1, tried[minute])
    return tried


def _marks(struck: Sequence[int], expected: Sequence[float]) -> tuple[int, ...]:
    """Minutes with a strike around which there were more strikes than the issue's mean rate explains."""
    so_far, expected_so_far = [0, *accumulate(struck)], [0.0, *accumulate(expected)]
    found: list[int] = []
    for minute, n in enumerate(struck):
        if n:
            begin, end = max(0, minute - AROUND), min(WIDTH, minute + AROUND + 1)
            mu = expected_so_far[end] - expected_so_far[begin]
            if so_far[end] - so_far[begin] > mu + SIGMAS * mu**0.5:
                found.append(minute)
    return tuple(found)


def _rescaled(expected: Sequence[float], marks: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The slots of the marks, and the minute of every slot, on the clock of expected strikes."""
    ends = list(accumulate(expected))
    total = ends[-1]
    slots = tuple(int(WIDTH * (ends[minute] - expected[minute] / 2) / total) for minute in marks)
    minutes: list[int] = []
    at = 0
    for slot in range(WIDTH):
        passed = (slot + 0.5) / WIDTH * total
        while ends[at] < passed and at < WIDTH - 1:
            at += 1
        minutes.append(at)
    return slots, tuple(minutes)


class Pair(NamedTuple):
    """Two issues that move together; the second one follows. `named`: the taxonomy expects it of them."""

    first: int
    second: int
    together: Together
    q: float
    named: bool


def moving(
    found: Mapping[int, Series],
    named: Callable[[int, int], bool],
    lately: int,
    known: Mapping[tuple[int, int], float],
    unseen: int = 0,
) -> list[Pair]:
    """The pairs that move together.

    Pairs that the taxonomy names are a family of their own, with a lower bar: they are few, and each has a reason.

    Args:
        found: every issue that struck in the window.
        named: whether the taxonomy names this pair.
        lately: only pairs that both have a mark from this minute on are looked at; the others still count as asked.
        known: pairs (smaller id first) that were found before, with their q-value: asked only how they are now.
        unseen: issues that struck in the window and are not in `found`: their pairs count as asked.
    """
    families: dict[bool, list[tuple[int, int, Together]]] = {True: [], False: []}
    kept: list[Pair] = []
    for a, b in combinations(sorted(found), 2):
        bar = NAMED if (expected := named(a, b)) else OTHERS
        one, other = sorted((a, b), key=lambda key: (len(found[key].marks), key))
        if len(found[one].marks) < (1 if (a, b) in known else bar.support):
            continue
        if min(found[one].marks[-1], found[other].marks[-1]) < lately:
            families[expected].append((one, other, NEVER))
        elif (a, b) in known:
            together = compare(found[one], found[other], bar.support, known=True)
            kept.append(_pair(one, other, together, known[a, b], named=expected))
        else:
            families[expected].append((one, other, compare(found[one], found[other], bar.support)))
    for expected, asked in families.items():
        more = 0 if expected else unseen * (unseen - 1) // 2 + unseen * len(found)
        q_values = discoveries([each[2].p for each in asked], (NAMED if expected else OTHERS).rate, len(asked) + more)
        kept.extend(_pair(*each, q, named=expected) for each, q in zip(asked, q_values, strict=True) if q is not None)
    return [pair for pair in kept if pair.together.times]


def _pair(one: int, other: int, together: Together, q: float, *, named: bool) -> Pair:
    """In the order in which they strike."""
    if together.lag < 0:
        return Pair(other, one, together._replace(lag=-together.lag), q, named)
    return Pair(one, other, together, q, named)


def compare(one: Series, other: Series, support: int = OTHERS.support, *, known: bool = False) -> Together:
    """How two issues lie to each other; `p` is 1 where too few marks lie together, or it is not asked (`known`).

    Args:
        one: the one with fewer marks: it is shifted.
        other: the other.
        support: marks of each that must lie close to the other's.
        known: they are known to move together.
    """
    near = _near(other.marks)
    close = [mark for mark in one.marks if near[mark]]
    lag = _lag(one.marks, other.marks)
    expected = len(one.marks) * sum(near[minute] > 0 for minute in one.minutes) / WIDTH
    if known or min(len(close), sum(_near_to(one.marks, mark) for mark in other.marks)) < support:
        return Together(1.0, lag, len(close), expected, *_stretch(close))
    back = _near(one.marks)
    once = again = 0.0
    for places, weights in (
        (one.marks, near),
        (one.slots, [near[minute] for minute in one.minutes]),
        (other.slots, [back[minute] for minute in other.minutes]),
    ):
        here = _chance(places, weights)
        once, again = max(once, here[0]), max(again, here[1])
        p = min(1.0, once / ONCE, again / (1 - ONCE))
        if p > HOPELESS:
            break
    return Together(p, lag, len(close), expected, *_stretch(close))


def _near(marks: Sequence[int]) -> list[int]:
    """For every minute the weight of a mark there: how near the nearest of `marks` is."""
    weights = [0] * WIDTH
    for mark in marks:
        for distance, weight in enumerate(_WEIGHTS):
            for minute in (mark - distance, mark + distance):
                if 0 <= minute < WIDTH and weights[minute] < weight:
                    weights[minute] = weight
    return weights


def _near_to(marks: Sequence[int], minute: int) -> bool:
    at = bisect_left(marks, minute - FAR)
    return at < len(marks) and marks[at] <= minute + FAR


def _chance(places: Sequence[int], weights: Sequence[int]) -> tuple[float, float]:
    """How seldom shifts bring `places` as close as they are: all shifts as one, and each part of the window by itself.

    The first finds what moved together once, the second what does so again and again: several parts can each be a
    coincidence, all of them at once hardly. Each has its share of the risk (weighted Bonferroni).
    """
    whole = _sums(places, weights)
    once = sum(each >= whole[0] for each in whole) / WIDTH
    totals, here = {0: 1.0}, 0
    for begin in range(0, WIDTH, PART):
        inside = [place - begin for place in places if begin <= place < begin + PART]
        if inside:
            sums = _sums(inside, weights[begin : begin + PART])
            here += sums[0]
            totals = _convolved(totals, Counter(sums), len(sums))
    again = sum(chance for total, chance in totals.items() if total >= here)
    return once, again


def _convolved(totals: Mapping[int, float], sums: Mapping[int, int], n: int) -> dict[int, float]:
    """The distribution of a sum of two independent things."""
    found: dict[int, float] = {}
    for total, chance in totals.items():
        for each, times in sums.items():
            found[total + each] = found.get(total + each, 0.0) + chance * times / n
    return found


def _sums(places: Sequence[int], weights: Sequence[int]) -> list[int]:
    """The weights at `places`, summed, for every circular shift of them; the first is where they are.

    All sums come out of one multiplication of long integers, whose digits are the places and the weights.
    """
    width = len(weights)
    counted = [0] * width
    for place in places:
        counted[width - 1 - place] += 1
    product = _integer(counted) * _integer(weights)
    sums = memoryview(product.to_bytes(2 * width * _FIELD_BYTES, sys.byteorder)).cast("H").tolist()
    return [sums[width - 1], *(low + high for low, high in zip(sums[: width - 1], sums[width:-1], strict=True))]


def _integer(fields: Sequence[int]) -> int:
    return int.from_bytes(array("H", fields).tobytes(), sys.byteorder)


def _lag(one: Sequence[int], other: Sequence[int]) -> int:
    """The shift of `one` that puts most of its marks onto those of `other`; the smallest of equals."""
    theirs = set(other)
    hits = {lag: sum(mark + lag in theirs for mark in one) for lag in range(-FAR, FAR + 1)}
    return max(hits, key=lambda lag: (hits[lag], -abs(lag), lag))


def _stretch(close: Sequence[int]) -> tuple[int, int]:
    """Where the last of them that hang together begin and end."""
    if not close:
        return 0, 0
    begin = close[-1]
    for mark in reversed(close):
        if begin - mark > QUIET:
            break
        begin = mark
    return begin, close[-1]


def discoveries(chances: Sequence[float], rate: float, asked: int | None = None) -> list[float | None]:
    """Benjamini and Hochberg: for each chance its q-value if it is a discovery at this rate, else None.

    Args:
        chances: p-values.
        rate: the false discovery rate.
        asked: how many questions were asked in all, if some of the p-values are not listed because they are 1.
    """
    order = sorted(range(len(chances)), key=lambda i: chances[i])
    m = len(chances) if asked is None else asked
    q_values: list[float | None] = [None] * len(chances)
    lowest = 1.0
    for rank in range(len(order), 0, -1):
        index = order[rank - 1]
        lowest = min(lowest, chances[index] * m / rank)
        q_values[index] = lowest if lowest <= rate else None
    return q_values
