"""What is remembered of a session between its hooks: a small file each, in the user's state folder.

A session that was killed leaves its file behind; the next session's start finds it and finishes what was begun.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from rsi import clock
from rsi.model import FixRef

_SAFE: Final = re.compile(r"[^A-Za-z0-9_-]+")
#: A session may be resumed; after this long its next part counts as its first.
FORGET_S: Final = 30 * 86_400.0
_SUFFIX: Final = ".json"
#: An end that was seen is reported within seconds; after this long whoever should have done it is gone.
CLOSING_S: Final = 60.0
#: A session whose report breaks us this often (a bug of ours) is left alone.
TRIES: Final = 3


class Note(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One session.

    Attributes:
        parts: how often it ended and was reported.
        prompt: the last prompt that was reported; without a newer one there is nothing to report.
        tokens_in, tokens_out, cost_usd: what was reported of a sum that goes on when the session is resumed.
        ended: when its last part ended, by the transcript; epoch seconds.
        started: epoch seconds of this part's start.
        stop_failure: what `StopFailure` said, if nothing came after it.
        closing: `SessionEnd` was seen, and its report is not out yet.
        open: it started, or went on, and no report of its end is out.
        tries: reports of its end that were begun and did not come out.
        fixes: the experiments that it is in.
    """

    session: str
    source: str = ""
    transcript: str = ""
    home: str | None = None
    parts: int = 0
    ended: float | None = None
    prompt: str | None = None
    tokens_in: float = 0.0
    tokens_out: float = 0.0
    cost_usd: float = 0.0
    started: float | None = None
    stop_failure: dict[str, Any] | None = None
    closing: dict[str, Any] | None = None
    open: bool = False
    tries: int = 0
    fixes: list[FixRef] = []
    policy_version: int | None = None


class Notes:
    """The folder of notes; made on first use, mode 0700.

    Args:
        state: `$XDG_STATE_HOME/rsi`, as the client's settings have it.
    """

    def __init__(self, state: Path) -> None:
        self._folder = state / "claude-code"

    def get(self, session: str) -> Note:
        """What is known of a session; an empty note if nothing is."""
        try:
            return msgspec.json.decode(self._path(session).read_bytes(), type=Note)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return Note(session=session)

    def put(self, note: Note) -> None:
        """Keep; whole or not at all.

        Raises:
            OSError: the folder cannot be written.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path(note.session)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(msgspec.json.encode(note))
        part.replace(path)

    def left(self, quiet_s: float) -> Iterator[Note]:
        """Sessions that did not come to their end: their report is not out, or nothing was written for `quiet_s`.

        Forgets what is older than 30 days.
        """
        now = clock.now()
        with contextlib.suppress(OSError):
            for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
                with contextlib.suppress(OSError):
                    if now - path.stat().st_mtime > FORGET_S:
                        path.unlink()
                        continue
                    note = self.get(path.stem)
                    patience = quiet_s if note.closing is None else CLOSING_S
                    if note.open and note.tries < TRIES and now - _touched(note, path) > patience:
                        yield note

    def _path(self, session: str) -> Path:
        return self._folder / f"{_SAFE.sub('_', session)[:100] or 'unknown'}{_SUFFIX}"


def _touched(note: Note, path: Path) -> float:
    """When anything was last written, epoch seconds."""
    times = [path.stat().st_mtime]
    with contextlib.suppress(OSError):
        times.append(Path(note.transcript).stat().st_mtime)
    return max(times)
