"""What speaks for a fix, in figures: failures, tasks, how long a verdict takes, how sure the rule may be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection

from rsi.config import Config
from rsi.fix import records
from rsi.fix.facts import BACKFILL_HOURS, LIVE_HOURS, Facts
from rsi.model import PROCESS_KNOBS
from rsi.rules import FixRule
from rsi.stats import units_needed
from rsi.stats.concurrent import WAIT_OUTCOMES
from rsi.store import clients, endings, recategorize

HIGHEST_RATE: Final = 0.97
LOOPING: Final = ("no_progress", "budget_exceeded")
"""Runs that go round in circles: what gives them more of anything hides that."""
LOOPS: Final = "loops"
ALLOWED: Final = "allowance"
"""The rule's own, which side effects are held against (`rsi.verify.guards`)."""
PROCESSES: Final = "processes"
"""Client processes that could be units of a canary: live ones, and new ones a day."""


class Evidence:
    """Makes the evidence of one pass; the rules' records are read once."""

    def __init__(self, conn: Connection, config: Config, now: float) -> None:
        self._conn, self._config, self._now = conn, config, now
        self._records: Mapping[str, records.Scored] | None = None

    def of(self, rule: FixRule, facts: Facts, struck: Sequence[str], by_issue: Mapping[int, int]) -> dict[str, Any]:
        """What speaks for this rule here."""
        failures = sum(facts.failures[name] for name in struck)
        rate = failures / facts.tasks if facts.tasks else None
        needs = self._expected(rule, facts, rate)
        loops = sum(facts.failures.get(name, 0) for name in LOOPING)
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
            **needs,
            **({LOOPS: loops} if loops else {}),
            **({ALLOWED: _allowed(rule)} if rule.change is not None else {}),
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

    def _expected(self, rule: FixRule, facts: Facts, rate: float | None) -> dict[str, Any]:
        """Units that a verdict takes if the rule does what it hopes for, and days at present traffic."""
        if not rate or rule.change is None or not facts.tasks_per_day:
            return {"units_expected": None, "days_expected": None}
        p0 = min(rate, HIGHEST_RATE)
        p1, fraction = p0 * rule.verify.expect_ratio, self._config.verify.ramp[-1]
        if rule.change.knob in PROCESS_KNOBS:
            return self._by_process(facts, rule.change.knob, units_needed(p0, p1, fraction, WAIT_OUTCOMES))
        units = units_needed(p0, p1, fraction)
        return {"units_expected": units, "days_expected": round(units / facts.tasks_per_day, 2)}

    def _by_process(self, facts: Facts, knob: str, units: int) -> dict[str, Any]:
        """A process is one unit however long it lives: beside those that live, as many come anew as ended in a day."""
        seen = clients.processes(self._conn, facts.source, facts.task, knob, self._now)
        missing = max(0, units - seen.alive)
        days = 0.0 if not missing else round(missing / seen.ended, 2) if seen.ended else None
        found = {"live": seen.alive, "new_a_day": seen.ended}
        return {"units_expected": units, "days_expected": days, PROCESSES: found}


def _allowed(rule: FixRule) -> dict[str, float]:
    """What the rule says, and nothing of what it leaves to its knob."""
    return {name: said for name, said in msgspec.structs.asdict(rule.allowance).items() if said is not None}
