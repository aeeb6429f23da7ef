"""`gen_ai.evaluation.result` → a grade from 1 to 5.

The conventions leave the scale to the evaluator. Read are 0..1, and 1..5 as far as it lies above 1; of others only the
label counts. A label says which end is good: for toxicity a score of 0.9 with the label `fail` is a bad grade.
"""

from __future__ import annotations

import math
from typing import Any, Final

from rsi_adapters.otel import names
from rsi_adapters.otel.signals import Attributes

BEST: Final = 5.0
WORST: Final = 1.0
_GOOD: Final = frozenset(
    {"pass", "passed", "good", "correct", "relevant", "safe", "yes", "true", "factual", "grounded"}
)
_BAD: Final = frozenset(
    {"fail", "failed", "bad", "incorrect", "irrelevant", "unsafe", "no", "false", "hallucinated", "ungrounded", "toxic"}
)


def grade(attrs: Attributes) -> float | None:
    """1 (worst) to 5 (best); `None` where neither score nor label can be read."""
    found = _of_score(attrs.get(names.SCORE))
    label = attrs.get(names.LABEL)
    word = label.strip().lower() if isinstance(label, str) else ""
    if word in _GOOD:
        return BEST if found is None else max(found, BEST + WORST - found)
    if word in _BAD:
        return WORST if found is None else min(found, BEST + WORST - found)
    return found


def _of_score(score: Any) -> float | None:
    if not isinstance(score, int | float) or isinstance(score, bool) or not math.isfinite(score):
        return None
    if 0 <= score <= 1:
        return WORST + (BEST - WORST) * score
    return float(score) if WORST <= score <= BEST else None
