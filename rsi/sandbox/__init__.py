r"""Run anything against a copy-on-write view of a workspace, rewind it, and take back exactly what was asked for.

    with Sandbox.create(".") as box:
        box.write_file("config.py", "RETRIES = 4\n")
        fixed = box.checkpoint("fix")
        if box.exec("pytest -q").ok:
            log = apply(box.diff(until=fixed), box.workspace)      # log.undo() takes it back

`check` does this in the order that is safe for a fix nobody looked at.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from rsi.sandbox.model import FOR_FIXES, Change, Checkpoint, ExecResult, Isolation, Limits

if TYPE_CHECKING:
    from rsi.sandbox.aio import AsyncSandbox as AsyncSandbox
    from rsi.sandbox.checked import Checked as Checked
    from rsi.sandbox.checked import check as check
    from rsi.sandbox.merge import UndoLog as UndoLog
    from rsi.sandbox.merge import apply as apply
    from rsi.sandbox.merge import recover as recover
    from rsi.sandbox.sandbox import Sandbox as Sandbox

#: Loaded when first used: the launcher and the probe import parts of this package in processes that must stay small.
_LAZY: Final = {
    "AsyncSandbox": "rsi.sandbox.aio",
    "Checked": "rsi.sandbox.checked",
    "Sandbox": "rsi.sandbox.sandbox",
    "UndoLog": "rsi.sandbox.merge",
    "apply": "rsi.sandbox.merge",
    "check": "rsi.sandbox.checked",
    "recover": "rsi.sandbox.merge",
}

__all__ = [
    "FOR_FIXES",
    "AsyncSandbox",
    "Change",
    "Checked",
    "Checkpoint",
    "ExecResult",
    "Isolation",
    "Limits",
    "Sandbox",
    "UndoLog",
    "apply",
    "check",
    "recover",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_LAZY[name]), name)
    return value
