"""From issues to plans: which rule speaks in which scope, with what evidence. Reads rollups, never outcomes."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec
from sqlalchemy import Connection

from rsi import change
from rsi.config import Config
from rsi.errors import RSIError
from rsi.fix import publish, records, states, value
from rsi.rules import FixFacts, FixRule, match_fix
from rsi.stats import not_significantly_above, units_needed
from rsi.store import clients, endings, fixes, health, impact, issue_rows, recategorize, rollups, traffic
from rsi.store.fixes import FixRow, NewFix
from rsi.store.issue_rows import IssueRow
from rsi.store.trials import Before

HOUR_S: Final = 3_600.0
LIVE_HOURS: Final = 24
"""Live evidence is from the last day; what is older makes proposals only."""
BACKFILL_HOURS: Final = 7 * 24
"""The window before the last sight of an issue that only old outcomes show."""
BEFORE_TASKS: Final = 200
"""Tasks that the rate before a canary is counted over, newest hours first: recent enough to be the same incident."""
RECENT_TASKS: Final = 10
"""Decayed outcomes (half-life 20, see `analyze.health`) from which on they say something of their own."""
REFRESH_S: Final = 60.0
"""A proposal's evidence is counted again at most this often."""
HIGHEST_RATE: Final = 0.97
PERCENTILE: Final = 0.95
MIN_DURATIONS: Final = 20
"""Below this many durations a 95th percentile is a guess; the rule's default is used."""
WAITING: Final = ("proposed", "approved")

Scope: TypeAlias = tuple[str, str]


class Struck(msgspec.Struct, frozen=True, kw_only=True):
    """A scope in which touched issues struck: per issue its category and its unrecovered failures in the window."""

    source: str
    task: str
    since_hour: int
    until: float
    live: bool
    issues: Mapping[int, tuple[str, int]]


class Facts(Struck, frozen=True, kw_only=True):
    """What is known of a scope over the window besides: final tasks, and unrecovered failures per category."""

    tasks: int
    tasks_per_day: float
    failures: Mapping[str, int]
    counted: Sequence[traffic.Counted]


class Plan(msgspec.Struct, frozen=True):
    """New fixes, known ones whose evidence moved, and waiting ones whose rule says something else by now."""

    new: list[NewFix] = []
    refreshed: list[tuple[int, dict[str, Any]]] = []
    outdated: list[int] = []
    looked_at: dict[tuple[str, str], int] = {}  # failures counted per scope


def plan(
    conn: Connection,
    rules: Sequence[FixRule],
    config: Config,
    touched: Collection[int],
    now: float,
    *,
    scopes: Collection[Scope] | None = None,
) -> Plan:
    """What the rules say about the issues that were touched.

    Args:
        conn: a snapshot with the newest counters.
        rules: loaded ones, in any order.
        config: what a person allows.
        touched: issues that have changed.
        now: epoch seconds.
        scopes: look at these (source, task) only.
    """
    rows = {row.id: row for row in issue_rows.load(conn, touched).values() if not _put_to_rest(row)}
    if not rows or not rules:
        return Plan()
    planner = _Planner(conn, rules, config, now)
    looked_at: dict[Scope, int] = {}
    for struck in _gather(conn, rows, now):
        here = (struck.source, struck.task)
        if (scopes is None or here in scopes) and planner.has_a_say(struck):
            facts = _facts(conn, struck)
            looked_at[here] = looked_at.get(here, 0) + sum(facts.failures.values())
            planner.consider(facts)
    return Plan(planner.new, planner.refreshed, planner.outdated, looked_at)


def before(conn: Connection, fix: FixRow, now: float) -> Before:
    """The scope's rate up to now: newest hours first, until there are enough tasks or nothing fails any more.

    Where the last few dozen outcomes fail significantly more than that, the incident has only begun: then they alone
    are the rate before, or the control arm would later seem worse than a past that was healthy.
    """
    tasks = failed = hours = 0
    for hour in reversed(traffic.by_hour(conn, fix.source, fix.task, _hour(now) - LIVE_HOURS)):
        if tasks >= BEFORE_TASKS or (tasks and not hour.failed):
            break
        tasks, failed, hours = tasks + hour.n, failed + hour.failed, hours + 1
    row = health.load(conn, sources=[fix.source]).get((fix.source, fix.task))
    recent = row.recent_failures + row.recent_successes if row else 0.0
    lost = row.recent_failures if row else 0.0
    if tasks and recent >= RECENT_TASKS and not not_significantly_above(lost, recent, failed, tasks):
        return Before(round(recent), round(lost), 0)
    return Before(tasks, failed, hours)


def _put_to_rest(row: IssueRow) -> bool:
    """A person wants to hear no more of it. What merely went quiet may still be worth a proposal (old logs)."""
    return row.state == "ignored" or (row.state == "resolved" and (row.resolved_by or "").startswith("person"))


def _hour(at: float) -> int:
    return int(at // HOUR_S)


def _gather(conn: Connection, rows: Mapping[int, IssueRow], now: float) -> Iterable[Struck]:
    """The scopes in which these issues struck, live ones and those that only old outcomes show."""
    live = [row for row in rows.values() if row.live]
    old = [row for row in rows.values() if not row.live]
    yield from _scopes(conn, live, _hour(now) - LIVE_HOURS, now, live=True)
    if old:
        until = min(impact.as_of(conn, now), max(row.last_seen for row in old))
        yield from _scopes(conn, old, _hour(until) - BACKFILL_HOURS, until, live=False)


def _scopes(
    conn: Connection, rows: Sequence[IssueRow], since_hour: int, until: float, *, live: bool
) -> Iterable[Struck]:
    category = {row.id: row.category for row in rows}
    found: dict[Scope, dict[int, int]] = {}
    for hour in issue_rows.hours(conn, list(category), since_hour):
        counted = found.setdefault((hour.source, hour.task), {})
        counted[hour.issue] = counted.get(hour.issue, 0) + hour.unrecovered
    for (source, task), counted in sorted(found.items()):
        issues = {issue: (category[issue], n) for issue, n in counted.items()}
        yield Struck(source=source, task=task, since_hour=since_hour, until=until, live=live, issues=issues)


def _facts(conn: Connection, struck: Struck) -> Facts:
    """The counters of a scope over its window."""
    counted = traffic.of_scope(conn, struck.source, struck.task, struck.since_hour)
    everything = [one for one in counted if one.category == rollups.ALL]
    tasks = sum(one.n for one in everything)
    span = max(1.0, struck.until / HOUR_S - everything[0].hour) if everything else 1.0
    failures: dict[str, int] = {}
    for one in counted:
        if one.category != rollups.ALL:
            failures[one.category] = failures.get(one.category, 0) + one.failed
    seen: dict[str, int] = {}
    for category, n in struck.issues.values():
        seen[category] = seen.get(category, 0) + n
    return Facts(
        source=struck.source,
        task=struck.task,
        since_hour=struck.since_hour,
        until=struck.until,
        live=struck.live,
        tasks=tasks,
        tasks_per_day=tasks * 24.0 / (min(span, 24.0) if struck.live else span),
        failures={name: max(failures.get(name, 0), seen.get(name, 0)) for name in failures.keys() | seen.keys()},
        issues=struck.issues,
        counted=counted,
    )


class _Planner:
    """One pass over the scopes."""

    def __init__(self, conn: Connection, rules: Sequence[FixRule], config: Config, now: float) -> None:
        self._conn = conn
        self._config = config
        self._now = now
        # A user's rule comes before a built-in one for the same knob; then the higher precedence.
        self._rules = sorted(rules, key=lambda rule: (rule.origin != "user", -rule.precedence, rule.id))
        self._by_id = {rule.id: rule for rule in rules}
        self._said = {rule.id: _said(rule) for rule in rules}
        self._known = fixes.known(conn)
        self._standing = fixes.in_states(conn, fixes.STANDING)
        self._live: clients.Live | None = None
        self._records: Mapping[str, records.Scored] | None = None
        self.new: list[NewFix] = []
        self.refreshed: list[tuple[int, dict[str, Any]]] = []
        self.outdated: list[int] = []

    def _dedupe(self, rule: FixRule, source: str, task: str) -> str:
        return dedupe(rule.id, source, task, *self._said[rule.id])

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
            self.outdated.append(known.id)
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
        self.outdated.append(known.id)
        return True

    def _held(self, rule: FixRule, knob: str, facts: Facts) -> bool:
        """A fix that stands here on the same knob for the same categories has done what could be done."""
        return any(
            (fix.source, fix.task, fix.knob) == (facts.source, facts.task, knob)
            and not set(rule.categories).isdisjoint(fix.evidence.get("rule_categories", [fix.category]))
            for fix in self._standing
        )

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
            fallbacks=tuple(self._fallbacks(facts.source)),
            source=facts.source,
            task=facts.task,
        )
        return bool(match_fix(rule, found))

    def _within(self, rule: FixRule, facts: Facts, struck: Sequence[str]) -> tuple[int, int]:
        """Tasks and failures in the rule's own window, where that is shorter than the one of the facts."""
        since = _hour(facts.until - rule.when.window_s)
        if since <= facts.since_hour:
            return facts.tasks, sum(facts.failures[name] for name in struck)

        recent = [one for one in facts.counted if one.hour >= since]
        tasks = sum(one.n for one in recent if one.category == rollups.ALL)
        return tasks, sum(one.failed for one in recent if one.category in struck)

    def _fix(self, rule: FixRule, facts: Facts, struck: Sequence[str]) -> NewFix | None:
        changed = self._change(rule, facts)
        if changed is None:
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
            change=changed,
            evidence=self._evidence(rule, facts, struck, by_issue),
        )

    def _change(self, rule: FixRule, facts: Facts) -> Any:
        if rule.change is None:
            return change.advice(facts.source, facts.task)
        scope = publish.standing_scope(self._standing, facts.source, facts.task)
        bounds = value.narrowed(self._config.fix.bounds, rule.bounds)
        p95 = self._p95(facts) if value.needs_p95(rule.change.value) else None
        known = value.Known(scope=scope, p95=p95, fallbacks=self._fallbacks(facts.source))
        try:
            found = value.resolve(rule.change.knob, rule.change.value, known, bounds)
        except (RSIError, ValueError, TypeError):
            return None
        if found is None:
            return None
        return change.make(facts.source, facts.task, scope, {rule.change.knob: found}, bounds)

    def _p95(self, facts: Facts) -> float | None:
        durations = traffic.healthy_durations(self._conn, facts.source, facts.task)
        return durations[int(PERCENTILE * len(durations))] if len(durations) >= MIN_DURATIONS else None

    def _fallbacks(self, source: str) -> Sequence[str]:
        found = self._config.sources.get(source)
        return found.fallbacks if found else ()

    def _refresh(self, known: fixes.Known, rule: FixRule, facts: Facts, struck: Sequence[str]) -> None:
        if known.state not in WAITING or self._now - known.updated < REFRESH_S:
            return
        row = fixes.get(self._conn, known.id)
        if row.evidence.get("live") and not facts.live:
            return
        held = {int(ref.removeprefix("i")): n for ref, n in row.evidence.get("issues", {}).items()}
        now_seen = {issue: n for issue, (category, n) in facts.issues.items() if category in struck}
        evidence = {**row.evidence, **self._evidence(rule, facts, struck, held | now_seen)}
        if evidence != row.evidence:
            self.refreshed.append((known.id, evidence))

    def _evidence(
        self, rule: FixRule, facts: Facts, struck: Sequence[str], by_issue: Mapping[int, int]
    ) -> dict[str, Any]:
        failures = sum(facts.failures[name] for name in struck)
        rate = failures / facts.tasks if facts.tasks else None
        units, days = self._expected(rule, facts, rate)
        return {
            "failures": failures,
            "tasks": facts.tasks,
            "rate": None if rate is None else round(rate, 4),
            "window_h": LIVE_HOURS if facts.live else BACKFILL_HOURS,
            "live": facts.live,
            "categories": {name: facts.failures[name] for name in struck},
            "rule_categories": list(rule.categories),
            "by_prototype": self._by_prototype(facts, struck),
            "issues": {f"i{issue}": n for issue, n in sorted(by_issue.items())},
            "units_expected": units,
            "days_expected": days,
            **({endings.CONFIDENCE: self._confidence(rule)} if rule.change is not None else {}),
        }

    def _confidence(self, rule: FixRule) -> float:
        """The rule's predicted probability that its fix is verified, scored when the verdict falls."""
        if self._records is None:
            self._records = records.count(endings.load(self._conn))
        return round(records.confidence(rule.id, self._records), 4)

    def _by_prototype(self, facts: Facts, struck: Sequence[str]) -> int:
        """Of the failures, those whose category no rule decided: alone they start nothing (see `fix.gate`)."""
        found = recategorize.resting_on(self._conn, facts.source, facts.task, struck, facts.since_hour)
        return math.ceil(found)

    def _expected(self, rule: FixRule, facts: Facts, rate: float | None) -> tuple[int | None, float | None]:
        """Units that a verdict takes if the rule does what it hopes for, and days at present traffic."""
        if not rate or rule.change is None or not facts.tasks_per_day:
            return None, None
        p0 = min(rate, HIGHEST_RATE)
        units = units_needed(p0, p0 * rule.verify.expect_ratio, self._config.verify.ramp[-1])
        return units, round(units / facts.tasks_per_day, 2)

    def _idempotent(self, facts: Facts) -> bool:
        """Whether the task may be repeated: a person said so, or a client offers `retry` for it."""
        declared = self._config.sources.get(facts.source)
        if declared and facts.task in declared.idempotent:
            return True
        if self._live is None:
            self._live = clients.live(self._conn, self._now, self._config.client_ttl)
        return bool(self._live.enforcers(facts.source, facts.task, "retry"))


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
