"""Write a checked set of changes back into a real tree: all of it or nothing, and every byte of it can be undone.

`apply(changes, target) -> UndoLog`, `UndoLog.undo()`, `recover(target)` after a crash, `fingerprint` and `drift` to
know that the tree is still the one that was checked.
"""

from rsi.sandbox.merge.apply import apply
from rsi.sandbox.merge.fingerprint import Fingerprint, drift, fingerprint
from rsi.sandbox.merge.recovery import recover, recover_home, undo_folder, undo_log, undo_logs
from rsi.sandbox.merge.refusal import MergeRefusedError, Refusal
from rsi.sandbox.merge.undo import UndoLog

__all__ = [
    "Fingerprint",
    "MergeRefusedError",
    "Refusal",
    "UndoLog",
    "apply",
    "drift",
    "fingerprint",
    "recover",
    "recover_home",
    "undo_folder",
    "undo_log",
    "undo_logs",
]
