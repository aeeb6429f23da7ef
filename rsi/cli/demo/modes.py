"""What each mode of the demo puts into its home, and which verdicts it expects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_CATEGORIES = "[rate_limit, overloaded, provider_5xx, connection, timeout_model, timeout_tool]"

_NULL_RULE = f"""\
id: demo-null
status: experimental
title: One try only, which is what happens anyway
categories: {_CATEGORIES}
when: {{min_failures: 3, min_rate: 0.02}}
change:
  knob: retry
  value: {{max_attempts: 1, "on": {_CATEGORIES}}}
safe: false
why: A change that does nothing, labelled, enforced and counted like any other.
suggest: Approve it and see that it is not verified.
date: 2026-11-21
"""

_HARMFUL_RULE = f"""\
id: demo-harmful
status: experimental
title: Wait less than half as long as a healthy answer takes
categories: {_CATEGORIES}
when: {{min_failures: 3, min_rate: 0.02}}
change:
  knob: timeout_s
  value: 0.05
safe: false
why: A change that hurts, to see it taken back.
suggest: Approve it and see that it is rolled back.
date: 2026-11-21
"""


@dataclass(frozen=True, slots=True)
class Mode:
    """`rule` is the fix that the story follows; `rules` go into the demo's home; `units` end an undecided run."""

    name: str
    rule: str
    rules: Mapping[str, str]
    expected: frozenset[str]
    units: int


HELPFUL: Final = Mode("helpful", "retry-transient", {}, frozenset({"verified"}), 5000)
NULL: Final = Mode(
    "null",
    "demo-null",
    {"demo-null.yaml": _NULL_RULE},
    frozenset({"undecided", "no_difference"}),
    400,
)
HARMFUL: Final = Mode("harmful", "demo-harmful", {"demo-harmful.yaml": _HARMFUL_RULE}, frozenset({"worse"}), 1200)
