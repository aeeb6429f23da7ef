"""An outcome on its way out, in the contract's spelling (§2).

A msgspec struct: made in half a microsecond in the caller's thread, and encoded without a dict in between. The garbage
collector need not look at it (`gc=False`): nothing in it points back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from rsi.model import FixRef, Kind, Status

MAX_TEXT: Final = 16 * 1024  # characters of `input` and `output`: the daemon's limit for them


class Item(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """The fields of an outcome; what is `None` is not sent. `error` becomes an object when it is encoded."""

    id: str
    ts: float
    source: str
    task: str
    kind: Kind
    status: Status
    success: bool | None = None
    error: Any = None
    duration_ms: float | None = None
    session: str | None = None
    run: str | None = None
    parent: str | None = None
    attempt: int | None = None
    user: str | None = None
    fixes: list[FixRef] | None = None
    policy_version: int | None = None
    model: str | None = None
    provider: str | None = None
    tokens_in: float | None = None
    tokens_out: float | None = None
    cost_usd: float | None = None
    quality: float | None = None
    release: str | None = None
    env: str | None = None
    tags: list[str] | None = None
    metadata: Mapping[str, Any] | None = None
    input: str | None = None
    output: str | None = None
    issues: list[str] | None = None


#: Fields that can hold the host's words; the rest is numbers and words of our own.
TEXTS: Final = (
    "task",
    "source",
    "session",
    "user",
    "error",
    "model",
    "provider",
    "release",
    "env",
    "tags",
    "metadata",
    "input",
    "output",
    "issues",
)
