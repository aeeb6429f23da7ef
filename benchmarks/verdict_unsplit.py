"""A change that cannot be split, against untouched sources: false verdicts, and how long real ones take."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from rsi.stats import TERMINAL, BeforeAfterTrial

Pair = tuple[float, float]  # (treated, untouched)
Phase = Literal["before", "after"]
BEFORE, AFTER = 200, 400


@dataclass(frozen=True)
class Case:
    """Rates before and after, how much of the others' traffic is left, bursts (shared unless `own`), and what is due."""

    before: Pair
    after: Pair
    traffic: float = 1.0
    burst: float | None = None
    own: bool = False
    word: str | None = None
    limit: float | None = None
    judged: bool = True


CASES = {
    "useless, .05": Case((0.05, 0.05), (0.05, 0.05)),
    "useless, .2": Case((0.2, 0.2), (0.2, 0.2)),
    "useless, .5": Case((0.5, 0.5), (0.5, 0.5)),
    "useless, rates differ": Case((0.3, 0.1), (0.3, 0.1)),
    "useless, outage ends": Case((0.4, 0.4), (0.1, 0.1)),
    "useless, outage begins": Case((0.1, 0.1), (0.4, 0.4)),
    "useless, shared bursts 3": Case((0.2, 0.2), (0.2, 0.2), burst=3.0),
    "useless, shared bursts 12": Case((0.2, 0.2), (0.2, 0.2), burst=12.0),
    "useless, traffic to 30 %": Case((0.2, 0.2), (0.2, 0.2), traffic=0.3),
    "useless, bursts of its own": Case((0.2, 0.2), (0.2, 0.2), burst=6.0, own=True, judged=False),
    "useless, its own outage ends": Case((0.4, 0.2), (0.1, 0.2), judged=False),
    ".3 to .03": Case((0.3, 0.3), (0.03, 0.3), word="verified", limit=28),
    ".2 to .02": Case((0.2, 0.2), (0.02, 0.2), word="verified", limit=45),
    ".2 to .02, bursts 12": Case((0.2, 0.2), (0.02, 0.2), burst=12.0, word="verified"),
    ".1 to .5": Case((0.1, 0.1), (0.5, 0.1), word="worse", limit=38),
}


def run(case: Case, seed: int) -> tuple[str, int]:
    """200 outcomes of each source before, up to 400 after; the verdict and the treated outcomes it took."""
    rng, trial, bad = random.Random(seed), BeforeAfterTrial(), [False, False]
    for n in range(BEFORE + AFTER):
        phase: Phase = "before" if n < BEFORE else "after"
        rates = case.before if n < BEFORE else case.after
        scale = [1.0, 1.0]
        if case.burst:
            bad = [rng.random() >= 1 / case.burst if b else rng.random() < 0.257 / case.burst for b in bad]
            bad = bad if case.own else [bad[0], bad[0]]
            scale = [4.5 if b else 0.1 for b in bad]
        if phase == "before" or rng.random() < case.traffic:
            trial.add("untouched", phase, f"u{n}", rng.random() < rates[1] * scale[1])
        word = trial.add("treated", phase, f"t{n}", rng.random() < rates[0] * scale[0])
        if word in TERMINAL:
            return word, n - BEFORE + 1
    return trial.verdict, AFTER


def table(runs: int, broken: Callable[[int, int], bool]) -> bool:
    """Print it; whether every limit holds. `broken(verified, worse)`: too many false verdicts."""
    print(f"\nA change that cannot be split, {runs} runs: verified / worse, %, and median treated outcomes after it")
    held = True
    for name, case in CASES.items():
        said = [run(case, seed) for seed in range(runs)]
        count = Counter(word for word, _ in said)
        line = f"{name:30}{100 * count['verified'] / runs:8.1f} /{100 * count['worse'] / runs:5.1f}"
        if case.word is None:
            over = case.judged and broken(count["verified"], count["worse"])
            held &= not over
            print(line + ("  ABOVE THE LIMIT" if over else "" if case.judged else "  cannot be excluded, and said so"))
            continue
        took = sorted(n if word == case.word else AFTER for word, n in said)
        median = took[runs // 2]
        print(line + f"{median:9.0f}" + (f"  limit {case.limit:g}" if case.limit else ""))
        held &= case.limit is None or median <= case.limit or runs < 1000
    return held
