"""What an agent may send (contract §2), as msgspec reads it: strict types, every alias a field of its own.

`Wire` forbids unknown fields, so that the fast path can decode a whole body at once; an item that has some is read
again, slowly, by `parse.one`. Bounds stand here and their wording beside them, so that a message cannot drift.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from rsi.model import Arm, Kind, Status

#: Beyond these a number is a mistake, and SQLite or a client in another language would choke on it.
_MAX_INT: Final = 2**53

Amount = Annotated[float, Meta(ge=0, le=1e18)]
Text = str
Key = str | Annotated[int, Meta(ge=-_MAX_INT, le=_MAX_INT)]
Id = Annotated[str, Meta(min_length=1, max_length=128)]


class WireError(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """`error` as an object."""

    type: str | None = None
    message: str | None = None
    stack: str | None = None
    status: Annotated[int, Meta(ge=0, le=999)] | None = None


class WireFix(msgspec.Struct, gc=False):
    """One experiment that the unit was in. Unknown fields are ignored: a newer client may say more."""

    id: Annotated[str, Meta(min_length=1, max_length=64)]
    arm: Arm
    f: Annotated[float, Meta(ge=0, le=1)]
    stage: Annotated[int, Meta(ge=0, le=1000)] = 1
    enforced: bool = True


class Wire(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, omit_defaults=True, gc=False):
    """One outcome as sent. `None` is absent. JSON has no cycles: the collector need not look at thousands of these."""

    id: Id | None = None
    ts: float | str | None = None
    timestamp: float | str | None = None
    source: Text | None = None
    task: Text | None = None
    task_type: Text | None = None
    success: bool | None = None
    error: str | WireError | None = None
    error_message: str | WireError | None = None
    error_msg: str | WireError | None = None
    error_type: Text | None = None
    kind: Kind | None = None
    model: Text | None = None
    provider: Text | None = None
    duration_ms: Amount | None = None
    tokens_in: Amount | None = None
    tokens_out: Amount | None = None
    cost_usd: Amount | None = None
    quality: Annotated[float, Meta(ge=1, le=5)] | None = None
    session: Key | None = None
    session_id: Key | None = None
    run: Key | None = None
    run_id: Key | None = None
    parent: Key | None = None
    parent_id: Key | None = None
    attempt: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    user: Key | None = None
    user_id: Key | None = None
    release: Text | None = None
    env: Text | None = None
    fixes: Annotated[list[WireFix], Meta(max_length=64)] | None = None
    policy_version: Annotated[int, Meta(ge=0, le=_MAX_INT)] | None = None
    status: Status | None = None
    tags: list[str] | None = None
    metadata: dict[str, Any] | None = None
    input: str | None = None
    output: str | None = None
    issues: list[str] | None = None


_NUMBER: Final = "a number ≥ 0"
_KEY: Final = "text or a whole number"
_WORDS: Final = 'a list of texts, like ["a", "b"]'
_ERROR: Final = "text, or an object {type, message, stack, status}"
_TS: Final = "an ISO 8601 time or epoch seconds"


def _choice(kinds: Any) -> str:
    return "one of " + ", ".join(kinds.__args__)


#: What to say was expected, by the field's name in the last step of the path (list positions aside).
EXPECTED: Final[dict[str, str]] = {
    "id": "text of 1 to 128 characters",
    "ts": _TS, "timestamp": _TS,
    "success": "true or false",
    "error": _ERROR, "error_message": _ERROR, "error_msg": _ERROR,
    "error.status": "a whole number from 0 to 999",
    "kind": _choice(Kind), "status": _choice(Status),
    "duration_ms": _NUMBER, "tokens_in": _NUMBER, "tokens_out": _NUMBER, "cost_usd": _NUMBER,
    "quality": "a number from 1 to 5",
    "session": _KEY, "session_id": _KEY, "run": _KEY, "run_id": _KEY, "parent": _KEY, "parent_id": _KEY,
    "user": _KEY, "user_id": _KEY,
    "attempt": "a whole number from 0 to 1000000",
    "fixes": "a list of at most 64 {id, arm, f, stage, enforced}",
    "fixes.arm": _choice(Arm), "fixes.f": "a number from 0 to 1", "fixes.stage": "a whole number from 0 to 1000",
    "fixes.enforced": "true or false", "fixes.id": "text of 1 to 64 characters",
    "policy_version": "a whole number ≥ 0",
    "tags": _WORDS, "issues": _WORDS,
    "metadata": "an object",
}  # fmt: skip
TEXT: Final = "text"

FIELDS: Final = frozenset(Wire.__struct_fields__)
ERROR_FIELDS: Final = frozenset(WireError.__struct_fields__)

#: An item as JSON again, for keeping what was refused.
encode: Final = msgspec.json.Encoder().encode
