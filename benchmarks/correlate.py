"""How often issues are said to move together when they do not, and when they do: `python benchmarks/correlate.py [runs]`.

Ten issues in ten sources over 48 hours, 45 pairs. First nothing is shared but the rhythm of the day or of a schedule:
the share of runs with any discovery is the false discovery rate. Beside it what a plain correlation of counts per five
minutes says (Pearson's r, its usual test, the same Benjamini-Hochberg): what one would do with a notebook. Then some
share an outage. Then looks every quarter of an hour for two days. Then what a look and the counting of minutes cost.
"""

import math
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from rsi.analyze import correlate
from rsi.analyze.correlate import NAMED, OTHERS, WIDTH, Series

ISSUES = 10
DAY = 1440


class World(NamedTuple):
    """Attempts per minute (times 1, 2 or 3 by source), how they fail on their own, and the shape of the traffic."""

    shape: str
    rate: float
    fail: float = 0.03
    bursts: float = 0.0  # outages of its own in 48 h
    minutes: float = 20.0  # how long one lasts, on average


SHAPES = {
    "flat": [1.0] * WIDTH,
    "day": [max(0.05, 1 + math.cos(2 * math.pi * (t - 720) / DAY)) for t in range(WIDTH)],
    "office": [1.0 if 8 * 60 <= t % DAY < 18 * 60 else 0.03 for t in range(WIDTH)],
    "schedule": [10.0 if t % 15 == 0 else 0.0 for t in range(WIDTH)],
}
NOTHING_SHARED = {
    "flat, sporadic": World("flat", 0.5),
    "flat, bursts of 20 min": World("flat", 0.5, 0.002, 5),
    "flat, bursts of 90 min": World("flat", 0.5, 0.002, 3, 90),
    "day and night, sporadic": World("day", 0.5, 0.05),
    "office hours, sporadic": World("office", 1.0, 0.05),
    "office hours, bursts": World("office", 1.0, 0.002, 5, 30),
    "every 15 minutes, sporadic": World("schedule", 0.3, 0.05),
    "every 15 minutes, bursts": World("schedule", 0.3, 0.002, 5, 30),
    "office hours, fails in most minutes": World("office", 5.0, 0.3),
}


def poisson(dice: random.Random, mean: float) -> int:
    if mean > 30:
        return max(0, round(dice.gauss(mean, mean**0.5)))
    n, p, least = 0, dice.random(), math.exp(-mean)
    while p > least:
        n, p = n + 1, p * dice.random()
    return n


def stream(dice: random.Random, world: World, times: int, shared: list[tuple[int, int]], width: int = WIDTH):
    """Strikes and attempts by minute; in an outage 9 of 10 attempts fail."""
    down = bytearray(width)
    for _ in range(poisson(dice, world.bursts * width / WIDTH)):
        begin = dice.randrange(width)
        end = min(width, begin + max(1, round(dice.expovariate(1 / world.minutes))))
        down[begin:end] = b"\1" * (end - begin)
    for begin, length in shared:
        down[begin : begin + length] = b"\1" * len(down[begin : begin + length])
    strikes, attempts = {}, {}
    shape = SHAPES[world.shape]
    for minute in range(width):
        n = poisson(dice, world.rate * times * shape[minute % WIDTH])
        if n:
            attempts[minute] = n
            failed = sum(dice.random() < (0.9 if down[minute] else world.fail) for _ in range(n))
            if failed:
                strikes[minute] = failed
    return strikes, attempts


def series_of(strikes, attempts) -> Series:
    return correlate.series({"s": strikes}, {"s": attempts})


def found_in(made: dict[int, Series], named: bool = False) -> set[tuple[int, int]]:
    pairs = correlate.moving(made, lambda _a, _b: named, 0, {})
    return {tuple(sorted(pair[:2])) for pair in pairs}


def streams(seed: int, world: World, sharing: int = 0, shared=()):
    dice = random.Random(seed)
    return {i: stream(dice, world, 1 + i % 3, list(shared) if i < sharing else []) for i in range(ISSUES)}


def plain(streamed) -> set[tuple[int, int]]:
    """Pearson's r of counts per five minutes, Fisher's z, Benjamini-Hochberg."""
    counts = {}
    for i, (strikes, _) in streamed.items():
        counts[i] = [0] * (WIDTH // 5)
        for minute, n in strikes.items():
            counts[i][minute // 5] += n
    pairs = [(i, j) for i in counts for j in counts if i < j]
    chances = []
    for i, j in pairs:
        r = pearson(counts[i], counts[j])
        z = math.atanh(max(-0.999999, min(0.999999, r))) * math.sqrt(WIDTH // 5 - 3)
        chances.append(0.5 * math.erfc(z / math.sqrt(2)))
    q_values = correlate.discoveries(chances, OTHERS.rate)
    return {pair for pair, q in zip(pairs, q_values, strict=True) if q is not None}


def pearson(a, b) -> float:
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    top = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True))
    below = sum((x - mean_a) ** 2 for x in a) * sum((y - mean_b) ** 2 for y in b)
    return top / math.sqrt(below) if below else 0.0


def false_discoveries(runs: int) -> None:
    print(f"\nNothing shared, {runs} runs: runs with a false discovery, %")
    print(f"{'':38}{'others':>8}{'named':>8}{'plain r':>9}")
    for name, world in NOTHING_SHARED.items():
        hit = [0, 0, 0]
        for seed in range(runs):
            streamed = streams(seed, world)
            made = {i: series_of(*one) for i, one in streamed.items() if one[0]}
            for k, found in enumerate((found_in(made), found_in(made, named=True), plain(streamed))):
                hit[k] += bool(found)
        ours, named, theirs = (100 * n / runs for n in hit)
        print(f"{name:38}{ours:8.1f}{named:8.1f}{theirs:9.1f}", flush=True)
    print(f"promised:{'':29}{100 * OTHERS.rate:8.1f}{100 * NAMED.rate:8.1f}{100 * OTHERS.rate:9.1f}")


def power(runs: int) -> None:
    print(f"\nAn outage that some of the ten share, {runs} runs: pairs found, %, and false ones among all found, %")
    for name in ("flat, sporadic", "office hours, sporadic", "flat, bursts of 20 min"):
        for sharing, outages, length in ((2, 1, 30), (2, 3, 15), (4, 1, 10), (4, 1, 30), (8, 1, 10), (8, 1, 30)):
            found_n = true_n = wrong = alone = any_of = 0
            for seed in range(runs):
                dice = random.Random(seed)
                # in the office outages at night hit nobody: they begin in its hours
                begins = [dice.choice((0, DAY)) + 480 + dice.randrange(600 - length) for _ in range(outages)]
                streamed = streams(seed, NOTHING_SHARED[name], sharing, [(begin, length) for begin in begins])
                made = {i: series_of(*one) for i, one in streamed.items() if one[0]}
                found = found_in(made)
                true = {pair for pair in found if max(pair) < sharing}
                true_n += sharing * (sharing - 1) // 2
                found_n += len(true)
                any_of += bool(true)
                wrong += (len(found) - len(true)) / max(1, len(found)) / runs
                both = {i: made[i] for i in (0, 1) if i in made}
                alone += bool(found_in(both, named=True))
            print(
                f"{name:24} {sharing} share {outages} of {length} min: others {100 * found_n / true_n:5.1f} (any"
                f" {100 * any_of / runs:5.1f}), false {100 * wrong:4.1f}; a named pair alone {100 * alone / runs:5.1f}",
                flush=True,
            )


def looking(runs: int) -> None:
    """Looks overlap: each has its chance to err."""
    print(f"\nNothing shared, looked at every 15 minutes for 48 hours, {runs} runs")
    for name in ("flat, sporadic", "flat, bursts of 20 min", "office hours, sporadic", "office hours, bursts"):
        wrong = 0
        for seed in range(runs):
            dice = random.Random(seed)
            whole = {i: stream(dice, NOTHING_SHARED[name], 1 + i % 3, [], 2 * WIDTH) for i in range(ISSUES)}
            told: set[tuple[int, int]] = set()
            for now in range(WIDTH, 2 * WIDTH, 15):
                cut = {
                    i: [{t - now + WIDTH: n for t, n in one.items() if now - WIDTH <= t < now} for one in both]
                    for i, both in whole.items()
                }
                made = {i: series_of(*both) for i, both in cut.items() if both[0]}
                pairs = correlate.moving(made, lambda _a, _b: False, WIDTH - correlate.QUIET, {})
                told |= {tuple(sorted(pair[:2])) for pair in pairs}
            wrong += len(told)
        print(f"{name:38} {wrong / runs / 2:.3f} false pairs a day", flush=True)


def cost() -> None:
    dice = random.Random(1)
    shared = [(2700, 60)]
    made = {i: stream(dice, NOTHING_SHARED["flat, sporadic"], 1 + i % 3, shared) for i in range(48)}
    began = time.perf_counter()
    done = {i: series_of(*one) for i, one in made.items()}
    made_ms = (time.perf_counter() - began) * 1e3
    began = time.perf_counter()
    n = len(correlate.moving(done, lambda _a, _b: False, 0, {}))
    print(f"\nA look at 48 issues that all share an outage: series {made_ms:.0f} ms, {n} of 1,128 pairs found in"
          f" {(time.perf_counter() - began) * 1e3:.0f} ms")  # fmt: skip
    ingest()


def ingest(rows: int = 40_000) -> None:
    """The analysis of rows with and without the counting of minutes, in turn, 10 % failures of 20 templates."""
    from rsi import rules
    from rsi.analyze import write as writing
    from rsi.analyze.observe import Observer, write
    from rsi.classify import Classifier
    from rsi.config import Config
    from rsi.model import Outcome
    from rsi.store import Store, outcomes

    classifier = Classifier(rules.load("classify").rules)
    counted = writing.minutes.add
    took: dict[str, list[float]] = {"with": [], "without": []}
    at = time.time()
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(6):
            which = ("with", "without")[turn % 2]
            writing.minutes.add = counted if which == "with" else (lambda _conn, _rows: None)
            with Store.open(Path(folder) / f"{turn}.db") as store:
                made = [
                    Outcome(id=str(n), ts=at + n / 100, source=f"s{n % 5}", task=f"t{n % 20}", kind="task",
                            status="failed" if n % 10 == 0 else "ok", provider="openai",
                            error=f"thing number {'abcdefghijklmnopqrst'[n // 10 % 20] * 3} broke" if n % 10 == 0 else None)
                    for n in range(rows)
                ]  # fmt: skip
                store.add_outcomes(made, at).result()
                observer = Observer(classifier)
                began = time.perf_counter()
                for seq in range(0, rows, 2_000):
                    with store.read() as conn:
                        delta = observer.observe(conn, outcomes.since(conn, seq, 2_000), at, Config())
                    store.write(lambda conn, delta=delta: write(conn, delta))
                took[which].append(time.perf_counter() - began)
    writing.minutes.add = counted
    with_, without = min(took["with"]), min(took["without"])
    print(f"Analysis of {rows:,} rows: {with_ / rows * 1e6:.1f} µs a row with minutes, {without / rows * 1e6:.1f} without"
          f" writing them: {100 * (with_ / without - 1):+.1f} %")  # fmt: skip


if __name__ == "__main__":
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    false_discoveries(runs)
    power(max(5, runs // 8))
    looking(max(2, runs // 40))
    cost()
