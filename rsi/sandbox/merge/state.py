"""What a path is before and after a merge, and how that is written down.

Plain JSON, every name percent-encoded: a file's name is bytes and need not be text.
"""

from __future__ import annotations

import os
from typing import Any, Final, Literal
from urllib.parse import quote_from_bytes, unquote_to_bytes

import msgspec


class State(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One side of a step. `mode` holds the permission bits, 0 for a symlink; sizes are bytes."""

    kind: Literal["absent", "file", "directory", "symlink", "other"]
    mode: int = 0
    sha256: str = ""
    size: int = 0
    link: str = ""
    uid: int = -1  # -1: as the folder's
    gid: int = -1
    blob: str = ""  # the file in the journal's folder that holds the bytes

    def same(self, other: State) -> bool:
        """Whether a reader could not tell them apart: kind, mode, bytes, link (not the owner, not the times)."""
        mine = (self.kind, self.mode, self.sha256, self.link)
        return mine == (other.kind, other.mode, other.sha256, other.link)


ABSENT: Final = State(kind="absent")


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One replacement. A file that becomes a folder takes two: gone, then made."""

    path: str
    before: State
    after: State


def packed(step: Step) -> dict[str, Any]:
    """A step as plain JSON."""
    return {"path": quoted(step.path), "before": _side(step.before), "after": _side(step.after)}


def unpacked(raw: Any) -> Step:
    """The other way. `msgspec.ValidationError` when it is not one."""
    step = msgspec.convert(raw, Step)
    return Step(path=unquoted(step.path), before=_unside(step.before), after=_unside(step.after))


def _side(state: State) -> Any:
    return msgspec.to_builtins(msgspec.structs.replace(state, link=quoted(state.link)))


def _unside(state: State) -> State:
    return msgspec.structs.replace(state, link=unquoted(state.link))


def quoted(name: str) -> str:
    """Any name as ASCII: its bytes, percent-encoded."""
    return quote_from_bytes(os.fsencode(name))


def unquoted(name: str) -> str:
    """The other way."""
    return os.fsdecode(unquote_to_bytes(name))
