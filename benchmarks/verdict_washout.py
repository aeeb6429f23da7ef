"""Where arms share a provider: how often a retry that only moves failures is verified, and one that helps is not.

    python benchmarks/verdict_washout.py              # 60 runs a world
    python benchmarks/verdict_washout.py --runs 80    # what is quoted

32 agents whose tasks are due at their times, whatever became of the one before, call one provider for half an hour
(*busy* ones ten times as often, for nine minutes, with a provider of minutes for fifteen). The fixed arm tries three times. The verdict's own test (`rsi.stats`)
and conditions (`rsi.verify.washout`) are asked every five seconds; beside them decision 9 of the design as it was first
meant: 60 control units against the rate before.
Where capacity is fixed, or the fix does nothing, all that is verified is wrong, and the limit is 4 %. Some worlds change
while the experiment runs: that must not be taken for the fix. A goal is missed where the lower end of the 95 % Wilson
interval is above its limit, or where of those that help fewer than four fifths can be verified.
"""

from __future__ import annotations

import argparse
import collections
import heapq
import itertools
import random
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from rsi.fix.facts import BEGUN_ALPHA
from rsi.stats import (
    MIN_CONTROL_UNITS,
    SAMPLED_KEPT,
    ConcurrentTrial,
    design_effect,
    in_phases,
    is_due,
    not_significantly_above,
    sampled,
)
from rsi.stats.intervals import wilson
from rsi.store.arms import ArmCounts
from rsi.store.trials import LABELS_KEPT, Before, Counts, Stage, StageCounts
from rsi.verify import washout

AGENTS, GAP_S, TRIES, SYNC_S = 32, (3.0, 11.0), 3, 5.0
WINDOW_S = 10.0
BUSY = 10  # times as many tasks
ENOUGH = 10_000.0  # more calls in a window than anybody makes
FIRST_FAILURES = 5
LIMIT, HEALED = 0.04, 0.8

Rate = Callable[[float], float]


@dataclass(frozen=True)
class World:
    """`fails`: the chance of a call, by seconds since the incident began. `capacity`: calls in `window_s`.

    `useful`: whether failures really fall; `None`: they may (what fails is not lost where there is room later).
    """

    fails: Rate = lambda _: 0.0
    capacity: Rate = lambda _: ENOUGH
    warm_s: float = 120.0
    useful: bool | None = True
    earlier: int = FIRST_FAILURES  # failures before the canary begins
    tries: int = TRIES  # of the fixed arm; 1: a fix that does nothing
    busy: int = 1  # times as many tasks
    window_s: float = WINDOW_S  # in which the provider counts calls
    lasts: float = 1.0  # of the time given


def since(begin: float, value: float, otherwise: float = 0.0) -> Rate:
    return lambda t: value if t > begin else otherwise


WORLDS: dict[str, World] = {
    "helps: .2 from now on": World(since(0, 0.2, 0.005)),
    "helps: .1 from now on": World(since(0, 0.1, 0.005)),
    "helps: .3 all the time": World(lambda _: 0.3),
    "helps: .3, known for long": World(lambda _: 0.3, earlier=60),
    "helps: .6 in 25 s of 100 s": World(lambda t: 0.6 if t > 0 and t % 100 < 25 else 0.0),
    "helps: .5 in 30 s of 120 s": World(lambda t: 0.5 if t > 0 and t % 120 < 30 else 0.0),
    "helps: .25, over after 120 s": World(lambda t: 0.25 if 0 < t < 120 else 0.0, useful=None),
    "moves: 4/5 of the demand": World(capacity=lambda _: 36, warm_s=0, useful=False),
    "moves: 2/3 of the demand": World(capacity=lambda _: 30, warm_s=0, useful=False),
    "moves: 11/12 of the demand": World(capacity=lambda _: 42, warm_s=0, useful=False),
    "moves: 4/5, known for long": World(capacity=lambda _: 36, warm_s=0, useful=False, earlier=60),
    "moves: 4/5 from now on": World(capacity=since(0, 36, ENOUGH), useful=False),
    "moves: shrinks after 50 s": World(capacity=since(50, 28, 36), warm_s=0, useful=False),
    "moves: shrinks after 100 s": World(capacity=since(100, 28, 36), warm_s=0, useful=False),
    "moves: over after 50 s": World(capacity=since(50, ENOUGH, 34), warm_s=0, useful=False),
    "moves: over after 100 s": World(capacity=since(100, ENOUGH, 34), warm_s=0, useful=False),
    "nothing: .3 all the time": World(lambda _: 0.3, useful=False, tries=1),
    "nothing: .3 from now on": World(since(0, 0.3, 0.005), useful=False, tries=1),
    "nothing: over after 60 s": World(lambda t: 0.3 if 0 < t < 60 else 0.0, useful=False, tries=1),
    "nothing: .6 in 25 s of 100 s": World(lambda t: 0.6 if t > 0 and t % 100 < 25 else 0.0, useful=False, tries=1),
    "nothing: 4/5 of the demand": World(capacity=lambda _: 36, warm_s=0, useful=False, tries=1),
    "busy, helps: .3 all the time": World(lambda _: 0.3, busy=BUSY, lasts=0.3),
    "busy, helps: .1 all the time": World(lambda _: 0.1, busy=BUSY, lasts=0.3),
    "busy, moves: 4/5": World(capacity=lambda _: 360, warm_s=0, useful=False, busy=BUSY, lasts=0.3),
    "busy, moves: 11/12": World(capacity=lambda _: 420, warm_s=0, useful=False, busy=BUSY, lasts=0.3),
    "busy, moves: 4/5, known for long": World(
        capacity=lambda _: 360, warm_s=0, useful=False, busy=BUSY, lasts=0.3, earlier=200
    ),
    "busy, moves: 4/5 from now on": World(capacity=since(0, 360, ENOUGH), useful=False, busy=BUSY, lasts=0.3),
    "busy, nothing: .3 all the time": World(lambda _: 0.3, useful=False, tries=1, busy=BUSY, lasts=0.3),
    "a minute, moves: 4/5": World(capacity=lambda _: 216, warm_s=0, useful=False, window_s=60.0),
    "a minute, moves: 11/12": World(capacity=lambda _: 252, warm_s=0, useful=False, window_s=60.0),
    "a minute, moves: 4/5, known for long": World(
        capacity=lambda _: 216, warm_s=0, useful=False, window_s=60.0, earlier=60
    ),
    "busy minute, moves: 4/5": World(
        capacity=lambda _: 2160, warm_s=0, useful=False, busy=BUSY, window_s=60.0, lasts=0.5
    ),
    "busy minute, moves: 11/12": World(
        capacity=lambda _: 2520, warm_s=0, useful=False, busy=BUSY, window_s=60.0, lasts=0.5
    ),
    "busy minute, moves: 4/5, known for long": World(
        capacity=lambda _: 2160, warm_s=0, useful=False, busy=BUSY, window_s=60.0, earlier=600, lasts=0.5
    ),
    "tight in 50 s of 100 s": World(capacity=lambda t: 30 if t > 0 and t % 100 < 50 else 60, useful=None),
}


class Provider:
    def __init__(self, world: World, rng: random.Random) -> None:
        self._world, self._rng = world, rng
        self._served: collections.deque[float] = collections.deque()

    def call(self, at: float) -> bool:
        now = at - self._world.warm_s
        while self._served and self._served[0] <= at - self._world.window_s:
            self._served.popleft()
        if len(self._served) >= self._world.capacity(now):
            return False
        self._served.append(at)
        return self._rng.random() >= self._world.fails(now)


@dataclass
class Experiment:
    """One canary: `first_form` is decision 9 without a washout."""

    before: Before
    first_form: bool
    began: float
    share: float = 0.5
    test: ConcurrentTrial = field(default_factory=ConcurrentTrial)
    counts: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        self._told: dict[int, StageCounts] = {}
        self._longest = 0.0
        self._seen: collections.Counter[str] = collections.Counter()
        self._stages: list[Stage] = []
        self._labels: list[str] = []
        self._sampled: list[str] = []
        self._sampled_at = 0.0
        self._stage(self.share)

    @property
    def stage(self) -> Stage:
        return self._stages[-1]

    def _stage(self, fraction: float) -> None:
        self._stages.append(Stage(len(self._stages) + 1, "canary", "", fraction, 0.0))

    def tell(self, unit: int, stage: Stage, fixed: bool, failed: bool, began: float, ended: float) -> None:
        arm = "fixed" if fixed else "control"
        if fixed:
            self._longest = max(self._longest, ended - began)
        told = self._told.get(stage.stage) or StageCounts(stage.stage, began=began)
        if washout.settles(told, began, self._longest, without=not stage.fraction):
            more: dict[str, float] = {"settling": told.settling + 1}
        else:
            failures = f"{arm}_failed"
            more = {arm: getattr(told, arm) + 1, failures: getattr(told, failures) + failed}
            told = washout.counted(told, began)
        self._told[stage.stage] = replace(told, **more)
        if not fixed:
            self._labels.append(str(int(failed)))
            if is_due(began, self._sampled_at):
                self._sampled.append(str(int(failed)))
                self._sampled_at = began
        if stage.fraction:
            self._seen[arm] += 1
            self._seen[f"{arm}_failed"] += failed
            self.test.add(arm, unit, failed, fraction=stage.fraction, final=True)

    def look(self) -> str | None:
        """A verdict that ends the experiment, or None; goes on to the next stage where that is due."""
        if self.test.verdict in ("worse", "no_difference"):
            return self.test.verdict
        control, failed = self._seen["control"], self._seen["control_failed"]
        if self.test.verdict != "verified" or control < MIN_CONTROL_UNITS:
            return None
        if self.first_form:
            effect = design_effect([label == "1" for label in self._labels[-LABELS_KEPT:]])
            same = not_significantly_above(failed, control, self.before.failed, self.before.tasks, effect, effect)
            return "verified" if same else None
        counts = Counts(
            stages=tuple(self._stages),
            before=self.before,
            told=tuple(told for _, told in sorted(self._told.items())),
            labels="".join(self._labels[-LABELS_KEPT:]),
            sampled="".join(self._sampled[-SAMPLED_KEPT:]),
            control=ArmCounts(units=control, outcomes=control, failed=failed),
        )
        if washout.by_before(counts) or washout.by_washout(counts):
            return "verified"
        after = washout.fraction(counts, self.share)
        if after is not None:
            self._stage(after)
        return None


@dataclass(frozen=True)
class End:
    word: str
    after_s: float
    washouts: int


class Run:
    """One world until a verdict or the end of its time."""

    def __init__(self, world: World, seed: int, lasts_s: float, *, first_form: bool) -> None:
        self._world, self._lasts, self._first_form = world, world.warm_s + lasts_s, first_form
        self._rng, self._numbers = random.Random(seed), itertools.count()
        self._provider = Provider(world, random.Random(-seed - 1))
        self._heap: list[tuple[float, int, tuple[Any, ...] | None]] = []
        self._order: list[tuple[int, Stage | None, bool, float]] = []
        self._ended: dict[int, tuple[bool, float]] = {}
        self._told = 0
        self._past: list[tuple[float, bool]] = []
        self._trial: Experiment | None = None

    def play(self) -> End:
        for _ in range(AGENTS):
            self._later(self._rng.uniform(0.0, GAP_S[1]), None)
        sync = SYNC_S
        while sync <= self._lasts:
            while self._heap[0][0] <= sync:
                self._next()
            word = self._look(sync)
            if word is not None and self._trial is not None:
                return End(word, sync - self._trial.began, self._washouts())
            sync += SYNC_S
        return End("undecided", self._lasts, self._washouts())

    def _washouts(self) -> int:
        return 0 if self._trial is None else self._trial.stage.stage // 2

    def _later(self, at: float, what: tuple[Any, ...] | None) -> None:
        heapq.heappush(self._heap, (at, next(self._numbers), what))

    def _next(self) -> None:
        at, number, what = heapq.heappop(self._heap)
        if what is None:  # a task is due
            stage = self._trial.stage if self._trial is not None else None
            fixed = stage is not None and self._rng.random() < stage.fraction
            self._order.append((number, stage, fixed, at))
            self._later(at + self._rng.uniform(*GAP_S) / self._world.busy, None)
            what = (number, fixed, 1)
        unit, fixed, attempt = what
        if self._provider.call(at):
            self._ended[unit] = False, at
        elif not fixed or attempt >= self._world.tries:
            self._ended[unit] = True, at
        else:
            self._later(at + self._rng.uniform(0.5, 1.0) * 2.0**attempt, (unit, fixed, attempt + 1))

    def _look(self, now: float) -> str | None:
        while self._told < len(self._order) and self._order[self._told][0] in self._ended:
            unit, stage, fixed, began = self._order[self._told]
            failed, ended = self._ended.pop(unit)
            self._told += 1
            if stage is None or self._trial is None:
                self._past.append((ended, failed))
            else:
                self._trial.tell(unit, stage, fixed, failed, began, ended)
        if self._trial is not None:
            return self._trial.look()
        if sum(failed for _, failed in self._past) >= self._world.earlier:
            self._trial = Experiment(self._before(), self._first_form, now)
        return None

    def _before(self) -> Before:
        """As `rsi.fix.facts.before`, in the first hour: the last few dozen alone where they fail significantly more."""
        seconds = self._past[-1][0] - self._past[0][0]
        whole = [failed for _, failed in self._past]
        recent = whole[-28:]
        phases = in_phases(sampled(self._past))
        if not not_significantly_above(sum(recent), len(recent), sum(whole), len(whole), alpha=BEGUN_ALPHA):
            return Before(len(recent), sum(recent), phases=phases)
        return Before(len(whole), sum(whole), seconds=seconds, phases=phases)


def line(name: str, world: World, ends: list[End], first: list[End]) -> tuple[str, bool]:
    verified = [end for end in ends if end.word == "verified"]
    share = len(verified) / len(ends)
    lo, hi = wilson(len(verified), len(ends))
    good = world.useful is None or (hi >= HEALED if world.useful else lo <= LIMIT)
    when = f"{statistics.median(end.after_s for end in verified):6.0f}" if verified else "     -"
    washed = statistics.mean(end.washouts for end in ends)
    other = sum(end.word in ("worse", "no_difference") for end in ends)
    said = sum(end.word == "verified" for end in first) / len(first)
    text = f"{name:36} {said:8.1%} {share:8.1%} {when} {washed:9.1f} {other:6}{'' if good else '  MISSED'}"
    return text, good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--lasts", type=float, default=1_800.0, metavar="S", help="virtual seconds of an incident")
    parser.add_argument("--only", metavar="TEXT", default="", help="worlds whose name has this in it")
    options = parser.parse_args()
    good = True
    print(f"{'verified':36} {'first':>8} {'now':>8} {'at s':>6} {'washouts':>9} {'other':>6}")
    for name, world in WORLDS.items():
        if options.only in name:
            ends, first = (
                [Run(world, seed, options.lasts * world.lasts, first_form=form).play() for seed in range(options.runs)]
                for form in (False, True)
            )
            text, fine = line(name, world, ends, first)
            good &= fine
            print(text, flush=True)
    print("every limit holds" if good else "A LIMIT IS BROKEN")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
