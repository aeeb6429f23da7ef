"""How a rule's knob can be turned in a scope: through the policy, or by a file that a person declared.

The policy wherever a live client of the source enforces the knob; else the first declared target that can say the value
(`targets:` in rsi.yaml, docs/targets.md). Where neither can, the fix is about the policy and waits for a client.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from sqlalchemy import Connection

from rsi import change
from rsi.config import Bounds, Config
from rsi.config import Target as Declared
from rsi.errors import RSIError
from rsi.fix import edit, lessons, publish, targets, value
from rsi.fix.edit import Edit
from rsi.fix.facts import Facts
from rsi.fix.layers import LAYERS, Layers
from rsi.fix.targets import TargetRefusedError
from rsi.model import Change, FixState
from rsi.redact import Redactor
from rsi.rules import FixRule
from rsi.store import clients, fixes, traffic
from rsi.store.fixes import FixRow

PERCENTILE: Final = 0.95
MIN_DURATIONS: Final = 20
"""Below this many durations a 95th percentile is a guess; the rule's default is used."""
REFUSED: Final = "targets"
"""In the evidence: why each declared target that turns the knob was of no use."""


_TRIED: Final[tuple[FixState, ...]] = ("checking", "canary")


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """A change, and what belongs into the evidence beside it."""

    change: Change
    evidence: dict[str, Any] = {}


class Ways:
    """The ways of one pass over the scopes."""

    def __init__(self, conn: Connection, config: Config, home: Path, standing: list[FixRow], now: float) -> None:
        self._conn, self._config, self._home, self._now = conn, config, home, now
        self._standing = standing
        self._tried = {(fix.change.target, fix.knob) for fix in fixes.in_states(conn, _TRIED)}
        self._redactor = Redactor(config.redact.extra)
        self._live: clients.Live | None = None

    def enforced(self, source: str, task: str, knob: str) -> bool:
        """Whether a live client can act on this knob."""
        if self._live is None:
            self._live = clients.live(self._conn, self._now, self._config.client_ttl)
        return bool(self._live.enforcers(source, task, knob))

    def route(self, source: str, task: str, knob: str) -> str:
        """Which way it is: empty for the policy, else the targets that may be tried."""
        if self.enforced(source, task, knob):
            return ""
        found = targets.covering(self._config, source, task, knob)
        return " ".join(sorted({targets.name_of(one) for one in found}))

    def fallbacks(self, source: str) -> Sequence[str]:
        """What a person listed to fall back to."""
        found = self._config.sources.get(source)
        return found.fallbacks if found else ()

    def find(self, rule: FixRule, facts: Facts, struck: Sequence[str]) -> Way | None:
        """The change that a rule means here; `None` where there is nothing that it could set."""
        if rule.change is None:
            return Way(change=change.advice(facts.source, facts.task))
        try:
            return self._find(rule, facts, struck)
        except (RSIError, ValueError, TypeError):
            return None

    def _find(self, rule: FixRule, facts: Facts, struck: Sequence[str]) -> Way | None:
        knob = rule.change.knob if rule.change else ""
        layers = Layers(self._home, self._config, facts.source, facts.task)
        refused: list[str] = []
        if not self.enforced(facts.source, facts.task, knob):
            for declared in targets.covering(self._config, facts.source, facts.task, knob):
                if knob != lessons.KNOB and (targets.name_of(declared), knob) in self._tried:
                    return None  # nothing is planned on top of a value that is being tried
                try:
                    return self._by_file(declared, rule, facts, struck, layers)
                except RSIError as error:
                    refused.append(str(error))
        return self._by_policy(rule, facts, struck, layers, refused)

    # --- through the policy

    def _by_policy(
        self, rule: FixRule, facts: Facts, struck: Sequence[str], layers: Layers, refused: list[str]
    ) -> Way | None:
        knob, spec = (rule.change.knob, rule.change.value) if rule.change else ("", None)
        scope = publish.standing_scope(self._standing, facts.source, facts.task)
        bounds = value.narrowed(self._config.fix.bounds, rule.bounds)
        evidence: dict[str, Any] = {REFUSED: refused} if refused else {}
        if knob == lessons.KNOB:
            if not self.enforced(facts.source, facts.task, knob):
                return None  # a sentence that nobody reads: advice speaks instead
            found: Any = _texts(scope, spec, facts, struck)
        else:
            found = self._resolve(knob, spec, facts, scope, bounds)
        if not found:
            return None
        if knob == "retry" and (inner := layers.tries()) > 1:
            found = {**found, "max_attempts": max(2, min(found["max_attempts"], bounds.max_attempts // inner))}
            evidence[LAYERS] = layers.evidence()
        return Way(change=change.make(facts.source, facts.task, scope, {knob: found}, bounds), evidence=evidence)

    def _resolve(self, knob: str, spec: Any, facts: Facts, scope: Mapping[str, Any], bounds: Bounds) -> Any:
        p95 = self._p95(facts) if value.needs_p95(spec) else None
        return value.resolve(
            knob, spec, value.Known(scope=scope, p95=p95, fallbacks=self.fallbacks(facts.source)), bounds
        )

    def _p95(self, facts: Facts) -> float | None:
        durations = traffic.healthy_durations(self._conn, facts.source, facts.task)
        return durations[int(PERCENTILE * len(durations))] if len(durations) >= MIN_DURATIONS else None

    # --- by a declared file

    def _by_file(self, declared: Declared, rule: FixRule, facts: Facts, struck: Sequence[str], layers: Layers) -> Way:
        knob, spec = (rule.change.knob, rule.change.value) if rule.change else ("", None)
        target = targets.resolve(targets.name_of(declared), self._home, self._config)
        if knob == lessons.KNOB:
            made = target.make({"lesson": msgspec.to_builtins(_first_lesson(declared, spec, facts, struck))})
            return self._way(target, made, {})
        layers.need(declared, knob)
        scope = layers.scope(declared)
        inner = layers.tries(declared) * _policy_tries(self._standing, facts)
        bounds = value.narrowed(self._config.fix.bounds, rule.bounds)
        room = msgspec.structs.replace(bounds, max_attempts=max(1, bounds.max_attempts // inner))
        found = self._resolve(knob, spec, facts, scope, room)
        turned = targets.turn(declared, knob, found, bounds) if found is not None else None
        if turned is None:
            raise TargetRefusedError(declared.file, declared.key, f"there is nothing that {rule.id} could set in it")
        left = _left(target, knob, turned.after)
        if not left:
            said = f"it says {knob} as far as {rule.id} goes already{layers.because(inner)}"
            raise TargetRefusedError(declared.file, declared.key, said)
        made = target.make(left)
        target.validate(made, self._config.fix.bounds)
        layers.check(declared, knob, made, inner)
        extra = {LAYERS: layers.evidence()} if inner > 1 else {}
        return self._way(target, made, extra)

    def _way(self, target: targets.Target, made: Change, extra: dict[str, Any]) -> Way:
        planned = Edit(diff=self._redactor.text(target.diff(made)), summary=target.summary(made))
        return Way(change=made, evidence={**extra, edit.EVIDENCE: msgspec.to_builtins(planned)})


def again(home: Path, config: Config, fix: FixRow) -> Way | None:
    """The same values for a file as it is now; `None` where it says them, or goes further, already.

    Raises:
        RSIError: it cannot be edited now, or was never to be.
    """
    target = targets.resolve(fix.change.target, home, config)
    if fix.knob == lessons.KNOB:
        made = target.make(fix.change.after)
        if target.state(made) != "before":
            return None
    else:
        after = _left(target, fix.knob, fix.change.after)
        if not after:
            return None
        made = target.make(after)
    values = {"diff": Redactor(config.redact.extra).text(target.diff(made)), "summary": target.summary(made)}
    return Way(change=made, evidence={edit.EVIDENCE: edit.with_edit(fix, **values)[edit.EVIDENCE]})


def recheck(home: Path, config: Config, fix: FixRow, made: Change | None = None) -> None:
    """That the change is still within its declaration and, with what the other files say now, within the bounds.

    Raises:
        RSIError: names the limit.
    """
    made = made or fix.change
    targets.resolve(made.target, home, config).validate(made, config.fix.bounds)
    declared = [
        one for one in targets.covering(config, fix.source, fix.task, fix.knob) if targets.name_of(one) == made.target
    ]
    if not declared:
        raise TargetRefusedError(edit.place(made), "", f"it is not declared for {fix.source}/{fix.task} any more")
    if fix.knob != lessons.KNOB:
        layers = Layers(home, config, fix.source, fix.task)
        layers.check(declared[0], fix.knob, made, layers.tries(declared[0]))


def _policy_tries(standing: list[FixRow], facts: Facts) -> int:
    """Tries of a retry fix that holds here: a layer around what the file says."""
    retry = publish.standing_scope(standing, facts.source, facts.task).get("retry") or {}
    return int(retry.get("max_attempts") or 1)


def _left(target: targets.Target, knob: str, after: Mapping[str, Any]) -> dict[str, Any]:
    """Those keys that have to move, the way that the knob is meant to be turned."""
    before = target.values(list(after))
    return {key: new for key, new in after.items() if targets.worth(knob, {key: before[key]}, {key: new})}


def _texts(scope: Mapping[str, Any], spec: Any, facts: Facts, struck: Sequence[str]) -> list[str]:
    """What holds, and the new lessons; none where they are there already."""
    held = [str(one) for one in scope.get(lessons.KNOB) or ()]
    new = [text for text in map(targets.render, lessons.fill(spec, facts, struck)) if text not in held]
    return [*held, *new] if new else []


def _first_lesson(declared: Declared, spec: Any, facts: Facts, struck: Sequence[str]) -> targets.Lesson:
    found = lessons.fill(spec, facts, struck)
    if not found:
        raise TargetRefusedError(declared.file, "", "no lesson of ours fits what was counted here")
    return found[0]
