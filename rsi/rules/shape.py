"""What a rule is: the shapes of `rules/classify/*.yaml` and `rules/fix/*.yaml` (docs/reference/rules.md)."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec

from rsi.config import seconds
from rsi.model import Severity
from rsi.rules.source import Problem

Kind: TypeAlias = Literal["classify", "fix"]
Origin: TypeAlias = Literal["builtin", "user"]
RuleStatus: TypeAlias = Literal["stable", "experimental"]

#: Set by the loader, never by a file.
RESERVED: Final = frozenset({"origin", "file", "line"})

_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Positive = Annotated[float, msgspec.Meta(gt=0)]
_Zero = Annotated[float, msgspec.Meta(ge=0)]
_Extra = Annotated[float, msgspec.Meta(ge=0, le=10)]  # eleven times as much: what allows more guards nothing
_Count = Annotated[int, msgspec.Meta(ge=1)]
_Precedence = Annotated[int, msgspec.Meta(ge=0, le=1000)]
_Id = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
_Sentence = Annotated[str, msgspec.Meta(min_length=1, max_length=600)]


class _Shape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Condition(_Shape, frozen=True):
    """All fields that are given must hold; within a field one of the list is enough.

    `error_type`: class names, `*` for any letters (`RateLimit*`), compared without module and case; `status`: HTTP
    statuses (429) or classes (`5xx`); `code`: whole words such as `insufficient_quota`; `message`: phrases.
    """

    error_type: list[str] = []
    status: list[int | str] = []
    provider: list[str] = []
    code: list[str] = []
    message: list[str] = []
    not_message: list[str] = []


class Match(_Shape, frozen=True):
    """One of `any`, all of `all`, and no phrase of `not_message`."""

    any: Annotated[list[Condition], msgspec.Meta(min_length=1)]
    all: list[Condition] = []
    not_message: list[str] = []


class ClassifyRule(_Shape, frozen=True):
    """What an error is. `precedence`: the highest matching rule decides; `confidence` is a probability."""

    id: _Id
    category: str
    match: Match
    precedence: _Precedence
    confidence: _Share
    date: str
    status: RuleStatus = "stable"
    severity: Severity | None = None
    false_positives: str = ""
    origin: Origin = "builtin"
    file: str = ""
    line: int = 0


class When(_Shape, frozen=True):
    """When a fix rule speaks: over `window` (`24h`), in one scope and category.

    `min_failures` counts unrecovered failures, `min_rate` is their share of tasks, `idempotent: required` means that
    a person or an adapter declared the task repeatable, `undeclared` that nobody did, `fallbacks_declared` that the
    source lists fallbacks.
    """

    min_failures: _Count = 3
    min_rate: _Share = 0.0
    min_tasks: Annotated[int, msgspec.Meta(ge=0)] = 0
    window: str = "24h"
    idempotent: Literal["required", "undeclared", "any"] = "any"
    fallbacks_declared: bool = False

    @property
    def window_s(self) -> float:
        """The window in seconds."""
        return seconds(self.window)


class FixChange(_Shape, frozen=True):
    """One knob and its merge value (RFC 7396): plain data, or a `Scaled` / `Declared` that the planner resolves."""

    knob: str
    value: Any


class FixVerify(_Shape, frozen=True):
    """`expect_ratio`: failures with the fix over failures without it that the rule hopes for, in [0, 1)."""

    expect_ratio: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.5


class Allowance(_Shape, frozen=True):
    """What the fix may cost on average, as a share of what is without it: 0.2 is a fifth more.

    `extra_calls` per call holds for tokens and cost, too, unless theirs is given. `extra_latency` is of tasks whose
    first try worked, `extra_other` of failures in categories that the rule is not about. Where nothing, or less than
    the knob's own, is said, the knob's own holds (docs/verdicts.md).
    """

    extra_calls: _Extra = 0.0
    extra_latency: _Extra | None = None
    extra_tokens: _Extra | None = None
    extra_cost: _Extra | None = None
    extra_other: _Extra | None = None


class FixRule(_Shape, frozen=True):
    """What to do about a category. `change: null` is advice only; without `safe` it is proposed, not applied."""

    id: _Id
    title: _Sentence
    categories: Annotated[list[str], msgspec.Meta(min_length=1)]
    why: _Sentence
    suggest: _Sentence
    date: str
    when: When = When()
    change: FixChange | None = None
    bounds: dict[str, float] = {}
    safe: bool = False
    verify: FixVerify = FixVerify()
    allowance: Allowance = Allowance()
    precedence: _Precedence = 500
    status: RuleStatus = "stable"
    origin: Origin = "builtin"
    file: str = ""
    line: int = 0

    @property
    def may_apply(self) -> bool:
        """Whether this rule may be applied without a person before it has a record of its own."""
        return self.safe and self.change is not None and self.status == "stable" and self.origin == "builtin"


class Scaled(_Shape, frozen=True):
    """`scale` times the scope's present value (`current`) or its healthy 95th percentile (`p95`).

    `default` where neither is known; the result is held within `min` and `max`.
    """

    scale: _Positive
    of: Literal["p95", "current"]
    default: _Positive
    min: _Positive | None = None
    max: _Positive | None = None


class Declared(_Shape, frozen=True):
    """What the user listed for the source (`sources.<name>.fallbacks`), in that order."""

    source: Literal["declared"] = msgspec.field(name="from")


class RetryValue(_Shape, frozen=True):
    """`retry`: delays in s; `jitter` is the share of each delay that is drawn at random (1.0: all of it)."""

    max_attempts: _Count = 1
    initial_s: _Zero = 0.0
    multiplier: Annotated[float, msgspec.Meta(ge=1)] = 1.0
    max_s: _Zero = 0.0
    jitter: _Share = 1.0
    on: list[str] = []
    honour_retry_after: bool = True


class ReaskValue(_Shape, frozen=True):
    """`reask`: how often the model is asked again with the parser's complaint."""

    on: list[str] = []
    max: Annotated[int, msgspec.Meta(ge=0, le=3)] = 1


class BreakerValue(_Shape, frozen=True):
    """`breaker`: opens after `failures` in a row, tries again after `reset_s`."""

    failures: _Count = 5
    reset_s: _Positive = 30.0


class StopValue(_Shape, frozen=True):
    """`stop`: categories at which the run ends instead of going on."""

    on: list[str] = []


#: What `change.value` must look like, by knob.
KNOB_VALUES: Final[dict[str, Any]] = {
    "retry": RetryValue,
    "timeout_s": _Positive | Scaled,
    "fallbacks": list[str] | Declared,
    "max_concurrency": _Count | Scaled,
    "breaker": BreakerValue,
    "max_output_tokens": _Count | Scaled,
    "reask": ReaskValue,
    "lessons": list[Any],
    "stop": StopValue,
}


class RuleSet(msgspec.Struct, frozen=True):
    """What was loaded: rules, highest precedence first, and what was skipped."""

    kind: Kind
    rules: tuple[Any, ...]
    problems: tuple[Problem, ...] = ()
