"""`rsi hook claude-code`: the events that Claude Code gives to a command.

SessionStart has no HTTP hooks. StopFailure is written down, in case the transcript will not have it. SessionEnd reads
the transcript and reports the session, in a process of its own: the client that ends does not wait. With no daemon the
outcomes are spooled like any other's.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from rsi import clock
from rsi.client import Settings, settle
from rsi.model import FixRef
from rsi_adapters.claude_code import naming
from rsi_adapters.claude_code.ask import Asking
from rsi_adapters.claude_code.door import PATH
from rsi_adapters.claude_code.notes import Note, Notes
from rsi_adapters.claude_code.reports import text_of

#: A session of which nothing was heard for this long was killed.
QUIET_S: Final = 6 * 3600.0
#: Sessions that were left behind and are finished by one start.
AT_ONCE: Final = 50
#: Proposals that are counted; more are `500`.
_PROPOSALS: Final = "/v1/fixes?state=proposed&limit=500"


def handle(payload: Mapping[str, Any], *, home: Path | None = None, keep_input: bool = False) -> dict[str, Any]:
    """One event → what the hook prints.

    Args:
        payload: what Claude Code wrote on standard input.
        home: the project's home; by default where the client finds it.
        keep_input: report `tool_input` too.

    Raises:
        OSError: the user's state folder cannot be written.
    """
    settings = settle(home=home)
    if not settings.enabled or settings.state is None or not text_of(payload, "session_id"):
        return {}
    notes = Notes(settings.state)
    event = text_of(payload, "hook_event_name")
    if event == "SessionStart":
        return _start(payload, settings, notes, keep_input=keep_input)
    if event == "StopFailure":
        note = _note(notes, payload, settings)
        kept = {key: text_of(payload, key)[:4000] for key in ("error", "last_assistant_message", "prompt_id")}
        notes.put(msgspec.structs.replace(note, stop_failure=kept, open=True))
    elif event == "SessionEnd":
        note = msgspec.structs.replace(
            _note(notes, payload, settings), closing={"reason": text_of(payload, "reason")}, open=True
        )
        notes.put(note)
        _apart([note.session], keep_input=keep_input)
    return {}


def _start(payload: Mapping[str, Any], settings: Settings, notes: Notes, *, keep_input: bool) -> dict[str, Any]:
    note = _note(notes, payload, settings)
    said = {"source": note.source, "observe_only": settings.observe_only}
    answer, proposals = Asking(settings).all(("POST", PATH, {**payload, "rsi": said}), ("GET", _PROPOSALS, None))
    answer = answer if isinstance(answer, dict) else {}
    entered = _entered(answer.pop("rsi", None))
    notes.put(
        msgspec.structs.replace(
            note,
            started=clock.now(),
            open=True,
            fixes=entered[0] or note.fixes,
            policy_version=entered[1] if entered[1] is not None else note.policy_version,
        )
    )
    left = [one.session for one in notes.left(QUIET_S) if one.session != note.session]
    if left:
        _apart(left[:AT_ONCE], keep_input=keep_input)
    waiting = _waiting(proposals)
    return {**answer, "systemMessage": waiting} if waiting else answer


def _entered(said: object) -> tuple[list[FixRef], int | None]:
    """The experiments that the daemon says this session is in."""
    if not isinstance(said, dict):
        return [], None
    try:
        return msgspec.convert(said.get("fixes", []), list[FixRef]), said.get("policy_version")
    except msgspec.ValidationError:  # a newer daemon
        return [], None


def _waiting(proposals: object) -> str | None:
    """One line for the person at the terminal; titles stay out of it, they hold other people's words."""
    found = proposals.get("fixes") if isinstance(proposals, dict) else None
    if not isinstance(found, list) or not found:
        return None
    return f"rsi: {len(found)} proposal{'s wait' if len(found) > 1 else ' waits'} for you: rsi fixes"


def _note(notes: Notes, payload: Mapping[str, Any], settings: Settings) -> Note:
    """What is known of the session, with what every event says."""
    note = notes.get(text_of(payload, "session_id"))
    cwd = os.environ.get("CLAUDE_PROJECT_DIR") or text_of(payload, "cwd") or str(Path.cwd())
    return msgspec.structs.replace(
        note,
        source=note.source or naming.source_of(cwd),
        transcript=text_of(payload, "transcript_path") or note.transcript,
        home=str(settings.home) if settings.home is not None else note.home,
    )


def _apart(sessions: Sequence[str], *, keep_input: bool) -> None:
    """Finish these in a process that outlives this one: Claude Code waits for the hook, and ends what it started."""
    flags = ["--tool-input"] if keep_input else []
    subprocess.Popen(  # noqa: S603 - our own module, and ids that only name notes
        [sys.executable, "-m", "rsi_adapters.claude_code", *flags, "--", *sessions],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
