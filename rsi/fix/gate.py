"""The rails between a plan and what runs. Each says in one sentence why not; all that say so are kept on the fix.

Pure: what the rails look at is gathered once per cycle in `Surroundings`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from rsi import change, clock
from rsi.config import Config
from rsi.errors import InvalidInputError
from rsi.fix import apply, checked, edit, records
from rsi.fix.evidence import LOOPS, PROCESSES
from rsi.fix.layers import LAYERS
from rsi.fix.rail import Rail
from rsi.fix.ways import REFUSED
from rsi.model import PROCESS_KNOBS, SPLITTABLE_KNOBS
from rsi.stats import NEVER
from rsi.store.fixes import FixRow, Record

ANY: Final = "*"
SETTLE_S: Final = 60.0
"""A file is edited by itself only so long after the proposal: a client polls every 30 s, and may enforce the knob."""
STORM_LOOK_S: Final = 10.0
"""A fix starts by itself only so long after it was planned where there are sources enough for a storm: a task takes
seconds, and three of them have to fail at the others."""
_MORE: Final = frozenset({"retry", "timeout_s", "max_output_tokens", "max_concurrency"})
"""Knobs that let a run have more of something."""


def no_files(_fix: FixRow) -> Sequence[Rail]:
    """What files say where nobody looked."""
    return ()


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What the rails look at besides the fix, as of one moment.

    `enforcers(source, task, knob)` is the number of live clients that can act; `rules` are the loaded ones by id;
    `records` how each rule's fixes ended; `experiments` those whose trial is open, canary or holdout;
    `scope(source, task)` the values that every unit there has now. `cooling` are fixes that ended badly a short while
    ago, `checking` is the one that is being checked, and `isolation` says why no check can be run (`None`: it can).
    `files(fix)` is what the file of a fix says against it, `lacking(fix)` what is missing to compare it with untouched
    sources (`None`: nothing).
    """

    config: Config
    paused: bool
    known_sources: int
    unhealthy_sources: int
    applied_last_hour: int
    enforcers: Callable[[str, str, str], int]
    rules: Mapping[str, Any]
    records: Mapping[str, Record]
    experiments: Sequence[FixRow]
    scope: Callable[[str, str], Mapping[str, Any]]
    now: float = 0.0
    cooling: Sequence[FixRow] = ()
    checking: FixRow | None = None
    isolation: str | None = None
    files: Callable[[FixRow], Sequence[Rail]] = no_files
    lacking: Callable[[FixRow], str | None] = lambda _: "nobody has looked for untouched sources"


def rails(fix: FixRow, around: Surroundings) -> list[Rail]:
    """Every rail that says no to starting this fix now; none: start it."""
    if change.is_advice(fix.change):
        return [apply.ADVICE_RAIL]
    said = apply.approval(fix)
    found = (rail for rule in _RAILS for rail in rule(fix, around))
    if said is None:
        return list(found)
    return [rail for rail in found if not rail.yields and not (said["now"] and rail.at_once)]


def overlaps(a: FixRow, b: FixRow) -> bool:
    """Whether two fixes turn the same knob for some of the same calls, or the same key of a file."""
    if a.knob == b.knob == "lessons" and edit.is_file(a) and edit.is_file(b):
        return False  # they stand side by side
    return (a.knob == b.knob and same_scope(a, b)) or edit.meets(a.change, b.change)


def same_scope(a: FixRow, b: FixRow) -> bool:
    """Whether two fixes are about some of the same calls."""
    return (a.source == b.source or ANY in (a.source, b.source)) and (a.task == b.task or ANY in (a.task, b.task))


def person_set(policy: Sequence[Mapping[str, Any]], source: str, task: str, knob: str) -> bool:
    """Whether `rsi.yaml` sets this knob for these calls."""
    return any(
        scope.get(knob) is not None
        and scope.get("source", ANY) in (ANY, source)
        and scope.get("task", ANY) in (ANY, task)
        for scope in policy
    )


def _auto(_fix: FixRow, around: Surroundings) -> Iterator[Rail]:
    if not around.config.fix.auto:
        yield Rail("auto", "fix.auto is false: everything is a proposal", yields=True, at_once=True)


def _knob(fix: FixRow, around: Surroundings) -> Iterator[Rail]:
    if fix.knob not in around.config.fix.safe:
        yield Rail("knob", f"{fix.knob} is not in fix.safe", yields=True, at_once=True)


def _rule(fix: FixRow, around: Surroundings) -> Iterator[Rail]:
    rule = around.rules.get(fix.rule)
    if rule is None:
        yield Rail("rule", f"the rule {fix.rule} is not loaded any more", yields=True, at_once=True)
        return
    said = records.standing(rule, around.records.get(fix.rule, Record()))
    if said.rail is not None:
        yield Rail(said.rail, said.sentence, yields=True, at_once=True)
    if not rule.safe:
        yield Rail("safe", f"{fix.rule} does not call this change safe", yields=True, at_once=True)


def _paused(_fix: FixRow, around: Surroundings) -> Iterator[Rail]:
    if around.paused:
        yield Rail("paused", "rsi is paused; `rsi resume` goes on")


def _per_hour(_fix: FixRow, around: Surroundings) -> Iterator[Rail]:
    limit = around.config.fix.per_hour
    if around.applied_last_hour >= limit:
        sentence = f"{around.applied_last_hour} fixes were applied within the hour, fix.per_hour is {limit}"
        yield Rail("per_hour", sentence, yields=True, at_once=True)


def _storm(_fix: FixRow, around: Surroundings) -> Iterator[Rail]:
    fix = around.config.fix
    known, bad = around.known_sources, around.unhealthy_sources
    if known >= fix.storm_sources and bad > fix.storm_share * known:
        sentence = f"storm: {bad} of {known} known sources are unhealthy, above {fix.storm_share:.0%}"
        yield Rail("storm", sentence, at_once=True)


def _alone(fix: FixRow, around: Surroundings) -> Iterator[Rail]:
    """What strikes many strikes one of them first: the storm guard needs a moment to see the others."""
    ripe = fix.created + STORM_LOOK_S
    if around.known_sources >= around.config.fix.storm_sources and around.now < ripe:
        sentence = f"whether other sources fail as well is watched until {clock.iso(ripe)}"
        yield Rail("alone", sentence, yields=True, at_once=True)


def _file(fix: FixRow, around: Surroundings) -> Iterator[Rail]:
    if not edit.is_file(fix):
        return
    yield from around.files(fix)
    if around.enforcers(fix.source, fix.task, fix.knob):
        sentence = f"a live client of {fix.source}/{fix.task} enforces {fix.knob} by now"
        yield Rail("way", f"{sentence}: it is planned again through the policy when the next failures come in")
    said = apply.approval(fix)
    if said is not None and said.get("change") != edit.decided(fix.change):
        sentence = f"{edit.place(fix.change)} says something else than when this was approved"
        yield Rail("moved", f"{sentence}; look at it again, then `rsi approve {fix.ref}`")


def _whole(fix: FixRow, around: Surroundings) -> Iterator[Rail]:
    """A file is for everyone who reads it: what it does is held against sources that do not."""
    if not edit.is_file(fix):
        return
    if (missing := around.lacking(fix)) is not None:
        sentence = f"{missing}: {edit.place(fix.change)} cannot be compared with anything, so it would stay undecided"
        yield Rail("untouched", sentence, yields=True, at_once=True)
    ripe = fix.created + SETTLE_S
    if around.now < ripe:
        sentence = f"a client that enforces {fix.knob} may still announce itself; by itself not before"
        yield Rail("settle", f"{sentence} {clock.iso(ripe)}", yields=True, at_once=True)


def _loops(fix: FixRow, around: Surroundings) -> Iterator[Rail]:
    """A limit is never raised to hide a loop."""
    loops = fix.evidence.get(LOOPS, 0)
    if fix.knob in _MORE and loops >= around.config.fix.min_failures and loops * 2 > fix.evidence.get("failures", 0):
        sentence = f"{loops} runs here went round in circles (no_progress, budget_exceeded)"
        yield Rail("loop", f"{sentence}: more {fix.knob} would hide that", yields=True, at_once=True)


def _client(fix: FixRow, around: Surroundings) -> Iterator[Rail]:
    if not edit.is_file(fix) and not around.enforcers(fix.source, fix.task, fix.knob):
        hours = around.config.client_ttl / 3600
        yield Rail(
            "client",
            f"no live client of {fix.source}/{fix.task} enforces {fix.knob} (none seen within {hours:g} h); "
            + ("declare the function idempotent, or " if fix.knob == "retry" else "")
            + "report through rsi.guard or an adapter"
            + "".join(f"; not by file either: {why}" for why in fix.evidence.get(REFUSED, ())),
        )


def _idempotent(fix: FixRow, around: Surroundings) -> Iterator[Rail]:
    rule = around.rules.get(fix.rule)
    declared = around.config.sources.get(fix.source)
    if (
        rule is not None
        and rule.when.idempotent == "required"
        and not (declared and fix.task in declared.idempotent)
        and not around.enforcers(fix.source, fix.task, "retry")
    ):
        sentence = f"{fix.source}/{fix.task} is not declared idempotent, and this repeats calls"
        yield Rail(
            "idempotent", f"{sentence}; list it under sources.{fix.source}.idempotent", yields=True, at_once=True
        )


def _splittable(fix: FixRow, _around: Surroundings) -> Iterator[Rail]:
    if fix.knob not in SPLITTABLE_KNOBS | PROCESS_KNOBS and not edit.is_file(fix):
        sentence = f"{fix.knob} cannot be given to some units and withheld from others, so nothing could be verified"
        yield Rail("split", f"{sentence}; `rsi approve --now {fix.ref}` applies it unverified", at_once=True)


def _person(fix: FixRow, around: Surroundings) -> Iterator[Rail]:
    if person_set(around.config.policy, fix.source, fix.task, fix.knob):
        yield Rail("person", f"a person set {fix.knob} for {fix.source}/{fix.task} in rsi.yaml: that stays")


def _queued(fix: FixRow, around: Surroundings) -> Iterator[Rail]:
    for other in around.experiments:
        if other.id != fix.id and overlaps(fix, other):
            now = {"canary": "is being tried", "checking": "is being written"}.get(other.state, "has its holdout")
            yield Rail("queued", f"queued: {other.ref} {now} on {fix.knob} in the same scope")


def _evidence(fix: FixRow, around: Surroundings) -> Iterator[Rail]:
    if not fix.evidence.get("live"):
        sentence = "only old outcomes (backfill) show this problem: nothing is tried on what happened long ago"
        yield Rail("backfill", sentence, yields=True, at_once=True)
        return
    if not fix.evidence.get("tasks"):
        sentence = f"no task of {fix.source}/{fix.task} was seen to end, so nothing could be verified"
        yield Rail("exposure", sentence, yields=True, at_once=True)
        return
    if edit.is_file(fix):
        return  # not split by unit: the figures are about arms (`_whole`)
    yield from _time(fix, around)


def _time(fix: FixRow, around: Surroundings) -> Iterator[Rail]:
    """Whether a verdict can be had in time. A process is one unit, so for what it shares they are counted."""
    processes, units = fix.evidence.get(PROCESSES), fix.evidence.get("units_expected")
    if processes and not processes["new_a_day"] and processes["live"] < (units or 0):
        sentence = f"a verdict needs about {units} client processes; {processes['live']} are live and none comes anew"
        yield Rail("processes", f"{sentence}: it would stay undecided", yields=True, at_once=True)
        return
    days = fix.evidence.get("days_expected")
    limit = around.config.verify.max_days
    if units is not None and units >= NEVER:
        sentence = f"what {fix.rule} hopes for is too small an effect to be seen: it would stay undecided"
        yield Rail("days", sentence, yields=True, at_once=True)
        return
    if days is not None and days > limit:
        needs = f"needs about {units} {'client processes' if processes else 'units'}, " if units else "takes "
        sentence = f"a verdict {needs}{days:.0f} days at present traffic; verify.max_days is {limit:g}"
        yield Rail("days", sentence, yields=True, at_once=True)


def _cooldown(fix: FixRow, around: Surroundings) -> Iterator[Rail]:
    """After a change that did not do well its scope is left alone for a while: what it did may not be over."""
    here = [other for other in around.cooling if other.id != fix.id and same_scope(fix, other)]
    if here:
        last = max(here, key=lambda other: other.updated)
        until = last.updated + around.config.fix.cooldown
        if around.now < until:
            ended = f"{last.ref} in the same scope ended {last.state.replace('_', ' ')}"
            sentence = f"cool-down: {ended}; nothing is started there before {clock.iso(until)} (fix.cooldown)"
            yield Rail("cooldown", sentence, yields=True, at_once=True)


def _isolation(fix: FixRow, around: Surroundings) -> Iterator[Rail]:
    """Design, decision 10: what would have to be checked, and cannot be, is proposed."""
    if around.isolation is not None and checked.due(fix, around.config.verify, around.now):
        yield Rail("isolation", f"not checked: {around.isolation}", yields=True, at_once=True)


def _check(fix: FixRow, around: Surroundings) -> Iterator[Rail]:
    """What the check said. A person who has read it may start the fix all the same, but never one that broke."""
    verify = around.config.verify
    if not checked.wanted(verify):
        return
    found = checked.counts(fix, verify, around.now)
    if found is None:
        other = around.checking
        if other is not None and other.id != fix.id:
            yield Rail("checking", f"queued: {other.ref} is being checked, one at a time")
    elif found.outcome == "broke":
        yield Rail("check", f"it broke what worked: {checked.sentence(found)}")
    elif found.outcome not in checked.OPEN_DOOR:
        yield Rail("check", f"not checked: {checked.sentence(found)}", yields=True, at_once=True)


def _prototype(fix: FixRow, around: Surroundings) -> Iterator[Rail]:
    """The failures that a rule decided must be reason enough without those that only resemble a category."""
    likely = int(fix.evidence.get("by_prototype", 0))
    rule = around.rules.get(fix.rule)
    least = max(around.config.fix.min_failures, rule.when.min_failures if rule is not None else 1)
    if likely and fix.evidence.get("failures", 0) - likely < least:
        share = f"{likely} of {fix.evidence.get('failures', 0)} failures"
        sentence = f"{share} are {fix.category} by prototype, not by a rule"
        sentence += ": resemblance alone starts nothing, and agents decide by rules; write a rule for them"
        yield Rail("prototype", sentence, yields=True, at_once=True)


def _bounds(fix: FixRow, around: Surroundings) -> Iterator[Rail]:
    if edit.is_file(fix):
        return  # held against its declaration by the file's own rail
    bounds = around.config.fix.bounds
    inner = math.prod(fix.evidence.get(LAYERS, {}).values()) if fix.knob == "retry" else 1
    try:
        change.validate(fix.change, bounds)
        with_it = change.apply(around.scope(fix.source, fix.task), fix.change)
        change.validate_total(with_it, bounds, inner_attempts=inner)
    except InvalidInputError as error:
        yield Rail("bounds", str(error))


_RAILS: Final[tuple[Callable[[FixRow, Surroundings], Iterator[Rail]], ...]] = (
    _paused, _bounds, _file, _person, _client, _idempotent, _splittable, _whole, _loops,
    _auto, _knob, _rule, _prototype, _evidence, _queued,
    _storm, _alone, _per_hour, _cooldown, _isolation, _check,
)  # fmt: skip
