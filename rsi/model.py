"""The nouns: what an agent tried, what keeps failing, what we changed, and whether it helped.

Frozen values without I/O, in the words of the field. Times are epoch seconds (UTC) unless a field says otherwise;
rates and probabilities are in [0, 1]. msgspec structs, so that the same class is the value and its JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Final, Literal, Protocol, TypeAlias, runtime_checkable

import msgspec

DEFAULT_PROJECT: Final = "default"

CATEGORIES: Final[tuple[str, ...]] = (
    "rate_limit", "quota_exhausted", "overloaded", "provider_5xx", "timeout_model", "timeout_tool", "connection",
    "auth", "permission", "model_not_found", "context_overflow", "output_truncated", "empty_response", "refusal",
    "invalid_request", "output_parse", "schema_validation", "tool_args", "tool_unknown", "tool_execution",
    "no_progress", "budget_exceeded", "chat_history_invalid", "context_lost", "state_conflict", "missing_resource",
    "code_bug", "resource_exhausted", "mcp_transport", "quality", "not_a_failure", "unknown",
)  # fmt: skip

KNOBS: Final[tuple[str, ...]] = (
    "retry", "timeout_s", "fallbacks", "max_concurrency", "breaker", "max_output_tokens", "reask", "lessons", "stop",
)  # fmt: skip

#: Knobs that can be given to one unit and withheld from another, so that a canary can be randomised (design, 8).
SPLITTABLE_KNOBS: Final = frozenset({"retry", "timeout_s", "fallbacks", "reask", "max_output_tokens", "lessons"})
#: Knobs that hold for a whole process: their canary's unit is the client process, its arm drawn by the client's id.
PROCESS_KNOBS: Final = frozenset({"max_concurrency"})

Kind: TypeAlias = Literal["task", "step", "tool", "llm"]
Status: TypeAlias = Literal["ok", "failed", "paused", "cancelled", "started"]
Arm: TypeAlias = Literal["fixed", "control"]
IssueState: TypeAlias = Literal["new", "ongoing", "escalating", "regressed", "resolved", "ignored"]
Trend: TypeAlias = Literal["new", "stable", "increasing", "decreasing"]
Severity: TypeAlias = Literal["low", "medium", "high", "critical"]
FixState: TypeAlias = Literal[
    "proposed", "approved", "checking", "canary", "verified", "kept_unverified",
    "rolled_back", "removed", "rejected", "superseded", "failed",
]  # fmt: skip
VerdictOutcome: TypeAlias = Literal["verified", "worse", "no_difference", "undecided", "no_data"]
CheckOutcome: TypeAlias = Literal["passed", "red_before", "nothing", "unclear", "broke", "not_run"]
IncidentState: TypeAlias = Literal["open", "over"]
HealthState: TypeAlias = Literal["healthy", "degraded", "unhealthy", "unknown"]


class FixRef(msgspec.Struct, frozen=True):
    """One experiment a unit was in when it started.

    `f` is the fraction in force then, `stage` the ramp's stage, `enforced` whether this client could act at all
    (decided before the arm was known, alike in both arms).
    """

    id: str
    arm: Arm
    f: float
    stage: int = 1
    enforced: bool = True


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing an agent tried (contract §2), parsed, redacted and with every alias resolved.

    Durations are ms, cost is USD, `quality` is 1..5. `backfill` means older than 24 h at arrival; `flags` name what
    ingest had to correct (`future_ts`, `truncated`, …).
    """

    id: str
    ts: float
    source: str
    task: str
    kind: Kind
    status: Status
    error: str | None = None
    error_type: str | None = None
    error_status: int | None = None
    stack: str | None = None
    model: str | None = None
    provider: str | None = None
    duration_ms: float | None = None
    tokens_in: float | None = None
    tokens_out: float | None = None
    cost_usd: float | None = None
    quality: float | None = None
    session: str | None = None
    run: str | None = None
    parent: str | None = None
    attempt: int | None = None
    user: str | None = None
    release: str | None = None
    env: str | None = None
    fixes: tuple[FixRef, ...] = ()
    policy_version: int | None = None
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = {}
    input: str | None = None
    output: str | None = None
    claimed: tuple[str, ...] = ()  # the agent's own `issues`, as categories
    backfill: bool = False
    flags: tuple[str, ...] = ()

    @property
    def unit(self) -> str:
        """The unit of a canary: session, else run, else id."""
        return self.session or self.run or self.id

    @property
    def failed(self) -> bool:
        """Paused, cancelled and started are not failures."""
        return self.status == "failed"

    @property
    def final(self) -> bool:
        """A task that ended ok or failed: the only thing that health and verdicts count."""
        return self.kind == "task" and self.status in ("ok", "failed")


class StoredOutcome(msgspec.Struct, frozen=True):
    """An outcome as it lies in the store: its row number, its arrival and itself."""

    seq: int
    arrived: float
    outcome: Outcome


class Category(msgspec.Struct, frozen=True):
    """What an error is. `by` is `rule:<id>`, `prototype` or `none`; confidence is a probability."""

    name: str
    confidence: float
    by: str


class Fingerprint(msgspec.Struct, frozen=True):
    """The identity of an error text: `hash` of mask version, error class and `template` (the masked text)."""

    hash: str
    template: str
    error_type: str | None = None


class Issue(msgspec.Struct, frozen=True, kw_only=True):
    """Something that keeps failing (contract §4, Pattern / Issue). Times are ISO 8601 UTC, as people read this."""

    id: str
    title: str
    category: str
    severity: Severity
    state: IssueState
    task_type: str
    sources: list[str]
    frequency: int
    unrecovered: int
    failure_rate: float
    impact_score: float
    first_seen: str
    last_seen: str
    recurring: bool
    trend: Trend
    sample_errors: list[str]
    suggested_action: str
    correlated: list[str]
    why: str


class Related(msgspec.Struct, frozen=True, kw_only=True):
    """An issue that may be the same as another: `cosine` in [-1, 1] of their nearest templates, `why` it is not yet."""

    issue: str
    title: str
    category: str
    cosine: float
    why: str


class IssueTemplate(msgspec.Struct, frozen=True, kw_only=True):
    """A template of an issue: seen `n` times; `id` is what `rsi split --template` takes, `why` why it is in there."""

    id: int
    template: str
    n: int
    why: str


class IssueInFull(Issue, frozen=True, kw_only=True):
    """One issue by itself: with its templates, oldest first, and what is possibly related to it, nearest first.

    `templates` are at most 100 of `templates_total`.
    """

    templates: list[IssueTemplate]
    templates_total: int
    related: list[Related]


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """Two issues that move together: `b` follows `a` by `lag_min` minutes. It says that they do, not why.

    `times`: minutes in which the rarer one struck close to the other, against `expected` by chance; `q`: the false
    discovery rate at which it is told; `named`: the taxonomy expects it. `says` has it in words.
    """

    a: str
    b: str
    lag_min: int
    times: int
    expected: float
    q: float
    named: bool
    says: str


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """Issues that move together, shown as one, with what is likely behind them. Times are ISO 8601 UTC."""

    id: str
    title: str
    likely_cause: str
    state: IncidentState
    issues: list[str]
    sources: list[str]
    started: str
    last_seen: str
    evidence: list[Link]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A reversible edit.

    For the runtime policy `target` is `policy:<source>/<task>`, `before` and `after` are patches of that scope
    (knob → value, `null` = unset) and `bounds` names the limits that `after` was checked against.
    """

    target: str
    before: dict[str, Any]
    after: dict[str, Any]
    bounds: dict[str, Any] = {}


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a fix helped. `p_*` are failure rates, `n_*` settled units; `at` is ISO 8601 UTC."""

    outcome: VerdictOutcome
    method: str
    cannot_exclude: str
    p_fixed: float | None = None
    p_control: float | None = None
    n_fixed: int = 0
    n_control: int = 0
    at: str | None = None
    why: str = ""


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What a fix costs against what it saves, over the `tasks` that ended with it while there was a control arm.

    Estimates: these tasks against as many at the control arm's rates. Negative is less than without the fix; `None`
    is not known (nobody reported tokens, or how long it took). `…_95`: the 95 % interval by `method`; `None` where
    there are too few units in an arm (20), or nothing varied.
    """

    tasks: int = 0
    failures_avoided: float = 0.0
    extra_calls: float = 0.0
    extra_tokens: float | None = None
    extra_s: float | None = None
    failures_avoided_95: tuple[float, float] | None = None
    extra_calls_95: tuple[float, float] | None = None
    extra_tokens_95: tuple[float, float] | None = None
    extra_s_95: tuple[float, float] | None = None
    method: str = ""


class CheckRun(msgspec.Struct, frozen=True, kw_only=True):
    """One command on one copy of the workspace. `output` is untrusted text: redacted, cut, without control codes."""

    ok: bool
    exit: int  # 128 + signal when a signal ended it
    killed_by: str | None = None  # the limit that ended it
    seconds: float = 0.0
    output: str = ""


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """The recorded input of a failed outcome, given to a command `times` times on either copy; how often it worked."""

    outcome: str
    times: int
    ok_with: int
    ok_without: int
    output_with: str = ""  # of the last run, as in `CheckRun`
    output_without: str = ""


class Check(msgspec.Struct, frozen=True, kw_only=True, rename={"with_it": "with"}):
    """What the check before a fix said (`evidence.check`): commands on a copy with the change in it, and without.

    `red_before`: it failed without the change too, in the same way. `unclear`: it failed in both, in different ways.
    `nothing`: there was nothing to replay. `key` names what was checked: the change and the commands.
    """

    outcome: CheckOutcome
    why: str
    key: str
    at: str  # ISO 8601
    backend: str | None = None  # the sandbox's; None: none was opened
    command: str | None = None
    with_it: CheckRun | None = None
    without: CheckRun | None = None
    replay: Replay | None = None


class Regression(msgspec.Struct, frozen=True, kw_only=True):
    """The scope of a verified fix fails significantly more than when it was verified (docs/verdicts.md).

    `not_the_fix`: what has no fix fails as well. `asked`: the holdout will tell. `suspected`: nobody can tell any more.
    """

    kind: Literal["not_the_fix", "asked", "suspected"]
    why: str
    since: str  # ISO 8601: when it was first said


class Fix(msgspec.Struct, frozen=True, kw_only=True):
    """A change with its reason, its evidence and its verdict (contract §4, Fix)."""

    id: str
    issue: str
    rule: str
    category: str
    state: FixState
    safe: bool
    source: str
    task: str
    knob: str
    title: str
    change: Change
    evidence: dict[str, Any] = {}
    verdict: Verdict | None = None
    cost: Cost | None = None  # None: it was never tried
    regression: Regression | None = None  # of a verified fix whose scope fails again
    rails: list[str] = []  # why it is not applied, one sentence per rail that said no …
    refused_by: list[str] = []  # … and the names of these rails, in the same order
    diff: str = ""  # what it changes: values of knobs, or a unified diff of a file (which may quote what stands there)
    file: str = ""  # of a change to a file: what became of it, in a sentence
    journal: list[dict[str, Any]] = []
    created_at: str
    updated_at: str


class Experiment(msgspec.Struct, frozen=True, kw_only=True):
    """An open trial in the policy. `patch` is an RFC 7396 merge patch on the scope (source, task); `*` matches all."""

    fix: str
    state: Literal["canary", "holdout"]
    stage: int
    salt: str
    fraction: float
    source: str
    task: str
    knobs: list[str]
    patch: dict[str, Any]


class Scope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Knobs for (source, task). `origin` says per knob who set it: `{fix, state}`."""

    source: str = msgspec.field(default_factory=lambda: "*")  # so that the wire says it, default or not
    task: str = msgspec.field(default_factory=lambda: "*")
    retry: dict[str, Any] | None = None
    timeout_s: float | None = None
    fallbacks: list[str] | None = None
    max_concurrency: int | None = None
    breaker: dict[str, Any] | None = None
    max_output_tokens: int | None = None
    reask: dict[str, Any] | None = None
    lessons: list[Any] | None = None
    stop: dict[str, Any] | None = None
    origin: dict[str, dict[str, Any]] = {}


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The one document that goes back to agents. `valid_until` is ISO 8601 UTC."""

    version: int
    valid_until: str
    scopes: list[Scope] = []
    experiments: list[Experiment] = []


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """Posterior of the success rate: mean, 95 % interval, effective n, and what may be said of it."""

    health_score: float | None
    lo: float
    hi: float
    n: float
    state: HealthState
    as_of: str
    sources: dict[str, Any] = {}


class Rejected(msgspec.Struct, frozen=True):
    """An item that was refused: its place in the batch, where and why."""

    index: int
    error: str


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What ingest did with a batch. `ids` are those of accepted and duplicate items, in order."""

    accepted: int = 0
    duplicates: int = 0
    rejected: list[Rejected] = []
    ids: list[str] = []


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What a door hands in: bytes as they came, or items already decoded.

    `body` is JSON (object or array) or, with `ndjson`, one JSON value per line. `id_prefix` names items without an id
    `<prefix>:<n>` (so that a replay is one), otherwise they get a fresh id. `door` says where it came in, for logs.
    """

    door: str
    body: bytes | None = None
    items: Sequence[Any] | None = None
    ndjson: bool = False
    id_prefix: str | None = None


#: Parse, redact, dedupe and store one batch. The future resolves once it is durable; it fails with `StoreBusyError`
#: when nothing was stored. Raises `InvalidInputError` (not JSON, wrong shape) or `TooLargeError` before it returns.
Submit: TypeAlias = Callable[[Batch], "Future[Receipt]"]


@runtime_checkable
class Intake(Protocol):
    """A door of the daemon (entry-point group `rsi.intakes`): owns transport and mapping, hands batches to `submit`.

    A class with this shape is constructed as `cls(home: Path, config: Config)`.
    """

    name: str

    def start(self, submit: Submit) -> None:
        """Begin to take things in, in threads of its own; returns at once."""

    def routes(self, submit: Submit) -> Sequence[Any]:
        """Starlette routes that this door contributes (empty if none)."""

    def sweep(self, submit: Submit) -> int:
        """Take what is waiting now, in this thread; the number of batches taken. Used by `rsi up --once`."""

    def stop(self) -> None:
        """Take nothing more, wait for what is under way."""

    def status(self) -> Mapping[str, Any]:
        """Counters and troubles for `rsi status`."""


@runtime_checkable
class Adapter(Protocol):
    """A framework's adapter in the agent's process (entry-point group `rsi.adapters`)."""

    name: str

    def available(self) -> bool:
        """Whether the framework can be imported here."""

    def install(self) -> str:
        """Hook it; a sentence that says what was hooked."""


#: msgspec builds what it needs to read a type when the type is first read, and two threads that do so at the same time
#: crash the process (0.22, seen for real). So it is built here, while one thread imports this module.
_READERS: Final = tuple(
    msgspec.json.Decoder(noun)
    for noun in (
        Outcome,
        Issue,
        IssueInFull,
        IssueTemplate,
        Incident,
        Check,
        Fix,
        Policy,
        Health,
        Receipt,
        Category,
        Fingerprint,
        Scope,
        Experiment,
        Change,
        Verdict,
    )
)
