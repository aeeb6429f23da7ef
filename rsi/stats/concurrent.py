"""A canary against a control at the same time: the verdict that may be looked at after every outcome."""

from __future__ import annotations

import base64
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal, NamedTuple, Self

from rsi.stats.labelbet import BETTER, VERIFY_AT, WORSE, WORSE_AT, PooledRate, Sameness, Settled, Wager
from rsi.stats.terms import TERMINAL, UNIT_BYTES, StatsInputError, Verdict, check_fraction, unit_key

Arm = Literal["fixed", "control"]
STATE_VERSION: Final = 1

WAIT_OUTCOMES: Final = 10
"""An open unit is settled after this many outcomes …"""
WAIT_EVENTS: Final = 30
"""… or after this many events of others without one of its own. Both count outcomes, never labels."""
WARM_UNITS: Final = 6
WARM_EVENTS: Final = 12
"""Until so many are seen it is unknown whether units recur, and every unit waits."""
RECURRING_SHARE: Final = 0.12
"""Below this share of units with a second outcome, units settle at their first."""
MAX_UNITS: Final = 100_000
"""A trial takes no new unit beyond this: 8 bytes each is what it remembers, and by then nothing new is coming."""


class Wealth(NamedTuple):
    """What the bets are worth, from 1: `better` says verified at 28, `worse` says worse at 25."""

    better: float
    worse: float


class _Open:
    """A unit that may still have outcomes."""

    __slots__ = ("arm", "failures", "fraction", "last", "outcomes")

    def __init__(self, arm: int, fraction: float, outcomes: int = 0, failures: int = 0, last: int = 0) -> None:
        self.arm = arm
        self.fraction = fraction
        self.outcomes = outcomes
        self.failures = failures
        self.last = last


class ConcurrentTrial:
    """Bets on the label that was drawn for each unit, once per unit; valid under bursts, outages, drift and peeking.

    It needs labels drawn independently per unit, arms that do not touch one another, and the fraction that was in
    force when a unit started. A unit keeps the arm it was first seen in.

    Args:
        fraction: share of units that the fixed arm gets, strictly between 0 and 1.
    """

    METHOD: ClassVar[str] = "label bet: one bet per randomised unit, concurrent arms, valid at every look"
    CANNOT_EXCLUDE: ClassVar[str] = (
        "that the arms act on one another (shared capacity), or that something other than the fix hit one arm alone"
    )
    _ARMS: ClassVar[Mapping[str, int]] = {"control": 0, "fixed": 1}

    def __init__(self, *, fraction: float = 0.5) -> None:
        self._fraction = check_fraction(fraction)
        self._verdict: Verdict = "no_data"
        self._events = 0
        self._units = 0
        self._recurring = 0
        self._seen = [0, 0]
        self._count = [0, 0]
        self._failing = [0.0, 0.0]
        self._better = Wager(BETTER, VERIFY_AT)
        self._worse = Wager(WORSE, WORSE_AT)
        self._same = Sameness()
        self._rate = PooledRate()
        self._open: OrderedDict[int, _Open] = OrderedDict()
        self._done: set[int] = set()

    @property
    def verdict(self) -> Verdict:
        """The word of the last look."""
        return self._verdict

    @property
    def fraction(self) -> float:
        """The fraction that a unit gets if its own is not told."""
        return self._fraction

    @property
    def n_fixed(self) -> int:
        """Settled units on the fixed arm."""
        return self._count[1]

    @property
    def n_control(self) -> int:
        """Settled units on the control arm."""
        return self._count[0]

    @property
    def p_fixed(self) -> float | None:
        """Mean share of failed outcomes of the settled fixed units; None before the first."""
        return self._failing[1] / self._count[1] if self._count[1] else None

    @property
    def p_control(self) -> float | None:
        """Mean share of failed outcomes of the settled control units; None before the first."""
        return self._failing[0] / self._count[0] if self._count[0] else None

    @property
    def wealth(self) -> Wealth:
        """What the bets for better and for worse are worth now."""
        return Wealth(self._better.total, self._worse.total)

    def set_fraction(self, fraction: float) -> None:
        """A ramp: for units first seen from now on.

        Raises:
            StatsInputError: not strictly between 0 and 1. At 100 % nothing is randomised: stop adding instead.
        """
        self._fraction = check_fraction(fraction)

    def add(
        self, arm: Arm, unit: object, failed: bool, fraction: float | None = None, *, final: bool = False
    ) -> Verdict:
        """Take one final task outcome of a unit and return the verdict after it.

        Args:
            arm: the arm that was drawn for the unit, whether or not the fix acted (intention to treat).
            unit: session, run or id; compared by its text. Only the first arm and fraction told of it count.
            failed: whether the task failed; a unit that fell silent has.
            fraction: the one in force when the unit *started*; default the current one.
            final: the unit is complete and settles now. Only where that would be known in the other arm too.

        Raises:
            StatsInputError: an unknown arm, or a fraction outside (0, 1).
        """
        label = self._ARMS.get(arm)
        if label is None:
            raise StatsInputError(f'arm: expected "fixed" or "control", got {arm!r}', field="arm")
        started = self._fraction if fraction is None else check_fraction(fraction)
        if self._verdict in TERMINAL:
            return self._verdict
        self._seen[label] = 1
        self._events += 1
        price = self._rate.now()
        key = unit_key(unit)
        if key not in self._done and (key in self._open or self._units < MAX_UNITS):
            self._take(key, label, started, bool(failed))
            self._settle_due(key, price, final)
        self._settle_idle(price)
        self._rate.see(bool(failed))
        return self._decide()

    def settle(self, unit: object) -> Verdict:
        """Say that a unit is complete (its session ended, its silence timed out): bet on it now.

        Label-blind by contract: the caller decides it from the clock and from events that both arms have alike.
        An unknown or settled unit changes nothing.
        """
        key = unit_key(unit)
        if self._verdict in TERMINAL or key not in self._open:
            return self._verdict
        self._close(key, self._rate.now())
        return self._decide()

    def _take(self, key: int, label: int, fraction: float, failed: bool) -> None:
        unit = self._open.get(key)
        if unit is None:
            self._units += 1
            unit = self._open[key] = _Open(label, fraction)
        else:
            self._open.move_to_end(key)
            self._recurring += unit.outcomes == 1
        unit.outcomes += 1
        unit.failures += failed
        unit.last = self._events

    def _settle_due(self, key: int, price: float, final: bool) -> None:
        """Settle what need not wait: depends on counts of outcomes and units, never on a label."""
        if self._units_recur():
            if final or self._open[key].outcomes >= WAIT_OUTCOMES:
                self._close(key, price)
            return
        for waiting in list(self._open):
            self._close(waiting, price)

    def _units_recur(self) -> bool:
        if self._units <= WARM_UNITS and self._events <= WARM_EVENTS:
            return True
        return self._recurring >= RECURRING_SHARE * self._units

    def _settle_idle(self, price: float) -> None:
        while self._open:
            key = next(iter(self._open))
            if self._events - self._open[key].last < WAIT_EVENTS:
                return
            self._close(key, price)

    def _close(self, key: int, price: float) -> None:
        """The one bet on this unit."""
        unit = self._open.pop(key)
        self._done.add(key)
        self._count[unit.arm] += 1
        self._failing[unit.arm] += unit.failures / unit.outcomes
        settled = Settled(unit.outcomes, unit.failures, unit.fraction, price)
        for evidence in (self._better, self._worse, self._same):
            evidence.bet(settled, unit.arm == 1)

    def _decide(self) -> Verdict:
        self._verdict = self._word()
        if self._verdict in TERMINAL:
            self._open.clear()
            self._done.clear()
        return self._verdict

    def _word(self) -> Verdict:
        if not all(self._seen):
            return "no_data"
        if self._better.reached:
            return "verified"
        if self._worse.reached:
            return "worse"
        return "no_difference" if self._same.reached else "undecided"

    def to_dict(self) -> dict[str, Any]:
        """Everything needed to go on exactly; JSON-safe, 11 characters per settled unit, no unit's text."""
        done = b"".join(key.to_bytes(UNIT_BYTES, "big") for key in sorted(self._done))
        return {
            "kind": "concurrent",
            "version": STATE_VERSION,
            "fraction": self._fraction,
            "verdict": self._verdict,
            "events": self._events,
            "units": self._units,
            "recurring": self._recurring,
            "seen": list(self._seen),
            "count": list(self._count),
            "failing": list(self._failing),
            "rate": [self._rate.failures, self._rate.outcomes, self._rate.local],
            "better": list(self._better.wealth),
            "worse": list(self._worse.wealth),
            "same": list(self._same.ratios),
            "open": [[f"{k:016x}", u.arm, u.fraction, u.outcomes, u.failures, u.last] for k, u in self._open.items()],
            "done": base64.b64encode(done).decode("ascii"),
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """The trial that `to_dict` described; it continues identically.

        Raises:
            StatsInputError: not such a description, or of another version or grid of bets.
        """
        if (state.get("kind"), state.get("version")) != ("concurrent", STATE_VERSION):
            raise StatsInputError(
                f"trial state: expected kind concurrent, version {STATE_VERSION}, got {state.get('kind')!r}, "
                f"{state.get('version')!r}; start a new trial",
                field="version",
            )
        try:
            return cls._restored(state)
        except (KeyError, TypeError, ValueError) as error:
            raise StatsInputError(f"trial state: cannot be read ({error!r}); start a new trial") from error

    @classmethod
    def _restored(cls, state: Mapping[str, Any]) -> Self:
        trial = cls(fraction=state["fraction"])
        trial._verdict = state["verdict"]
        trial._events, trial._units, trial._recurring = state["events"], state["units"], state["recurring"]
        trial._seen, trial._count, trial._failing = list(state["seen"]), list(state["count"]), list(state["failing"])
        trial._rate = PooledRate(*state["rate"])
        trial._better = Wager(BETTER, VERIFY_AT, state["better"])
        trial._worse = Wager(WORSE, WORSE_AT, state["worse"])
        trial._same = Sameness(state["same"])
        for key, *unit in state["open"]:
            trial._open[int(key, 16)] = _Open(*unit)
        done = base64.b64decode(state["done"], validate=True)
        trial._done = {int.from_bytes(done[i : i + UNIT_BYTES], "big") for i in range(0, len(done), UNIT_BYTES)}
        return trial
