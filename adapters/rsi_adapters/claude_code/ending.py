"""The end of a session: what its transcript and its hooks say, as outcomes.

A session succeeds when no API error ended it. That does not mean that the work was right.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from rsi import clock
from rsi.client import Item
from rsi_adapters.claude_code import transcript
from rsi_adapters.claude_code.normal import judge
from rsi_adapters.claude_code.notes import Note
from rsi_adapters.claude_code.reports import TASK, failed_tool, session_id, shortened, text_of
from rsi_adapters.claude_code.transcript import APIError, Transcript, Usage

log: Final = logging.getLogger("rsi")
_ADVICE: Final = " This is a server-side issue"


class Ending(msgspec.Struct, frozen=True):
    """What is to be reported, and what is known of the session afterwards."""

    items: list[Item]
    note: Note


def conclude(note: Note, *, keep_input: bool = False) -> Ending:
    """Everything that is to be said about a session that ended; nothing for one in which nothing was asked."""
    found = _read(note)
    told = found if found is not None else Transcript()
    failure = _failure(note, told)
    items = [*_tools(told, note, keep_input=keep_input), *_errors(told, note)]
    if found is not None and failure is None and told.prompts[-1:] == _last_of(note):
        return Ending(items, msgspec.structs.replace(note, open=False, closing=None))
    used = told.total()
    items.append(_session(note, told, failure, used, readable=found is not None))
    after = msgspec.structs.replace(
        note, open=False, closing=None, stop_failure=None, parts=note.parts + 1,
        prompt=told.prompts[-1] if told.prompts else note.prompt, ended=told.last or clock.now(),
        tokens_in=used.tokens_in, tokens_out=used.tokens_out, cost_usd=used.cost_usd or 0.0,
    )  # fmt: skip
    return Ending(items, after)


def _read(note: Note) -> Transcript | None:
    try:
        return transcript.read(Path(note.transcript), note.session)
    except OSError as error:
        log.warning("the transcript of session %s cannot be read, its tokens are not known: %s", note.session, error)
        return None


def _last_of(note: Note) -> list[str]:
    return [] if note.prompt is None else [note.prompt]


def _failure(note: Note, told: Transcript) -> APIError | None:
    """What ended the session: the transcript knows, and where it does not, `StopFailure` of its last turn."""
    if told.ended_by is not None:
        old = note.ended is not None and told.ended_by.at is not None and told.ended_by.at <= note.ended
        return None if old else told.ended_by
    said = note.stop_failure
    if said is None or (told.prompts and said.get("prompt_id") not in (None, told.prompts[-1])):
        return None
    kind = text_of(said, "error") or "unknown"
    return APIError(text_of(said, "last_assistant_message") or f"API error: {kind}", kind)


def _tools(told: Transcript, note: Note, *, keep_input: bool) -> Iterator[Item]:
    for failure in told.failures:
        work = judge(failure["tool_name"], failure["tool_input"], failure["error"], editing=told.edited)
        yield failed_tool(failure, note.source, work, keep_input=keep_input, ts=failure["ts"])


def _errors(told: Transcript, note: Note) -> Iterator[Item]:
    """API errors that the session got over; the one that ended an earlier part of it was that part's failure."""
    for number, error in enumerate(told.errors, 1):
        if note.ended is not None and error.at is not None and error.at <= note.ended:
            continue
        yield Item(
            id=f"{session_id(note.session)}:api:{number}",
            ts=error.at or clock.now(),
            source=note.source,
            task="model",
            kind="llm",
            status="failed",
            success=False,
            error=as_error(error),
            session=note.session,
            parent=session_id(note.session, note.parts + 1),
        )


def as_error(error: APIError) -> dict[str, Any]:
    """An outcome's `error`, without what the client advises a person to do, which rules would read as the error's."""
    message = error.message.partition(_ADVICE)[0]
    said: Mapping[str, Any] = {"message": shortened(message), "type": error.kind, "status": error.status}
    return {key: value for key, value in said.items() if value is not None}


def _session(note: Note, told: Transcript, failure: APIError | None, used: Usage, *, readable: bool) -> Item:
    since = max(filter(None, (told.first, note.ended)), default=note.started)
    last = told.last or clock.now()
    known: dict[str, Any] = {
        "reason": (note.closing or {}).get("reason"),
        "tools": told.tools,
        "tool_failures": len(told.failures),
        "api_retries": told.api_retries or None,
        "client": told.version,
        "part": note.parts + 1 if note.parts else None,
        "transcript": None if readable else "unreadable",
    }
    return Item(
        id=session_id(note.session, note.parts + 1),
        ts=last,
        source=note.source,
        task=TASK,
        kind="task",
        status="ok" if failure is None else "failed",
        success=failure is None,
        error=None if failure is None else as_error(failure),
        duration_ms=None if since is None else max(0.0, (last - since) * 1000),
        session=note.session,
        model=used.model,
        tokens_in=_since(used.tokens_in, note.tokens_in),
        tokens_out=_since(used.tokens_out, note.tokens_out),
        cost_usd=None if used.cost_usd is None else _since(used.cost_usd, note.cost_usd),
        fixes=list(note.fixes) or None,
        policy_version=note.policy_version,
        metadata={key: value for key, value in known.items() if value is not None},
    )


def _since(now: float, before: float) -> float:
    """What was used since; a sum that got smaller began anew."""
    return now - before if now >= before else now
