"""Rules as data: load, validate and match them (format: docs/reference/rules.md)."""

from rsi.rules.check import RuleResult, check, test, warnings
from rsi.rules.fixes import FixFacts, FixMatch, match_fix, matching_fixes
from rsi.rules.loader import builtin_dir, load
from rsi.rules.match import Matcher
from rsi.rules.prototypes import Prototype, PrototypeSet, load_prototypes
from rsi.rules.shape import (
    Allowance,
    ClassifyRule,
    Declared,
    FixChange,
    FixRule,
    FixVerify,
    Kind,
    RuleSet,
    Scaled,
    When,
)
from rsi.rules.source import Problem

__all__ = [
    "Allowance", "ClassifyRule", "Declared", "FixChange", "FixFacts", "FixMatch", "FixRule", "FixVerify", "Kind",
    "Matcher", "Problem", "Prototype", "PrototypeSet", "RuleResult", "RuleSet", "Scaled", "When", "builtin_dir",
    "check", "load", "load_prototypes", "match_fix", "matching_fixes", "test", "warnings",
]  # fmt: skip
