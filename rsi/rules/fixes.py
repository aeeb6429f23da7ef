"""Which fix rules speak about a scope: pure matching, shared by the planner and the rules' own tests."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from rsi.rules.shape import FixRule


class FixFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about one (source, task) and category over a rule's window.

    `failures` are unrecovered ones, `tasks` final tasks, `rate` their ratio in [0, 1]; `idempotent` is whether the task
    was declared repeatable, `fallbacks` what the source lists.
    """

    category: str
    failures: int
    tasks: int = 0
    rate: float = 0.0
    idempotent: bool = False
    fallbacks: tuple[str, ...] = ()
    source: str = "*"
    task: str = "*"


class FixMatch(msgspec.Struct, frozen=True):
    """Whether a rule speaks, and the sentence that says why or why not. True exactly if `matched`."""

    matched: bool
    why: str

    def __bool__(self) -> bool:
        return self.matched


def match_fix(rule: FixRule, facts: FixFacts) -> FixMatch:
    """Whether `rule` speaks about `facts`; the first condition that does not hold is the reason."""
    when = rule.when
    if facts.category not in rule.categories:
        return FixMatch(False, f"{facts.category} is not one of {', '.join(rule.categories)}")
    if facts.failures < when.min_failures:
        return FixMatch(False, f"{facts.failures} failures in {when.window}, the rule needs {when.min_failures}")
    if facts.tasks < when.min_tasks:
        return FixMatch(False, f"{facts.tasks} tasks in {when.window}, the rule needs {when.min_tasks}")
    if facts.rate < when.min_rate:
        return FixMatch(False, f"{facts.rate:.1%} of tasks fail, the rule needs {when.min_rate:.1%}")
    if when.idempotent == "required" and not facts.idempotent:
        return FixMatch(False, f"task {facts.task} is not declared idempotent (sources.{facts.source}.idempotent)")
    if when.idempotent == "undeclared" and facts.idempotent:
        return FixMatch(False, f"task {facts.task} is declared idempotent")
    if when.fallbacks_declared and not facts.fallbacks:
        return FixMatch(False, f"no fallback is declared (sources.{facts.source}.fallbacks)")
    return FixMatch(True, f"{facts.failures} {facts.category} failures in {when.window}: {rule.why}")


def matching_fixes(rules: Iterable[FixRule], facts: FixFacts) -> tuple[FixRule, ...]:
    """The rules that speak, best first, one for each knob (a user's before a built-in one) and one advice.

    Advice (`change: null`) is for where nothing can be changed: it is dropped if any rule with a change speaks.
    """
    chosen: dict[str, FixRule] = {}
    for rule in sorted(rules, key=lambda rule: (rule.origin != "user", -rule.precedence, rule.id)):
        if match_fix(rule, facts):
            chosen.setdefault(rule.change.knob if rule.change else "", rule)
    if len(chosen) > 1:
        chosen.pop("", None)
    return tuple(sorted(chosen.values(), key=lambda rule: (-rule.precedence, rule.origin != "user", rule.id)))
