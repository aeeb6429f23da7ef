"""False verdicts of a useless fix, and how long a real one takes: our trials beside the rules one would think of first.

    python benchmarks/verdict.py            # short: well under a minute, a smoke of every scenario
    python benchmarks/verdict.py --long     # 1,000 runs a scenario, guards and `self-improving-loop` 0.1.3 included
    python benchmarks/verdict.py --plan     # units_needed against simulated trials

Everything is looked at after every outcome. A scenario fails (exit 1) where the lower end of the 95 % Wilson interval
of a false rate is above its limit (in the short form, of an interval that is wide enough for all rates together, and
the medians are shown but not judged). The grid itself fails as too easy where a two-sample z-test at 5 % that is peeked
at errs in less than 15 % everywhere, or a one-sided beta-binomial Bayes factor above 20 in less than 30 %. Beside them:
ten clean fixed outcomes in a row, and another package's own rule (`verdict_peer.py`).
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import verdict_guards
import verdict_peer
import verdict_unsplit
from verdict_anchors import Arm, BayesFactor, PeekedZ, TenClean, Trial
from verdict_worlds import WORLDS, World

from rsi.clock import monotonic
from rsi.stats import TERMINAL, ConcurrentTrial, units_needed, wilson

VERIFIED_LIMIT, WORSE_LIMIT, EARLY_LIMIT = 0.04, 0.05, 0.04
EARLY = 50
Z_ERRS, BAYES_ERRS = 0.15, 0.30  # somewhere, or the grid is too easy
SMOKE_Z = 3.1  # some 100 false rates are looked at; with few runs each, one in twenty is above by chance
OURS, Z, BAYES = "label bet", "z, peeked", "Bayes factor"

RULES: dict[str, Callable[[], Trial]] = {
    OURS: ConcurrentTrial,
    Z: PeekedZ,
    BAYES: BayesFactor,
    "ten clean": TenClean,
}


def false_verdict(make: Callable[[], Trial], rows_of: World, seed: str, horizon: int) -> tuple[str, int]:
    """One trial of a useless fix: outcomes first, labels by their own generator."""
    world, labels, trial = random.Random(seed), random.Random(seed + " labels"), make()
    arms: dict[str, tuple[Arm, float]] = {}
    word, n = "no_data", 0
    for unit, failed, f in rows_of(world, horizon):
        n += 1
        if unit not in arms:
            arms[unit] = ("fixed" if labels.random() < f else "control", f)
        arm, started = arms[unit]
        word = trial.add(arm, unit, failed, started)
        if word in TERMINAL:
            break
    return word, n


def exceeds(k: int, n: int, limit: float) -> bool:
    """Whether k of n is above the limit beyond chance: 95 % each in the long form, 95 % over all in the short one."""
    return wilson(k, n, 1.96 if n >= 1000 else SMOKE_Z)[0] > limit


@dataclass(frozen=True)
class Tally:
    """What one rule said of a useless fix, in so many runs."""

    runs: int
    verified: int
    worse: int
    early: int = 0

    def line(self) -> str:
        """Two percentages."""
        return f"{100 * self.verified / self.runs:>11.1f} /{100 * self.worse / self.runs:5.1f}"


def tally(make: Callable[[], Trial], name: str, runs: int, horizon: int) -> Tally:
    """One rule in one world."""
    said = [false_verdict(make, WORLDS[name], f"{name} {seed}", horizon) for seed in range(runs)]
    count = Counter(word for word, _ in said)
    early = sum(word == "worse" and n <= EARLY for word, n in said)
    return Tally(runs, count["verified"], count["worse"], early)


def broken(ours: Tally) -> bool:
    """Whether a limit does not hold."""
    return (
        exceeds(ours.verified, ours.runs, VERIFIED_LIMIT)
        or exceeds(ours.worse, ours.runs, WORSE_LIMIT)
        or exceeds(ours.early, ours.runs, EARLY_LIMIT)
    )


def too_easy(worst: dict[str, float]) -> str | None:
    """Why this grid shows nothing: it does not catch the rules that are known to be wrong."""
    easy = [
        f"{rule} errs in {worst[rule]:.1%} at most, {least:.0%} are needed"
        for rule, least in ((Z, Z_ERRS), (BAYES, BAYES_ERRS))
        if worst[rule] < least
    ]
    return "; ".join(easy) or None


def print_false(runs: int, horizon: int, *, peer: bool) -> bool:
    """The table of useless fixes; True if all of ours hold and the grid is hard enough for the anchors to fail."""
    beside = peer_tallies() if peer else None
    print(f"\nA useless fix, {runs} runs of {horizon} outcomes each: false verified / false worse, %  (limits 4 / 5)")
    names = [*RULES, *([f"{verdict_peer.NAME} *"] if beside else [])]
    print(f"{'':26}{'worse by ' + str(EARLY):>11}" + "".join(f"{name:>18}" for name in names))
    held, worst = True, dict.fromkeys(names, 0.0)
    for name in WORLDS:
        found = {rule: tally(make, name, runs, horizon) for rule, make in RULES.items()}
        ours = found[OURS]
        shown = [*found.values(), *([beside[name]] if beside else [])]
        worst = {rule: max(worst[rule], one.verified / one.runs) for rule, one in zip(names, shown, strict=True)}
        line = f"{name:26}{100 * ours.early / runs:>11.1f}" + "".join(one.line() for one in shown)
        print(line + ("  ABOVE THE LIMIT" if broken(ours) else ""), flush=True)
        held &= not broken(ours)
    print(f"{'worst false verified':37}" + "".join(f"{100 * worst[rule]:>11.1f}       " for rule in names))
    if peer:
        said = f"{verdict_peer.RUNS} runs of {verdict_peer.ROWS} outcomes: kept after its own window / taken back"
        print(f"* {verdict_peer.PACKAGE}: {said if beside else 'not there, the registry did not give it'}")
    easy = too_easy(worst)
    print(f"THE GRID IS TOO EASY: {easy}" if easy else "grid hard enough (z-test and Bayes factor err as they should)")
    return held and easy is None


def peer_tallies() -> dict[str, Tally] | None:
    """The other package's column; None: it could not be had."""
    said = verdict_peer.words(list(WORLDS))
    if said is None:
        return None
    counts = {name: Counter(words) for name, words in said.items()}
    return {name: Tally(len(said[name]), one["verified"], one["worse"]) for name, one in counts.items()}


@dataclass(frozen=True)
class Effect:
    """A real effect, the word it deserves, and the most outcomes per arm its median may take."""

    p0: float
    p1: float
    word: str
    limit: float | None = None
    fraction: float = 0.5
    burst: float | None = None


EFFECTS = (
    Effect(0.3, 0.03, "verified", 24),
    Effect(0.2, 0.02, "verified", 37),
    Effect(0.2, 0.02, "verified", 60, burst=12),
    Effect(0.2, 0.05, "verified", 60),
    Effect(0.5, 0.25, "verified"),
    Effect(0.1, 0.5, "worse", 16),
    Effect(0.1, 0.3, "worse", 46),
    Effect(0.3, 0.03, "verified", fraction=0.1),
)


def _trial(fraction: float) -> Trial:
    return ConcurrentTrial(fraction=fraction)


def run_effect(make: Callable[[float], Trial], effect: Effect, seed: int, horizon: int) -> int:
    """Outcomes of both arms together until the right word; the horizon if it never came."""
    rng, trial, bad = random.Random(seed), make(effect.fraction), False
    share = (effect.p0 - 0.02) / 0.88
    for n in range(1, horizon + 1):
        fixed = rng.random() < effect.fraction
        if effect.burst:
            bad = rng.random() >= 1 / effect.burst if bad else rng.random() < share / (1 - share) / effect.burst
            rate = (0.9 if bad else 0.02) * (effect.p1 / effect.p0 if fixed else 1)
        else:
            rate = effect.p1 if fixed else effect.p0
        word = trial.add("fixed" if fixed else "control", n, rng.random() < rate)
        if word in TERMINAL:
            return n if word == effect.word else horizon
    return horizon


def quantile(values: list[int], q: float) -> float:
    """The value below which this share lies."""
    return sorted(values)[min(len(values) - 1, int(q * len(values)))]


def print_power(runs: int, horizon: int) -> bool:
    """Medians of real effects."""
    print(f"\nA real effect, {runs} runs: median (p90) outcomes per arm at one half, of both arms otherwise")
    held = True
    for effect in EFFECTS:
        name = f"{effect.p0:g} to {effect.p1:g}" + (f", bursts {effect.burst:g}" if effect.burst else "")
        name += f", fraction {effect.fraction:g}" if effect.fraction != 0.5 else ""
        per = 2 if effect.fraction == 0.5 else 1
        line = f"{name:26}"
        for rule, make in (("label bet", _trial), ("Bayes factor", BayesFactor)):
            took = [run_effect(make, effect, seed, horizon) for seed in range(runs)]
            median = quantile(took, 0.5) / per
            line += f"  {rule} {median:6.1f} ({quantile(took, 0.9) / per:6.1f})"
            if rule == "label bet" and effect.limit is not None:
                line += f"  limit {effect.limit:3g}"
                held &= median <= effect.limit or runs < 1000
        print(line)
    return held


def print_plan(runs: int) -> bool:
    """The planner against simulated trials."""
    print(f"\nunits_needed against {runs} trials each (units of both arms)")
    held = True
    for p0, p1, f in (
        (0.3, 0.03, 0.5), (0.3, 0.03, 0.1), (0.3, 0.03, 0.9), (0.2, 0.02, 0.5), (0.2, 0.05, 0.5), (0.083, 0.01, 0.5),
        (0.083, 0.01, 0.1), (0.5, 0.25, 0.5), (0.5, 0.05, 0.5), (0.1, 0.05, 0.5), (0.1, 0.5, 0.5), (0.1, 0.3, 0.5),
        (0.1, 0.3, 0.1),
    ):  # fmt: skip
        effect = Effect(p0, p1, "verified" if p1 < p0 else "worse", fraction=f)
        took = [run_effect(_trial, effect, seed, 6000) for seed in range(runs)]
        planned, p90 = units_needed(p0, p1, f), quantile(took, 0.9)
        held &= 0.7 < planned / p90 < 1.4
        print(
            f"{p0:5g} to {p1:5g} at {f:g}: planned {planned:5d}, median {quantile(took, 0.5):5.0f}, "
            f"p90 {p90:5.0f}, p95 {quantile(took, 0.95):5.0f}, planned / p90 {planned / p90:.2f}"
        )
    return held


def unsplit_broken(runs: int) -> Callable[[int, int], bool]:
    """What counts as too many false verdicts of these."""
    return lambda verified, worse: exceeds(verified, runs, VERIFIED_LIMIT) or exceeds(worse, runs, WORSE_LIMIT)


def main() -> int:
    """Print the tables; 0 if every limit holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="the default")
    parser.add_argument("--long", action="store_true", help="1,000 runs a scenario of 400 outcomes")
    parser.add_argument("--plan", action="store_true", help="only the planner's table")
    options = parser.parse_args()
    started = monotonic()
    if options.plan:
        held = print_plan(400)
    else:
        runs, horizon = (1000, 400) if options.long else (30, 250)
        tables = (
            print_false(runs, horizon, peer=options.long),
            print_power(max(runs, 60), 1200),
            verdict_unsplit.table(runs, unsplit_broken(runs)),
            verdict_guards.table(runs),
        )
        held = all(tables)
    print(f"\n{'every limit holds' if held else 'A LIMIT DOES NOT HOLD'}; {monotonic() - started:.0f} s")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
