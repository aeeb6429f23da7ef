"""What goes wrong at the fleet's provider: one script per incident. Whether a call fails is a hash of seed, unit and try."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256

#: A healthy answer takes so long, in virtual seconds.
ANSWER_S = 1.0
#: So long the agents wait for an answer unless a policy says otherwise.
PATIENCE_S = 20.0


@dataclass(frozen=True)
class Said:
    """What the provider does: a status and a body after `latency_s`; 0 is a connection that dies."""

    status: int = 200
    body: str = "fine"
    latency_s: float = ANSWER_S
    retry_after: float | None = None


FINE = Said()


@dataclass
class Asked:
    """One call as the provider sees it. `since` is seconds since the incident began, `attempt` begins at 1."""

    source: str
    unit: str
    attempt: int
    model: str
    reasked: bool
    since: float
    seed: int

    def draw(self, what: str = "") -> float:
        """0..1, the same for the same unit and try in every paired run."""
        text = f"{self.seed}:{self.source}:{self.unit}:{self.attempt}:{what}"
        return int.from_bytes(sha256(text.encode()).digest()[:8], "big") / 2**64


Script = Callable[[Asked], Said]


@dataclass(frozen=True)
class Incident:
    """One scenario. `transient`: counted among those that must be healed; `retries`: whether more calls may be made at all."""

    name: str
    make: Callable[[], Script]
    transient: bool = False
    retries: bool = True
    config: str = ""
    sources: tuple[str, ...] = ("shop",)
    note: str = ""
    ends_after_s: float | None = None
    never_verified: bool = False
    from_start: bool = False  # in force while the agents warm up, too
    lasts: float = 1.0  # times as long as the others: bursts take many of them until anything is known
    starts: bool | None = None  # whether a fix must, or must not, be started; None: as it comes
    paused: bool = False  # a person has stopped all applying
    approved: bool = False  # a person says yes to what is proposed
    knobs: tuple[str, ...] = field(default=("retry", "fallbacks", "reask", "timeout_s"))


def _in_burst(since: float, every: float, length: float) -> bool:
    return since % every < length


def rate_limit(share: float, length_s: float) -> Callable[[], Script]:
    """Bursts of 429 with a Retry-After: so many seconds of every 100 s refuse this share of the calls."""

    def make() -> Script:
        def script(asked: Asked) -> Said:
            if _in_burst(asked.since, 100, length_s) and asked.draw() < share:
                return Said(429, "Rate limit reached for requests per min (RPM)", 0.1, retry_after=2.0)
            return FINE

        return script

    return make


def storm_503() -> Script:
    """503 storms: half of the calls in 30 s of every 120 s."""

    def script(asked: Asked) -> Said:
        if _in_burst(asked.since, 120, 30) and asked.draw() < 0.5:
            return Said(503, "The server is overloaded or not ready yet.", 0.2)
        return FINE

    return script


def slow() -> Script:
    """One answer in eight never comes within the agents' patience."""

    def script(asked: Asked) -> Said:
        return Said(latency_s=300.0) if asked.draw() < 0.125 else FINE

    return script


def dying() -> Script:
    """One connection in six is closed before the answer."""

    def script(asked: Asked) -> Said:
        return Said(0, latency_s=0.3) if asked.draw() < 0.16 else FINE

    return script


def server_errors() -> Script:
    """A quarter of the calls ends with a 500 in 60 s of every 100 s."""

    def script(asked: Asked) -> Said:
        if _in_burst(asked.since, 100, 60) and asked.draw() < 0.25:
            return Said(500, "The server had an error while processing your request. Sorry about that!", 0.5)
        return FINE

    return script


def malformed() -> Script:
    """One answer in six is no JSON; asked again with the complaint, nineteen in twenty are."""

    def script(asked: Asked) -> Said:
        bad = asked.draw() < (0.05 if asked.reasked else 0.16)
        return Said(200, "not json") if bad else FINE

    return script


def permanent(status: int, body: str, share: float = 0.2) -> Callable[[], Script]:
    """A share of the units fails whatever is tried."""

    def make() -> Script:
        def script(asked: Asked) -> Said:
            stuck = Asked(asked.source, asked.unit, 0, "", False, 0.0, asked.seed).draw("stuck") < share
            return Said(status, body, 0.2) if stuck else FINE

        return script

    return make


def model_removed() -> Script:
    """The model is gone for a fifth of the calls (regions roll over one by one); the declared one is there."""

    def script(asked: Asked) -> Said:
        stuck = Asked(asked.source, asked.unit, 0, "", False, 0.0, asked.seed).draw("stuck") < 0.2
        if stuck and asked.model == "first":
            return Said(404, "The model `first` does not exist or you do not have access to it.", 0.2)
        return FINE

    return script


def one_bad_source() -> Script:
    """One of five sources sits behind a link that drops a fifth of its calls."""

    def script(asked: Asked) -> Said:
        return Said(0, latency_s=0.3) if asked.source == "shop" and asked.draw() < 0.2 else FINE

    return script


def ends_by_itself() -> Script:
    """An outage that is over after two minutes, before anything could have been proved."""

    def script(asked: Asked) -> Said:
        return Said(503, "Service Unavailable", 0.2) if asked.since < 120 and asked.draw() < 0.25 else FINE

    return script


def fixed_capacity() -> Script:
    """So many calls in any ten seconds and no more: a retry only takes a place from somebody else."""
    served: deque[float] = deque()

    def script(asked: Asked) -> Said:
        while served and served[0] <= asked.since - 10.0:
            served.popleft()
        if len(served) >= CAPACITY:
            return Said(429, "Rate limit reached: capacity", 0.1)
        served.append(asked.since)
        return FINE

    return script


def down(*sources: str) -> Callable[[], Script]:
    """All calls of these sources fail."""

    def make() -> Script:
        def script(asked: Asked) -> Said:
            return Said(503, "Service Unavailable", 0.2) if asked.source in sources else FINE

        return script

    return make


#: Calls in ten seconds, some four fifths of what the fleet would like.
CAPACITY = 36

SHORT = 1 / 3

_BACKUP = "sources: {shop: {fallbacks: [backup]}}\n"
_TEN = tuple(f"s{n}" for n in range(10))
_MANY = ("shop", "desk", "mail", "plan", "code")

INCIDENTS = (
    Incident("rate-limit bursts", rate_limit(0.4, 40), transient=True, lasts=2.0),
    Incident("503 storms", storm_503, transient=True, lasts=2.0),
    Incident("500 errors", server_errors, transient=True),
    Incident("slow answers", slow, transient=True),
    Incident("dying connections", dying, transient=True),
    Incident("malformed output", malformed, transient=True),
    Incident("model removed, backup declared", model_removed, config=_BACKUP, approved=True, note="stays so: proposed"),
    Incident("one bad source of five", one_bad_source, transient=True, sources=_MANY, lasts=2.0),
    Incident(
        "quota used up",
        permanent(
            429, "You exceeded your current quota, please check your plan and billing details. insufficient_quota"
        ),
        retries=False,
    ),
    Incident("bad key", permanent(401, "Incorrect API key provided"), retries=False),
    Incident("refusals", permanent(200, "refusal"), retries=False),
    Incident(
        "context overflow",
        permanent(
            400, "This model's maximum context length is 8192 tokens. However, your messages resulted in 9731 tokens."
        ),
        retries=False,
    ),
    Incident(
        "bursts beyond the budget",
        rate_limit(0.6, 25),
        lasts=2.0,
        note="the retry budget pays for some of the tries that they take: less may be healed, and no harm done",
    ),
    Incident("outage that ends by itself", ends_by_itself, ends_after_s=120.0, note="excluded from healed"),
    Incident(
        "fixed capacity",
        fixed_capacity,
        never_verified=True,
        from_start=True,
        note="retries only move failures around",
    ),
    Incident(
        "stuck 503",
        permanent(503, "Service Unavailable"),
        never_verified=True,
        note="looks transient, and no retry helps: a useless fix",
    ),
    Incident("half of ten sources down", down(*_TEN[:5]), sources=_TEN, starts=False, lasts=SHORT, note="storm guard"),
    Incident("one source of one down", down("shop"), starts=True, never_verified=True, lasts=SHORT),
    Incident("paused", dying, starts=False, paused=True, lasts=SHORT, note="a person has paused all applying"),
    Incident("nothing wrong", starts=False, make=lambda: lambda _: FINE, note="no fix at all is expected"),
)
