"""Merging: what the scopes and experiments of a policy come to for one unit (contract §4)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final

from rsi.model import KNOBS, PROCESS_KNOBS, Arm, Experiment, FixRef, Policy, Scope
from rsi.policy.arms import arm
from rsi.policy.expiry import decay
from rsi.policy.knobs import clean
from rsi.policy.patch import merge_patch
from rsi.policy.tasks import mask_task

_ANY: Final = "*"
_PERSON: Final = {"state": "person"}


@dataclass(frozen=True, slots=True)
class Effective:
    """What holds for one unit.

    `scope` maps a knob to its value, within bounds. `origin` says per knob who set it: `{fix, state, arm?}`.
    `fixes` are all experiments the unit is in, in either arm. `problems` names what was left out.
    """

    scope: Mapping[str, Any] = field(default_factory=dict)
    fixes: tuple[FixRef, ...] = ()
    origin: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Process:
    """A client process: the unit where a knob holds for all of its calls. `held` are its arms, for as long as it lives.

    `id` is the client's id; outcomes name it as `metadata.client`.
    """

    id: str
    held: dict[tuple[str, str], FixRef] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Setting:
    """One scope's word on one knob. `rank` orders: a person before a fix, then the more exact scope."""

    rank: tuple[bool, int]
    value: Any
    origin: Mapping[str, Any]

    @property
    def person(self) -> bool:
        return self.rank[0]


@dataclass(frozen=True, slots=True)
class _Trial:
    experiment: Experiment
    enforced: bool

    @property
    def of_process(self) -> bool:
        """Whether its arm is drawn for the client process: what it tries cannot hold for one call and not the next."""
        return not PROCESS_KNOBS.isdisjoint(self.experiment.knobs)

    def enter(self, unit: str, held: MutableMapping[tuple[str, str], FixRef]) -> FixRef:
        it = self.experiment
        before = held.get((it.fix, it.state))
        if before is not None and before.enforced >= self.enforced:
            return before
        if before is None:
            ref = FixRef(it.fix, arm(it.salt, unit, it.fraction), it.fraction, it.stage, self.enforced)
        else:
            ref = FixRef(before.id, before.arm, before.f, before.stage, self.enforced)
        held[it.fix, it.state] = ref
        return ref


def effective(  # noqa: PLR0917 - the contract's own signature
    policy: Policy,
    source: str,
    task: str,
    unit: str,
    enforces: Collection[str],
    now: float,
    process: Process | None = None,
) -> Effective:
    """What `policy` says at `now` (epoch seconds) to `unit` doing `task` in a client that acts on `enforces`.

    Exact (source, task) over (source, *) over (*, task) over (*, *), knob by knob; what a person set wins over any fix.
    Whether an experiment is *enforced* is decided before the arm is known, alike in both arms: the client acts on all
    of its knobs, none of them was set by a person, and the patch is well-formed. Without a `process` nobody is in an
    experiment whose unit is one. Never raises.
    """
    return Prepared(decay(policy, now), source, (task,), enforces).for_unit(unit, process=process)


class Prepared:
    """A policy resolved for (source, tasks) once, so that a unit costs a hash per experiment.

    Args:
        policy: already decayed.
        source: which agent.
        tasks: from the outermost run to the call at hand; the later is the more exact.
        enforces: knobs that the client can act on for this call.
    """

    def __init__(self, policy: Policy, source: str, tasks: tuple[str, ...], enforces: Collection[str]) -> None:
        self._source, self._tasks, self._problems = source, tasks, list[str]()
        self._settings = self._gather(policy.scopes)
        base = self._merge(())
        found = [(rank, it) for it in policy.experiments if (rank := self._rank(it.source, it.task)) is not None]
        found.sort(key=lambda pair: pair[0])
        self._trials = [_Trial(it, self._can_act(it, base.scope, frozenset(enforces))) for _, it in found]
        self._known: dict[tuple[Arm, ...], Effective] = {}
        self.plain: Effective | None = None if self._trials else self._variant(())

    @property
    def problems(self) -> tuple[str, ...]:
        """What was left out of the policy here, one sentence each."""
        return tuple(dict.fromkeys(self._problems))

    def for_unit(
        self,
        unit: str,
        held: MutableMapping[tuple[str, str], FixRef] | None = None,
        process: Process | None = None,
    ) -> Effective:
        """What holds for `unit` in a client `process`.

        `held` ((fix, state) → the reference the unit got when it started) keeps a long unit in its arm; new ones are
        added to it. A client that can act replaces the word of one that could not; the arm is the same.
        """
        if self.plain is not None:
            return self.plain
        own = held if held is not None else {}
        refs = [self._enter(trial, unit, own, process) for trial in self._trials]
        variant = self._variant(tuple(ref.arm if ref else "control" for ref in refs))
        return Effective(variant.scope, tuple(filter(None, refs)), variant.origin, variant.problems)

    @staticmethod
    def _enter(
        trial: _Trial, unit: str, held: MutableMapping[tuple[str, str], FixRef], process: Process | None
    ) -> FixRef | None:
        """The unit's arm, or its process's; `None` where nobody says which process it is: as without the fix."""
        if not trial.of_process:
            return trial.enter(unit, held)
        return trial.enter(process.id, process.held) if process is not None else None

    def _variant(self, arms: tuple[Arm, ...]) -> Effective:
        if arms not in self._known:
            self._known[arms] = self._merge(arms)
        return self._known[arms]

    def _rank(self, source: str, task: str) -> int | None:
        task = mask_task(task)  # a person writes the name that the code has: `order-123`
        if source not in (_ANY, self._source) or (task != _ANY and task not in self._tasks):
            return None
        exact = 0 if task == _ANY else len(self._tasks) - self._tasks[::-1].index(task)
        return exact + (len(self._tasks) + 1) * (source != _ANY)

    def _gather(self, scopes: list[Scope]) -> dict[str, list[_Setting]]:
        """Per knob, what every matching scope says, the strongest last."""
        found: dict[str, list[_Setting]] = {}
        for scope in scopes:
            rank = self._rank(scope.source, scope.task)
            for knob, value in _said(scope) if rank is not None else ():
                origin = scope.origin.get(knob, _PERSON)
                value_in_bounds = self._clean(knob, value)
                if value_in_bounds is not None and rank is not None:
                    strength = (origin.get("state", "person") == "person", rank)
                    found.setdefault(knob, []).append(_Setting(strength, value_in_bounds, origin))
        for settings in found.values():
            settings.sort(key=lambda it: it.rank)
        return found

    def _clean(self, knob: str, value: Any) -> Any | None:
        cleaned, notes = clean(knob, value)
        self._problems.extend(notes)
        return cleaned

    def _can_act(self, it: Experiment, base: Mapping[str, Any], enforces: frozenset[str]) -> bool:
        strange = [knob for knob in it.patch if knob not in it.knobs]
        if strange:
            self._problems.append(f"{it.fix}: the patch changes {', '.join(strange)} beyond its knobs; ignored")
        if not it.knobs or not enforces.issuperset(it.knobs):
            return False
        if any(self._settings[knob][-1].person for knob in it.knobs if knob in self._settings):
            return False
        patched = merge_patch(dict(base), {knob: it.patch.get(knob) for knob in it.knobs if knob in it.patch})
        return all(self._clean(knob, patched[knob]) is not None for knob in it.knobs if knob in patched)

    def _merge(self, arms: tuple[Arm, ...]) -> Effective:
        """The scope of a unit whose arms are `arms`, in the order of the trials."""
        entered = list(zip(self._trials, arms, strict=True)) if arms else []
        withheld = {trial.experiment.fix for trial, its in entered if its == "control"}
        scope: dict[str, Any] = {}
        origin: dict[str, Mapping[str, Any]] = {}
        for knob, settings in self._settings.items():
            left = [it for it in settings if it.origin.get("fix") not in withheld or it.person]
            if left:
                scope[knob], origin[knob] = left[-1].value, left[-1].origin
        for trial, its in entered:
            if its == "fixed" and trial.enforced:
                scope, origin = _apply(trial.experiment, scope, origin)
        return Effective(scope, (), origin, self.problems)


def _said(scope: Scope) -> Iterator[tuple[str, Any]]:
    return ((knob, value) for knob in KNOBS if (value := getattr(scope, knob)) is not None)


def _apply(
    it: Experiment, scope: dict[str, Any], origin: dict[str, Mapping[str, Any]]
) -> tuple[dict[str, Any], dict[str, Mapping[str, Any]]]:
    patched = merge_patch(scope, {knob: it.patch[knob] for knob in it.knobs if knob in it.patch})
    in_bounds = {knob: clean(knob, value)[0] if knob in it.knobs else value for knob, value in patched.items()}
    by = {"fix": it.fix, "state": it.state, "arm": "fixed"}
    kept = {knob: said for knob, said in origin.items() if knob in in_bounds}
    return (
        {knob: value for knob, value in in_bounds.items() if value is not None},
        kept | {knob: by for knob in it.knobs if knob in in_bounds},
    )
