"""What new rows mean: everything that one pass of the analysis will write, before it is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from rsi.analyze.health import Alarm
from rsi.model import Category, Fingerprint, FixRef, Outcome, Severity, StoredOutcome
from rsi.store.fingerprints import Key
from rsi.store.health import HealthRow
from rsi.store.pending import Pending, Ref

HOUR_S = 3600.0
MINUTE_S = 60.0


class Place(NamedTuple):
    """A scope and the epoch hour: a cell of `issue_hours` (with an issue) or of `rollups` (with a category)."""

    source: str
    task: str
    hour: int


@dataclass(slots=True)
class Tally:
    """Failures of one template in one place: all, those that nothing made good, and final tasks."""

    n: int = 0
    unrecovered: int = 0
    tasks_failed: int = 0


class Moment(NamedTuple):
    """A source and the epoch minute."""

    source: str
    minute: int


@dataclass(slots=True)
class Strikes:
    """Live failures of one template in one moment, and who was called in which release, as far as it was said."""

    n: int = 0
    provider: str | None = None
    release: str | None = None


@dataclass(slots=True)
class Seen:
    """One template in these rows. `slot` is its id, or a negative number of this delta while it has none."""

    key: Key
    slot: int
    category: Category
    fingerprint: Fingerprint
    severity: Severity
    seqs: list[int] = field(default_factory=list)
    places: dict[Place, Tally] = field(default_factory=dict)
    moments: dict[Moment, Strikes] = field(default_factory=dict)
    samples: list[str] = field(default_factory=list)
    live: int = 0
    first: float = float("inf")
    last: float = float("-inf")
    lost_at: float | None = None
    release: str | None = None

    def lose(self, place: Place, at: float, *, backfill: bool, release: str | None) -> None:
        """One of its failures was made good by nobody."""
        self.places[place].unrecovered += 1
        self.live += not backfill
        self.lost_at = at if self.lost_at is None else max(at, self.lost_at)
        self.release = release or self.release


@dataclass(slots=True)
class Waiting:
    """A failed step that asks for its parent's end: a new one (`seen`), or one that waited already (`stored`)."""

    source: str
    parent: str
    place: Place
    backfill: bool
    at: float
    ts: float
    seen: Seen | None = None
    stored: Pending | None = None
    release: str | None = None


@dataclass(slots=True)
class Touch:
    """What happened to an issue in a pass: when it last struck unrecovered (epoch seconds), and in which release."""

    lost_at: float | None = None
    release: str | None = None


@dataclass(slots=True)
class Delta:
    """Everything that follows from some rows. `write` applies it, and fills in `touched` and `created`."""

    now: float
    rows: int = 0
    up_to: int = 0  # the newest row that is in here: the next watermark
    seen: dict[Key, Seen] = field(default_factory=dict)
    attempts: dict[Moment, int] = field(default_factory=dict)  # live outcomes but failed steps: repeating is no traffic
    excused: dict[Place, int] = field(default_factory=dict)  # final tasks that failed and were not failures
    health: list[HealthRow] = field(default_factory=list)
    alarms: list[Alarm] = field(default_factory=list)
    waits: list[Waiting] = field(default_factory=list)  # new steps that begin to wait
    settled: list[int] = field(default_factory=list)  # stored steps that wait no more
    handed_up: dict[int, str] = field(default_factory=dict)  # stored steps that wait for another parent now
    once: dict[str, str] = field(default_factory=dict)  # templates that may be normal work → the session they were in
    lost: list[Pending] = field(default_factory=list)  # stored steps that nobody made good
    trial_events: list[tuple[StoredOutcome, FixRef]] = field(default_factory=list)
    named: dict[Ref, str] = field(default_factory=dict)  # categories of failed tasks in a trial
    touched: dict[int, Touch] = field(default_factory=dict)
    created: list[int] = field(default_factory=list)

    @property
    def trial_outcomes(self) -> list[Outcome]:
        """The outcomes of `trial_events`, each once, in order of arrival."""
        return [row.outcome for row in {row.seq: row for row, _ in self.trial_events}.values()]

    def category(self, outcome: Outcome) -> str:
        """What a failed outcome of `trial_outcomes` is here: by this home's rules, and what prototypes made of it."""
        return self.named[outcome.source, outcome.id]
