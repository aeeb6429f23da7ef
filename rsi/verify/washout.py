"""A while in which nobody has the fix, between two in which a part has it: whether failures fell or only moved.

Where arms share capacity a fix may take from the control arm what it gives to its own: the arms differ as much as one
likes, and all together fail as before. The rate before the canary shows that only if there were enough tasks, and if
the incident had not just begun. So a canary whose test says `verified` may have to stop for a washout and go on after
it: canary, washout, canary, so that what changes once makes one of its two sides look bad (docs/design/010-verdict.md).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from msgspec.structs import replace

from rsi.stats import MIN_CONTROL_UNITS, design_effect, in_phases, not_significantly_above
from rsi.store.trials import Before, Counts, StageCounts

MIN_BEFORE: Final = 40
"""Tasks before the canary that the arms may be compared with instead; the first failures of an incident are fewer."""
SETTLE_TASKS: Final = 20
"""The first tasks of a washout are not counted: retries from before it are still under way."""
LEAST_SETTLE_S: Final = 5.0
MOST_SETTLE_S: Final = 60.0
"""Nor are those of the first seconds of any stage: retries are not yet under way, or still, for as long as the longest
task of the fixed arm took, within these bounds. At a hundred tasks a second 20 of them are no time at all."""
SPAN_S: Final = 8.0
"""What is compared was counted for so long: what a provider counts over some seconds was seen whole."""
PHASES_SPAN_S: Final = 120.0
"""Where failures come in phases (`rsi.stats.in_phases`) it is two of a provider's minutes."""
CROWD_PER_S: Final = 5.0
"""Of those that fail in phases so many tasks a second are weighed, and the others beside them add nothing."""
MOST_GAP_S: Final = 30.0
"""A silence counts as so long: what was seen meanwhile is nothing, and clocks are set."""
ALPHA: Final = 0.01
"""One-sided, that all tasks together fail less with the fix than in the washout."""
ALPHA_BEFORE: Final = 0.02
"""The same against the rate before: asked once, and where it says no a washout asks again."""
MOST_EFFECT: Final = 2.5
"""What bursts deflate that comparison by at most: a choice between worlds that burst, which are cleared late, and
slight shortages, which must not be (`benchmarks/verdict_washout.py` has both)."""
MOST: Final = 6
"""Washouts of one test; each may err."""
GROWTH: Final = 1.25
"""Times as long as the one before it each is: what bursts hide from a short one a longer one shows."""


class Sandwich(NamedTuple):
    """A washout and the canary before and after it."""

    first: StageCounts
    without: StageCounts
    second: StageCounts


def settles(told: StageCounts, at: float, longest: float, *, without: bool) -> bool:
    """Whether what a unit of the time `at` told is not counted yet.

    Args:
        told: of its stage, until now.
        at: epoch seconds.
        longest: seconds that a task of the fixed arm took.
        without: it is a washout.
    """
    few = without and told.settling < SETTLE_TASKS
    return few or at - min(told.began, at) < min(MOST_SETTLE_S, max(LEAST_SETTLE_S, longest))


def counted(told: StageCounts, at: float) -> StageCounts:
    """The same stage after a task of `at` (epoch seconds) is counted; its numbers are for the caller to add."""
    first = not told.tasks
    gap = 0.0 if first else min(MOST_GAP_S, max(0.0, at - told.last))
    return replace(told, last=at if first else max(told.last, at), seconds=told.seconds + gap)


def by_before(counts: Counts) -> bool:
    """Whether the rate before the canary shows that the arms do not act on one another."""
    stages = _stages(counts)
    if counts.before.tasks < MIN_BEFORE or not stages or any(_off(counts, one) for one in stages):
        return False  # a washout knows better
    if counts.before.seconds < _span(counts) or not _lasted(counts, stages[-1]):
        return False
    told = _together(stages)
    return _clear(told, counts.before, counts, ALPHA_BEFORE) and _nearer(told, counts.before)


def by_washout(counts: Counts) -> bool:
    """Whether the last washout, with the canary on both sides of it, shows that."""
    found = _last(counts)
    if found is None or found.second.stage != counts.stages[-1].stage:
        return False
    without = Before(found.without.tasks, found.without.failed)
    near = _nearer(found.first, without) and _nearer(found.second, without)
    return near and _clear(_together([found.first, found.second]), without, counts, ALPHA)


def fraction(counts: Counts, share: float) -> float | None:
    """What the next stage gives to the fixed arm: 0 for a washout, `share` after one; `None`: go on as it is.

    Ask it where the test says `verified` and nothing has cleared the arms.
    """
    stages = _stages(counts)
    if not stages:
        return None
    washed = [one for one in stages if _off(counts, one)]
    if _washing(counts):
        done = _off(counts, stages[-1]) and stages[-1].tasks >= _target(counts) and _lasted(counts, stages[-1])
        return share if done else None
    if len(washed) >= MOST or _off(counts, stages[-1]) or stages[-1].control < MIN_CONTROL_UNITS / 2:
        return None
    if not _lasted(counts, stages[-1]):
        return None
    return 0.0 if not washed or stages[-1].tasks >= washed[-1].tasks else None


def says(counts: Counts) -> str:
    """How far it is, for the text of a verdict."""
    if _washing(counts):
        stages = _stages(counts)
        here = stages[-1] if stages and _off(counts, stages[-1]) else StageCounts(0)
        due_s, so_far = _span(counts), f"{here.tasks} and {here.seconds:.0f} s so far"
        return f"nobody has the fix for {_target(counts)} tasks and {due_s:g} s, to compare: {so_far}"
    washed = [one for one in _stages(counts) if _off(counts, one)]
    if not washed:
        return "whether all tasks together fail less is asked next, by a while without it"
    last, known = washed[-1], _last(counts)
    if last.seconds < _span(counts) and len(washed) < MOST:
        return "failures come in phases, and the last while without it was shorter than they are: another one follows"
    if known is None or known.without.stage != last.stage:
        return f"{last.failed} of {last.tasks} tasks failed while nobody had it, now compared with as many"
    told = _together([known.first, known.second])
    return (
        f"of all tasks {_rate(told.failed, told.tasks):.3f} failed while a part had it and "
        f"{_rate(last.failed, last.tasks):.3f} while nobody had it: failures may only have moved"
    )


def above(counts: Counts) -> str | None:
    """The control arm fails significantly more than tasks without the fix do: what is seen of the arms' interaction."""
    control, before = counts.control, counts.before
    base, when = before, "before the canary"
    if (found := _last(counts)) is not None:
        base, when = Before(found.without.tasks, found.without.failed), "while nobody had the fix"
        told = _together([found.first, found.second])
        failed, tasks = told.control_failed, told.control
    else:
        failed, tasks = control.failed, control.outcomes
    effect = _effect(counts)
    if not tasks or not_significantly_above(failed, tasks, base.failed, base.tasks, effect, effect):
        return None
    return (
        f"the control arm fails {failed / tasks:.3f} of its tasks, "
        f"significantly more than the {_rate(base.failed, base.tasks):.3f} {when}"
    )


def _stages(counts: Counts) -> list[StageCounts]:
    return [one for one in counts.told if one.stage >= counts.window]


def _span(counts: Counts) -> float:
    return PHASES_SPAN_S if _phases(counts) else SPAN_S


def _phases(counts: Counts) -> bool:
    return counts.before.phases or in_phases(counts.sampled)


def _lasted(counts: Counts, told: StageCounts) -> bool:
    return told.seconds >= _span(counts)


def _off(counts: Counts, told: StageCounts) -> bool:
    return any(stage.stage == told.stage and not stage.fraction for stage in counts.stages)


def _washing(counts: Counts) -> bool:
    return bool(counts.stages) and not counts.stages[-1].fraction


def _target(counts: Counts) -> int:
    """How many tasks the present washout takes: as many as the canary before it, then more than the last one's."""
    stages = _stages(counts)
    done = [one for one in stages if _off(counts, one) and one.stage != counts.stages[-1].stage]
    if done:
        return round(GROWTH * done[-1].tasks)
    told = [one for one in stages if not _off(counts, one)]
    return max(MIN_CONTROL_UNITS, told[-1].tasks if told else 0)


def _last(counts: Counts) -> Sandwich | None:
    """The last complete one: its second canary has as many tasks as its washout."""
    stages = _stages(counts)
    for at in range(len(stages) - 2, 0, -1):
        found = Sandwich(*stages[at - 1 : at + 2])
        enough = found.second.tasks >= found.without.tasks and all(_lasted(counts, one) for one in found)
        if _off(counts, found.without) and enough:
            return found
    return None


def _together(told: list[StageCounts]) -> StageCounts:
    sums = {
        name: sum(getattr(one, name) for one in told)
        for name in ("fixed", "fixed_failed", "control", "control_failed", "seconds")
    }
    return StageCounts(told[-1].stage, **sums)


def _clear(told: StageCounts, without: Before, counts: Counts, alpha: float) -> bool:
    """The control arm is not above those without the fix (decision 9), and all together are below them."""
    effect = _effect(counts)
    if not without.tasks or not not_significantly_above(
        told.control_failed, told.control, without.failed, without.tasks, effect, effect
    ):
        return False
    less = min(effect, MOST_EFFECT) * _crowd(told, counts)
    return not not_significantly_above(without.failed, without.tasks, told.failed, told.tasks, less, less, alpha)


def _crowd(told: StageCounts, counts: Counts) -> float:
    """How many tasks stand for one, where failures come in phases: it is time that shows them, not tasks."""
    if not _phases(counts):
        return 1.0
    return max(1.0, told.tasks / (CROWD_PER_S * max(told.seconds, SPAN_S)))


def _nearer(told: StageCounts, without: Before) -> bool:
    """Those without the fix fail rather like the control arm than like both arms together."""
    if not (told.fixed and told.control and without.tasks):
        return False
    control, whole = told.control_failed / told.control, told.failed / told.tasks
    return without.failed / without.tasks >= (control + whole) / 2


def _effect(counts: Counts) -> float:
    return design_effect([label == "1" for label in counts.labels])


def _rate(failed: int, tasks: int) -> float:
    return failed / tasks if tasks else 0.0
