"""Side effects of a fix: latency, calls, tokens, cost and other failures, each against what its rule allows.

Every unit that was drawn bets once on each measure it told us of (`rsi.stats.meanbet`): the same labels, the same
theorem as the verdict. Beyond the allowance with some evidence a guard is *tripped*, and blocks `verified`; with much
it is *significant*, and the fix is worse.
"""

from __future__ import annotations

import base64
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, Self, TypeAlias

import msgspec

from rsi.classify import classify
from rsi.model import Arm, Outcome
from rsi.stats import MeanBet, StatsInputError
from rsi.stats.terms import UNIT_BYTES, unit_key

Categorize: TypeAlias = Callable[[Outcome], str]

TRIP_AT: Final = 5.0
"""Wealth that blocks `verified` while it lasts. Measured in `benchmarks/verdict_guards.py`."""
SIGNIFICANT_AT: Final = 500.0
"""Wealth that says worse. Five measures at 500 add at most 1 % to the 4 % of the verdict's own false `worse`."""
WAIT_OUTCOMES: Final = 10
WAIT_EVENTS: Final = 30
"""A unit of many outcomes bets after ten of its own, or thirty of others: as in `rsi.stats.concurrent`."""
MAX_UNITS: Final = 100_000
MAX_OPEN: Final = 10_000
"""Units that may wait to bet; those beyond are not measured."""
STATE_VERSION: Final = 2

TOLERANCE: Final = 0.1
"""What every measure may rise by where nothing is declared: less is nobody's concern, and would trip by chance."""
LONGER: Final = 0.5
"""Rules scale a time or length limit by 1.5: what was cut may now take all of it."""
TWICE: Final = 1.0
"""A person declared the other model; its price may be another."""
BUDGET: Final = 0.2
"""The always-on retry budget (contract §4): 20 % extra calls …"""
RESERVE_PER_S: Final = 1.0
RESERVE_S: Final = 10.0
"""… and a reserve of 10 in 10 s, per client."""
BUDGETED: Final = frozenset({"retry", "reask", "fallbacks"})
"""Knobs whose extra calls the budget pays for."""

WORDS: Final[Mapping[str, str]] = {
    "latency": "the time of tasks whose first try worked",
    "calls": "calls per task",
    "tokens": "tokens per task",
    "cost": "cost per task",
    "other": "failures of other categories",
}


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """What each measure's mean may rise by with the fix: 0.2 is a fifth more."""

    latency: float = TOLERANCE
    calls: float = TOLERANCE
    tokens: float = TOLERANCE
    cost: float = TOLERANCE
    other: float = 0.5  # what does not fail with this category any more may still fail with another


OF_KNOB: Final[Mapping[str, Allowance]] = {
    "retry": Allowance(calls=BUDGET, tokens=BUDGET, cost=BUDGET),
    "reask": Allowance(calls=BUDGET, tokens=BUDGET, cost=BUDGET),
    "fallbacks": Allowance(calls=BUDGET, tokens=BUDGET, cost=TWICE),
    "timeout_s": Allowance(latency=LONGER),
    "max_output_tokens": Allowance(latency=LONGER, tokens=LONGER, cost=LONGER),
    "max_concurrency": Allowance(latency=LONGER),
    "lessons": Allowance(tokens=BUDGET, cost=BUDGET),
}


def allowance(knob: str, declared: Mapping[str, Any]) -> Allowance:
    """What a fix of this knob may cost.

    Args:
        knob: what it changes.
        declared: the rule's own words, as in its `allowance:`; `extra_calls` holds for tokens and cost, too, unless
            `extra_tokens` or `extra_cost` is declared. `extra_latency` and `extra_other` are for the other two.
    """
    said = {name: float(declared[f"extra_{name}"]) for name in WORDS if declared.get(f"extra_{name}") is not None}
    if "calls" in said:
        said = {"tokens": said["calls"], "cost": said["calls"]} | said
    known = OF_KNOB.get(knob, Allowance())
    return msgspec.structs.replace(known, **{name: max(value, getattr(known, name)) for name, value in said.items()})


def budget(outcomes: int, seconds: float, clients: int) -> float:
    """Extra calls per task that the retry budget (contract §4) pays for, over both arms: its fifth, and its reserve.

    Args:
        outcomes: final tasks so far, of both arms and of washouts.
        seconds: since the canary was live.
        clients: that enforce it; each has a reserve of its own.
    """
    return BUDGET + RESERVE_PER_S * max(seconds, RESERVE_S) * max(1, clients) / max(1, outcomes)


def by_rules(outcome: Outcome) -> str:
    """The category of a failed outcome, by the built-in rules."""
    return classify(outcome.error or "", outcome.error_type, outcome.error_status, outcome.provider).name


def measured(
    outcome: Outcome, own: Collection[str], category: Categorize = by_rules, *, per_call: bool = False
) -> dict[str, float]:
    """What a final outcome says of each measure.

    Args:
        outcome: a final one.
        own: the categories that the fix is about.
        category: what a failed outcome is.
        per_call: tokens and cost of one call, for fixes whose extra calls are weighed as calls.
    """
    found: dict[str, float] = {"calls": float(max(1, outcome.attempt or 1))}
    if not outcome.failed and found["calls"] == 1.0 and outcome.duration_ms is not None:
        found["latency"] = outcome.duration_ms
    counted = [n for n in (outcome.tokens_in, outcome.tokens_out) if n is not None]
    spent = {"tokens": sum(counted) if counted else None, "cost": outcome.cost_usd}
    for name, value in spent.items():
        if value or (value is not None and not outcome.failed):  # what was refused before it cost anything has no price
            found[name] = value / (found["calls"] if per_call else 1.0)
    found["other"] = float(outcome.failed and category(outcome) not in own)
    return found


class _Waiting:
    """A unit that has not bet yet: sums and numbers of what it told, by measure."""

    __slots__ = ("arm", "fraction", "last", "outcomes", "sums", "told")

    def __init__(  # noqa: PLR0917 - its fields in their order, as they are stored
        self,
        arm: Arm,
        fraction: float,
        outcomes: int = 0,
        last: int = 0,
        told: bool = False,
        sums: dict[str, list[float]] | None = None,
    ) -> None:
        self.arm: Arm = arm
        self.fraction = fraction
        self.outcomes = outcomes
        self.last = last
        self.told = told
        self.sums: dict[str, list[float]] = sums or {}

    def take(self, values: Mapping[str, float]) -> None:
        self.outcomes += 1
        for name, value in values.items():
            held = self.sums.setdefault(name, [0.0, 0.0])
            held[0] += value
            held[1] += 1.0


class Guards:
    """The side effects of one experiment so far.

    Args:
        allowed: what each measure's mean may rise by.
    """

    def __init__(self, allowed: Allowance) -> None:
        self.allowed = allowed
        self.budget = 0.0  # what the retry budget pays for, per task of either arm; set before units are told
        self._fraction = 0.5  # of the unit that bet last
        self._bets = {name: MeanBet() for name in WORDS}
        self._waiting: OrderedDict[int, _Waiting] = OrderedDict()
        self._done: set[int] = set()
        self._events = 0

    def note(self, unit: str, arm: Arm, fraction: float, values: Mapping[str, float]) -> None:
        """A final outcome of a unit arrived; it bets when its turn comes."""
        key = unit_key(unit)
        if key in self._done:
            return
        waiting = self._waiting.get(key)
        if waiting is None:
            if len(self._waiting) >= MAX_OPEN or len(self._done) >= MAX_UNITS:
                return
            waiting = self._waiting[key] = _Waiting(arm, fraction)
        waiting.take(values)

    def drop(self, unit: str) -> None:
        """A unit that does not count (crossed)."""
        self._waiting.pop(unit_key(unit), None)

    def tell(self, unit: str, *, complete: bool) -> None:
        """It is this unit's turn: all that began before it have ended. Call it in that order, label-blind."""
        key = unit_key(unit)
        self._events += 1
        waiting = self._waiting.get(key)
        if waiting is not None:
            waiting.told, waiting.last = True, self._events
            self._waiting.move_to_end(key)
            if complete or waiting.outcomes >= WAIT_OUTCOMES:
                self._bet(key)
        self._sweep()

    def _sweep(self) -> None:
        for key, waiting in list(self._waiting.items()):
            if waiting.told:
                if self._events - waiting.last < WAIT_EVENTS:
                    return
                self._bet(key)

    def _bet(self, key: int) -> None:
        waiting = self._waiting.pop(key)
        self._done.add(key)
        self._fraction = waiting.fraction
        for name, (total, n) in waiting.sums.items():
            allowed = self._allowed(name, waiting.fraction)
            self._bets[name].bet(total / n, fixed=waiting.arm == "fixed", fraction=waiting.fraction, allowed=allowed)

    def _allowed(self, name: str, fraction: float) -> float:
        """The arms of a client fill one budget, and the fixed arm may empty it: with half of the tasks, two fifths."""
        declared: float = getattr(self.allowed, name)
        return declared + self.budget / fraction - BUDGET if name == "calls" and self.budget else declared

    def units(self, measure: str) -> tuple[int, int]:
        """Units that have bet on a measure: (fixed, control)."""
        return self._bets[measure].units

    def tripped(self) -> list[str]:
        """A sentence for each measure that rose beyond its allowance, as far as can be said now."""
        return self._beyond(TRIP_AT)

    def significant(self) -> list[str]:
        """A sentence for each measure that certainly did."""
        return self._beyond(SIGNIFICANT_AT)

    def unseen(self) -> list[str]:
        """Measures that no unit of one arm told anything of."""
        return [WORDS[name] for name, bet in self._bets.items() if not all(bet.units)]

    def _beyond(self, wealth: float) -> list[str]:
        return [self._sentence(name) for name, bet in self._bets.items() if bet.wealth >= wealth]

    def _sentence(self, name: str) -> str:
        bet = self._bets[name]
        (fixed, control), (units, _) = bet.means, bet.units
        allowed = self._allowed(name, self._fraction)
        return (
            f"{WORDS[name]}: {fixed or 0.0:.4g} with the fix, {control or 0.0:.4g} without, over {units} fixed units; "
            f"{1.0 + allowed:.3g} times is allowed (evidence {bet.wealth:.3g}, {TRIP_AT:g} blocks, "
            f"{SIGNIFICANT_AT:g} rolls back)"
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe state, no unit's text."""
        done = b"".join(key.to_bytes(UNIT_BYTES, "big") for key in sorted(self._done))
        return {
            "version": STATE_VERSION,
            "allowed": msgspec.structs.asdict(self.allowed),
            "budget": self.budget,
            "fraction": self._fraction,
            "events": self._events,
            "bets": {name: bet.to_list() for name, bet in self._bets.items()},
            "waiting": [
                [f"{key:016x}", w.arm, w.fraction, w.outcomes, w.last, w.told, w.sums]
                for key, w in self._waiting.items()
            ],
            "done": base64.b64encode(done).decode("ascii"),
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """What `to_dict` described; it goes on identically.

        Raises:
            StatsInputError: not such a description, or of another version.
        """
        if state.get("version") == 1:  # what the budget pays is told anew before each bet
            state = {**state, "version": STATE_VERSION, "budget": 0.0, "fraction": 0.5}
        if state.get("version") != STATE_VERSION:
            raise StatsInputError(f"guards: expected version {STATE_VERSION}, got {state.get('version')!r}")
        try:
            found = cls(msgspec.convert(state["allowed"], Allowance))
            found.budget, found._fraction = float(state["budget"]), float(state["fraction"])
            found._events = int(state["events"])
            found._bets = {name: MeanBet.from_list(state["bets"][name]) for name in WORDS}
            found._waiting.update((int(key, 16), _Waiting(*rest)) for key, *rest in state["waiting"])
            done = base64.b64decode(state["done"], validate=True)
            found._done = {int.from_bytes(done[i : i + UNIT_BYTES], "big") for i in range(0, len(done), UNIT_BYTES)}
        except (KeyError, TypeError, ValueError) as error:
            raise StatsInputError(f"guards: cannot be read ({error!r}); start new ones") from error
        return found
