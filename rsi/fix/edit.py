"""The edit of a user's file that a fix is: what it would look like, and what became of it (`evidence.edit`).

A fix whose change is about a file is in the store *and* on the disk. The store says what should be, the records beside
the backups (`rsi.fix.targets.standing`) what is; `step` is how far the one has followed the other.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import msgspec

from rsi import change
from rsi.fix import targets
from rsi.model import Change
from rsi.store import fixes
from rsi.store.fixes import FixRow

EVIDENCE: Final = fixes.EDIT
NO_KEYS: Final = frozenset({targets.FILE_HASH})

#: `planned`: nothing was written. `due`: the gate let it through, it is being written. `stands`: it is in the file.
#: `reverted`: taken out. `left`: somebody wrote over it, which stays.
Step: TypeAlias = Literal["planned", "due", "stands", "reverted", "left"]


class Edit(msgspec.Struct, frozen=True, kw_only=True):
    """`diff` may quote what stands around the edit; `summary` is for the journal: declared keys and nothing else.

    `asked` is what a person approved: old and new values. `says`: what became of the file, in a sentence.
    """

    diff: str
    summary: str
    step: Step = "planned"
    says: str = ""
    tries: int = 0  # written before and taken back: the next record of it has a name of its own


def is_file(fix: FixRow) -> bool:
    """Whether its change is about a file."""
    return targets.is_file_target(fix.change.target)


def of(fix: FixRow) -> Edit:
    """The edit of a fix whose change is about a file."""
    return msgspec.convert(fix.evidence.get(EVIDENCE) or {"diff": "", "summary": ""}, Edit)


def with_edit(fix: FixRow, **values: Any) -> dict[str, Any]:
    """The evidence of a fix, its edit with these values."""
    return {**fix.evidence, EVIDENCE: msgspec.to_builtins(msgspec.structs.replace(of(fix), **values))}


def due(fix: FixRow) -> bool:
    """Whether it waits to be written into its file."""
    return fix.state == "checking" and is_file(fix) and of(fix).step == "due"


def told(fix: FixRow) -> str:
    """The change for the journal: values of knobs or declared keys, never the text of an event."""
    return of(fix).summary if is_file(fix) else change.diff(fix.change)


def place(found: Change) -> str:
    """The file that a change is about."""
    return found.target.partition(":")[2].partition("#")[0]


def meets(a: Change, b: Change) -> bool:
    """Whether two changes are about the same key of the same file; lessons stand side by side."""
    both = (a, b)
    if not all(targets.is_file_target(one.target) for one in both) or place(a) != place(b):
        return False
    return not any(one.target.startswith("lessons:") for one in both) and bool(a.after.keys() & b.after.keys())


def decided(found: Change) -> dict[str, Any]:
    """Old and new values: what a person says yes to. A comment elsewhere in the file changes nothing about that."""
    return {
        "before": {key: old for key, old in found.before.items() if key not in NO_KEYS},
        "after": found.after,
    }


def record_name(fix: FixRow) -> str:
    """The name of its record and backup."""
    tries = of(fix).tries
    return fix.ref if not tries else f"{fix.ref}-{tries}"


def ref_of(record: str) -> str:
    """The fix that a record belongs to."""
    return record.partition("-")[0]
