"""`python -m rsi_adapters.claude_code -- SESSION…`: reports sessions that ended; the hooks start it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

import msgspec

from rsi.client import Client, settle
from rsi_adapters.claude_code.ending import conclude
from rsi_adapters.claude_code.notes import Note, Notes

#: A daemon that takes longer gets the outcomes from the spool.
_SEND_S: Final = 20.0


def main(arguments: Sequence[str]) -> None:
    """Report the sessions named."""
    settings = settle()
    if settings.state is None or not settings.enabled:
        return
    notes = Notes(settings.state)
    for session in arguments[arguments.index("--") + 1 :]:
        note = notes.get(session)
        if note.open:
            notes.put(msgspec.structs.replace(note, tries=note.tries + 1))  # before: what breaks us is seen to
            finish(note, notes, keep_input="--tool-input" in arguments)


def finish(note: Note, notes: Notes, *, keep_input: bool = False) -> None:
    """Report one session; what no daemon takes is spooled.

    Raises:
        OSError: the user's state folder cannot be written.
    """
    ending = conclude(note, keep_input=keep_input)
    client = Client(home=note.home, source=note.source)
    for item in ending.items:
        client.put(item)
    client.close(_SEND_S)
    notes.put(msgspec.structs.replace(ending.note, tries=0))


if __name__ == "__main__":
    main(sys.argv[1:])
