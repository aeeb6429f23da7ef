"""From issues to plans: which rule speaks in which scope, with what evidence. Reads rollups, never outcomes."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from sqlalchemy import Connection

from rsi.config import Config
from rsi.fix import states
from rsi.fix.evidence import Evidence
from rsi.fix.facts import Facts, Scope, Struck, count, gather, hour_of, put_to_rest
from rsi.fix.ways import Ways
from rsi.rules import FixFacts, FixRule, match_fix
from rsi.store import fixes, issue_rows, rollups
from rsi.store.fixes import NewFix

REFRESH_S: Final = 60.0
"""A proposal's evidence is counted again at most this often."""
WAITING: Final = ("proposed", "approved")
CHANGED: Final = "rule changed"


class Plan(msgspec.Struct, frozen=True):
    """New fixes, known ones whose evidence moved, and waiting ones whose rule says something else by now."""

    new: list[NewFix] = []
    refreshed: list[tuple[int, dict[str, Any]]] = []
    outdated: dict[int, str] = {}  # by the fix: what takes its place
    looked_at: dict[tuple[str, str], int] = {}  # failures counted per scope


def plan(
    conn: Connection,
    rules: Sequence[FixRule],
    config: Config,
    touched: Collection[int],
    now: float,
    *,
    home: Path,
    scopes: Collection[Scope] | None = None,
) -> Plan:
    """What the rules say about the issues that were touched.

    Args:
        conn: a snapshot with the newest counters.
        rules: loaded ones, in any order.
        config: what a person allows.
        touched: issues that have changed.
        now: epoch seconds.
        home: where declared files are.
        scopes: look at these (source, task) only.
    """
    rows = {row.id: row for row in issue_rows.load(conn, touched).values() if not put_to_rest(row)}
    if not rows or not rules:
        return Plan()
    planner = _Planner(conn, rules, config, home, now)
    looked_at: dict[Scope, int] = {}
    inside: list[Facts] = []
    for struck in gather(conn, rows, now):
        here = (struck.source, struck.task)
        if (scopes is None or here in scopes) and planner.has_a_say(struck):
            facts = count(conn, struck)
            looked_at[here] = looked_at.get(here, 0) + sum(facts.failures.values())
            if facts.tasks:
                planner.consider(facts)
            else:
                inside.append(facts)
    for facts in inside:  # steps, whose tasks may have got by now what helps them too
        planner.consider(facts)
    return Plan(planner.new, planner.refreshed, planner.outdated, looked_at)


class _Planner:
    """One pass over the scopes."""

    def __init__(self, conn: Connection, rules: Sequence[FixRule], config: Config, home: Path, now: float) -> None:
        self._conn = conn
        self._config = config
        self._now = now
        # A user's rule comes before a built-in one for the same knob; then the higher precedence.
        self._rules = sorted(rules, key=lambda rule: (rule.origin != "user", -rule.precedence, rule.id))
        self._by_id = {rule.id: rule for rule in rules}
        self._said = {rule.id: _said(rule) for rule in rules}
        self._known = fixes.known(conn)
        self._standing = fixes.in_states(conn, fixes.STANDING)
        self._ways = Ways(conn, config, home, self._standing, now)
        self._proofs = Evidence(conn, config, now)
        self.new: list[NewFix] = []
        self.refreshed: list[tuple[int, dict[str, Any]]] = []
        self.outdated: dict[int, str] = {}
        self._around: list[tuple[str, str, str, frozenset[str]]] | None = None

    def _dedupe(self, rule: FixRule, source: str, task: str) -> str:
        """A rule's value for a scope, and the way to turn it: another way is another thing."""
        route = self._ways.route(source, task, rule.change.knob) if rule.change else ""
        return dedupe(rule.id, source, task, *self._said[rule.id], *([route] if route else []))

    def has_a_say(self, struck: Struck) -> bool:
        """Whether counting is worth it: some rule for what was touched here has not been settled a moment ago."""
        touched = {category for category, _ in struck.issues.values()}
        for rule in self._rules:
            if not touched.isdisjoint(rule.categories):
                known = self._known.get(self._dedupe(rule, struck.source, struck.task))
                if known is None or (known.state in WAITING and self._now - known.updated >= REFRESH_S):
                    return True
        return False

    def consider(self, facts: Facts) -> None:
        """Every knob gets the first rule that speaks and has not failed here before; advice is for what is left."""
        here = [known for known in self._known.values() if (known.source, known.task) == (facts.source, facts.task)]
        here = [known for known in here if not self._outdated(known)]
        taken = {known.knob for known in here if known.knob and known.state in fixes.OPEN}
        covered: set[str] = set()
        for rule in self._rules:
            if rule.change is not None:
                covered |= self._consider_change(rule, rule.change.knob, facts, taken)
        for rule in self._rules:
            if rule.change is None:
                covered |= self._consider_advice(rule, facts, covered)

    def _consider_change(self, rule: FixRule, knob: str, facts: Facts, taken: set[str]) -> set[str]:
        """The categories that this rule has something under way for."""
        struck = _struck(rule, facts)
        if not struck:
            return set()
        known = self._known.get(self._dedupe(rule, facts.source, facts.task))
        if (outer := self._from_outside(knob, facts, struck)) and (known is None or known.state == "proposed"):
            if known is not None:
                self.outdated[known.id] = outer
            return set(struck)
        if known is not None:
            self._refresh(known, rule, facts, struck)
            return set(struck) if known.state not in states.ENDED else set()
        if knob in taken or self._held(rule, knob, facts) or not self._speaks(rule, facts, struck):
            return set()
        new = self._fix(rule, facts, struck)
        if new is None:
            return set()
        self.new.append(new)
        taken.add(knob)
        return set(struck)

    def _consider_advice(self, rule: FixRule, facts: Facts, covered: set[str]) -> set[str]:
        """The same for advice, which is withdrawn once something can be changed."""
        struck = [name for name in _struck(rule, facts) if name not in covered]
        known = self._known.get(self._dedupe(rule, facts.source, facts.task))
        if known is not None and known.state in WAITING and not covered.isdisjoint(rule.categories) and not struck:
            self.outdated[known.id] = CHANGED
        elif known is not None and struck:
            self._refresh(known, rule, facts, struck)
        elif struck and self._speaks(rule, facts, struck):
            new = self._fix(rule, facts, struck)
            if new is not None:
                self.new.append(new)
        return set(struck)

    def _outdated(self, known: fixes.Known) -> bool:
        """Waiting for a value that its rule does not say any more."""
        rule = self._by_id.get(known.rule)
        if rule is None or known.state not in WAITING or known.dedupe == self._dedupe(rule, known.source, known.task):
            return False
        self.outdated[known.id] = CHANGED
        return True

    def _held(self, rule: FixRule, knob: str, facts: Facts) -> bool:
        """A fix that stands here on the same knob for the same categories has done what could be done."""
        return any(
            (fix.source, fix.task, fix.knob) == (facts.source, facts.task, knob)
            and not set(rule.categories).isdisjoint(fix.evidence.get("rule_categories", [fix.category]))
            for fix in self._standing
        )

    def _from_outside(self, knob: str, facts: Facts, struck: Sequence[str]) -> str:
        """Steps that nobody could act on, while a task of their source has this knob turned for what strikes them.

        Returns:
            what does it; empty: nothing.
        """
        if facts.tasks or self._ways.enforced(facts.source, facts.task, knob):
            return ""
        if self._around is None:
            rows = fixes.in_states(self._conn, (*fixes.OPEN, *fixes.STANDING))
            self._around = [(row.source, row.knob, row.ref, _about(row)) for row in rows if row.evidence.get("tasks")]
        new = [(one.source, one.knob, one.title, _about(one)) for one in self.new if one.evidence.get("tasks")]
        for source, turned, name, categories in (*self._around, *new):
            if (source, turned) == (facts.source, knob) and categories.issuperset(struck):
                return name
        return ""

    def _speaks(self, rule: FixRule, facts: Facts, struck: Sequence[str]) -> bool:
        """The rule's own conditions over all its categories together; for a change `fix.min_failures` besides."""
        tasks, failures = self._within(rule, facts, struck)
        if rule.change is not None and failures < self._config.fix.min_failures:
            return False
        found = FixFacts(
            category=struck[0],
            failures=failures,
            tasks=tasks,
            rate=min(1.0, failures / tasks) if tasks else 1.0,
            idempotent=self._idempotent(facts),
            fallbacks=tuple(self._ways.fallbacks(facts.source)),
            source=facts.source,
            task=facts.task,
        )
        return bool(match_fix(rule, found))

    def _within(self, rule: FixRule, facts: Facts, struck: Sequence[str]) -> tuple[int, int]:
        """Tasks and failures in the rule's own window, where that is shorter than the one of the facts."""
        since = hour_of(facts.until - rule.when.window_s)
        if since <= facts.since_hour:
            return facts.tasks, sum(facts.failures[name] for name in struck)

        recent = [one for one in facts.counted if one.hour >= since]
        tasks = sum(one.n for one in recent if one.category == rollups.ALL)
        return tasks, sum(one.failed for one in recent if one.category in struck)

    def _fix(self, rule: FixRule, facts: Facts, struck: Sequence[str]) -> NewFix | None:
        way = self._ways.find(rule, facts, struck)
        if way is None:
            return None
        by_issue = {issue: n for issue, (category, n) in facts.issues.items() if category in struck}
        if not by_issue:
            return None
        issue = max(by_issue, key=lambda one: (by_issue[one], -one))
        return NewFix(
            dedupe=self._dedupe(rule, facts.source, facts.task),
            issue=issue,
            rule=rule.id,
            category=facts.issues[issue][0],
            source=facts.source,
            task=facts.task,
            knob=rule.change.knob if rule.change else "",
            title=rule.title,
            safe=rule.safe,
            change=way.change,
            evidence={**self._proofs.of(rule, facts, struck, by_issue), **way.evidence},
        )

    def _refresh(self, known: fixes.Known, rule: FixRule, facts: Facts, struck: Sequence[str]) -> None:
        if known.state not in WAITING or self._now - known.updated < REFRESH_S:
            return
        row = fixes.get(self._conn, known.id)
        if row.evidence.get("live") and not facts.live:
            return
        held = {int(ref.removeprefix("i")): n for ref, n in row.evidence.get("issues", {}).items()}
        now_seen = {issue: n for issue, (category, n) in facts.issues.items() if category in struck}
        evidence = {**row.evidence, **self._proofs.of(rule, facts, struck, held | now_seen)}
        if evidence != row.evidence:
            self.refreshed.append((known.id, evidence))

    def _idempotent(self, facts: Facts) -> bool:
        """Whether the task may be repeated: a person said so, or a client offers `retry` for it."""
        declared = self._config.sources.get(facts.source)
        if declared and facts.task in declared.idempotent:
            return True
        return self._ways.enforced(facts.source, facts.task, "retry")


def _about(fix: fixes.FixRow | NewFix) -> frozenset[str]:
    return frozenset(fix.evidence.get("rule_categories", [fix.category]))


def _struck(rule: FixRule, facts: Facts) -> list[str]:
    return [name for name in rule.categories if facts.failures.get(name)]


def _said(rule: FixRule) -> tuple[str, str]:
    """The knob of a rule and a digest of the value it gives."""
    spec = msgspec.to_builtins(rule.change) if rule.change else None
    digest = hashlib.sha256(msgspec.json.encode(spec, order="sorted")).hexdigest()[:16]
    return rule.change.knob if rule.change else "advice", digest


def dedupe(*parts: str) -> str:
    """The name of a thing that is proposed once: rule, source, task, knob, and a digest of the rule's value."""
    return msgspec.json.encode(parts).decode()
