"""Item → `Outcome`: aliases resolved, secrets out, times checked, names bounded. No I/O.

Everything a sender wrote passes the redactor here, before anybody hashes, counts, logs or stores it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from rsi import clock
from rsi.classify import legacy
from rsi.config import Limits
from rsi.errors import InvalidInputError
from rsi.ingest.tasks import OTHER, TaskNames
from rsi.ingest.wire import Wire, WireFix
from rsi.model import FixRef, Outcome, Status
from rsi.redact import Redactor

FUTURE_S: Final = 300.0
BACKFILL_S: Final = 86_400.0
#: Above this a number is epoch milliseconds (contract §2): as seconds it would be the year 5138.
_MS_ABOVE: Final = 1e11
#: The year 9999, the last that ISO 8601 can say.
_LAST_TS: Final = 253_402_300_799.0
#: What an outcome without a source is of. Adapters never send this.
NO_SOURCE: Final = "generic"
#: What `legacy` says of a word that it does not know.
_UNKNOWN: Final = "unknown"
_NAME_CHARS: Final = 200
#: Short texts that come again and again are redacted once.
_REMEMBERED: Final = 8192
_REMEMBERED_CHARS: Final = 128

_MS_MASK: Final = (1 << 48) - 1

#: A UUID or 128 bits of hex: too random to be anything else, and by far the most frequent id.
_RANDOM: Final = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def fresh_id(now: float) -> str:
    """32 hex digits: 48 bits of milliseconds, then 80 random ones, as in UUIDv7 (RFC 9562).

    Ids that grow are appended to the store's index; random ones are written all over it.

    Args:
        now: epoch seconds.
    """
    return f"{int(now * 1000) & _MS_MASK:012x}{os.urandom(10).hex()}"


class _Remembered(dict[str | None, str | None]):
    """Short texts that come again and again, cleaned once: a look-up at C speed, bounded, `None` stays `None`."""

    def __init__(self, clean: Callable[[str], str]) -> None:
        super().__init__({None: None})
        self._clean = clean

    def __missing__(self, text: str | None) -> str | None:
        if text is None:
            return None
        found = self._clean(text)
        if len(text) <= _REMEMBERED_CHARS:
            if len(self) >= _REMEMBERED:
                self.clear()
            self[text] = found
        return found


class Normaliser:
    """Turns checked items into outcomes. Safe to use from any thread.

    Args:
        redactor: what takes the secrets out.
        tasks: which task names there are.
        limits: sizes.
    """

    def __init__(self, redactor: Redactor, tasks: TaskNames, limits: Limits) -> None:
        self._redactor = redactor
        self._tasks = tasks
        self._limits = limits
        self._names = _Remembered(self._name)
        self._words = _Remembered(redactor.text)

    def outcome(self, item: Wire, where: str, default_id: str, arrived: float) -> Outcome:
        """One outcome.

        Args:
            item: as it was sent.
            where: begins the messages (`outcome[3]`).
            default_id: for an item without one.
            arrived: epoch seconds.

        Raises:
            InvalidInputError: what the types alone cannot say: no task, no success, a contradiction, no time.
        """
        flags: list[str] = []
        names = self._names
        source = names[item.source] or NO_SOURCE
        status = _status(item, where)
        ts, backfill = _time(item, where, arrived, flags)
        ident = default_id if item.id is None else self._id(item.id, where)
        task = self._task(source, item, where, flags)
        claimed, metadata = self._claims(item) if item.issues or item.metadata else _NO_CLAIMS
        error, error_type, error_status, stack = self._error(item)
        session = item.session if item.session is not None else item.session_id
        run = item.run if item.run is not None else item.run_id
        parent = item.parent if item.parent is not None else item.parent_id
        user = item.user if item.user is not None else item.user_id
        key = self._key
        return Outcome(
            id=ident, ts=ts, source=source, task=task, kind=item.kind or "task", status=status,
            error=error, error_type=error_type, error_status=error_status, stack=stack,
            model=names[item.model], provider=names[item.provider],
            duration_ms=item.duration_ms, tokens_in=item.tokens_in, tokens_out=item.tokens_out,
            cost_usd=item.cost_usd, quality=item.quality,
            session=None if session is None else key(session), run=None if run is None else key(run),
            parent=None if parent is None else key(parent), attempt=item.attempt,
            user=None if user is None else key(user), release=names[item.release], env=names[item.env],
            fixes=_fixes(item.fixes) if item.fixes else (), policy_version=item.policy_version,
            tags=self._tags(item.tags) if item.tags else (), metadata=metadata,
            input=None if item.input is None else self._cut(item.input, flags),
            output=None if item.output is None else self._cut(item.output, flags),
            claimed=claimed, backfill=backfill, flags=tuple(flags) if flags else (),
        )  # fmt: skip

    def reason(self, text: str) -> str:
        """A refusal's message without secrets: it quotes what was sent."""
        return self._redactor.text(text)

    def refused(self, raw: bytes) -> str:
        """What is kept of a refused item: redacted as text, since it may not even be JSON."""
        return self._redactor.text(raw.decode("utf-8", "replace"))

    def _name(self, text: str) -> str:
        """A short text that becomes an axis: printable, and cut."""
        found = self._redactor.text(text)
        if not found.isprintable():
            found = "".join(char if char.isprintable() else " " for char in found)
        return found.strip()[:_NAME_CHARS]

    def _tags(self, tags: list[str]) -> tuple[str, ...]:
        return tuple([self._words[tag] or "" for tag in tags])

    def _id(self, ident: str, where: str) -> str:
        if _RANDOM.fullmatch(ident):
            return ident
        if not ident.isprintable():
            raise InvalidInputError(f"{where}.id: expected printable text", field="id")
        if self._redactor.text(ident) != ident:
            raise InvalidInputError(f"{where}.id: looks like a secret; send an id that is none", field="id")
        return ident

    def _task(self, source: str, item: Wire, where: str, flags: list[str]) -> str:
        raw = item.task if item.task is not None else item.task_type
        name = self._names[raw]
        if not name:
            got = "nothing" if raw is None else '""'
            raise InvalidInputError(f"{where}.task: expected text, got {got}", field="task")
        task = self._tasks.name(source, name)
        if task == OTHER and name != OTHER:
            flags.append("task_other")
        return task

    def _key(self, key: str | int) -> str:
        """A session, run, parent or user: random ones are no secrets, and skip the search for them."""
        if isinstance(key, int):
            return str(key)
        return key if _RANDOM.fullmatch(key) else self._redactor.text(key)

    def _error(self, item: Wire) -> tuple[str | None, str | None, int | None, str | None]:
        """Message, class, status, stack."""
        error = item.error if item.error is not None else item.error_message
        if error is None:
            error = item.error_msg
            if error is None:
                return None, self._names[item.error_type], None, None
        text = self._redactor.text
        if isinstance(error, str):
            return text(error), self._names[item.error_type], None, None
        message = error.message if error.message is not None else error.type
        named = self._names[item.error_type] or self._names[error.type]
        return message and text(message), named, error.status, error.stack and text(error.stack)

    def _claims(self, item: Wire) -> tuple[tuple[str, ...], dict[str, Any]]:
        """The agent's own `issues` as categories; words we do not know stay beside them, in the metadata."""
        metadata = item.metadata
        claimed: tuple[str, ...] = ()
        if item.issues:
            known = {word: legacy(word) for word in item.issues}
            claimed = tuple(dict.fromkeys(category for category in known.values() if category != _UNKNOWN))
            unknown = [word for word, category in known.items() if category == _UNKNOWN]
            if unknown:
                metadata = {**(metadata or {}), "issues": unknown}
        return claimed, self._redactor.value(metadata) if metadata else {}

    def _cut(self, text: str, flags: list[str]) -> str:
        """Redacted first, so that no secret is cut into something that does not look like one."""
        clean = self._redactor.text(text)
        limit = self._limits.text_bytes
        if len(clean) * 4 <= limit:
            return clean
        raw = clean.encode("utf-8", "replace")
        if len(raw) <= limit:
            return clean
        if "truncated" not in flags:
            flags.append("truncated")
        return raw[:limit].decode("utf-8", "ignore")


#: Nothing claimed, no metadata. The dict is shared: outcomes are values, nobody writes into one.
_NO_CLAIMS: Final[tuple[tuple[str, ...], dict[str, Any]]] = ((), {})


def _status(item: Wire, where: str) -> Status:
    success, status = item.success, item.status
    if success is None:
        if status == "started":
            return status
        raise InvalidInputError(f"{where}.success: expected true or false, got nothing", field="success")
    if status is None:
        return "ok" if success else "failed"
    if (status == "ok" and not success) or (status == "failed" and success):
        said = "true" if success else "false"
        raise InvalidInputError(f'{where}.status: "{status}" contradicts success: {said}; drop one', field="status")
    return status


def _time(item: Wire, where: str, arrived: float, flags: list[str]) -> tuple[float, bool]:
    given, field = (item.ts, "ts") if item.ts is not None else (item.timestamp, "timestamp")
    if given is None:
        return arrived, False
    ts = _epoch(given)
    if ts is None:
        shown = f'"{given[:40]}"' if isinstance(given, str) else given
        raise InvalidInputError(
            f"{where}.{field}: expected an ISO 8601 time or epoch seconds, got {shown}", field=field
        )
    if ts > arrived + FUTURE_S:
        flags.append("future_ts")
        return arrived, False
    return ts, ts < arrived - BACKFILL_S


def _epoch(given: float | str) -> float | None:
    """Epoch seconds, or `None` for what is no time between 1970 and 9999."""
    if isinstance(given, str):
        try:
            ts = clock.parse_iso(given.strip())
        except (ValueError, OverflowError):
            return None
    else:
        ts = given / 1000 if given > _MS_ABOVE else given
    return ts if 0 <= ts <= _LAST_TS else None


def _fixes(found: Sequence[WireFix]) -> tuple[FixRef, ...]:
    return tuple(FixRef(id=f.id, arm=f.arm, f=f.f, stage=f.stage, enforced=f.enforced) for f in found)
