"""What is kept of a span until its trace can be told: no prompt, no answer, and no secret."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from rsi.model import Status

#: What a span is for; empty: nothing of an agent's (an HTTP call, a database query).
Role: TypeAlias = Literal["run", "step", "tool", "llm", "grade", ""]


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """What ended a span, as it says itself. `type` is the exception's class without its module."""

    type: str | None = None
    message: str | None = None
    stack: str | None = None
    status: int | None = None


class Fact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One span, or one grade that a judge gave to the span `parent`.

    Times are epoch seconds, `quality` is 1..5. `name` is what it is called inside a run, `run_name` what a run is
    called whose root it is. `alone`: as a root it is no task. `remote`: its parent is in another process.
    """

    trace: str
    span: str
    parent: str
    source: str
    role: Role
    name: str
    run_name: str
    start: float
    end: float
    status: Status = "ok"
    failure: Failure | None = None
    model: str | None = None
    provider: str | None = None
    tokens_in: float | None = None
    tokens_out: float | None = None
    cost_usd: float | None = None
    quality: float | None = None
    session: str | None = None
    user: str | None = None
    release: str | None = None
    env: str | None = None
    alone: bool = False
    remote: bool = False

    @property
    def failed(self) -> bool:
        """Only a status of ERROR that is no control flow."""
        return self.status == "failed"
