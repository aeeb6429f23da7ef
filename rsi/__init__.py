"""rsi: observe agents, analyze what keeps failing, fix what is safe, verify that it helped, else take it back.

The names are loaded when they are first used, so that an agent carries only what it needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rsi.client import configure as configure
    from rsi.client import flush as flush
    from rsi.client import record as record
    from rsi.client import status as status
    from rsi.embedded import RSILoop as RSILoop
    from rsi.enforce import extract as extract
    from rsi.enforce import guard as guard
    from rsi.enforce import inject as inject
    from rsi.enforce import step as step

__version__ = "0.1.0"

_HOMES: Final = {
    "RSILoop": "rsi.embedded",
    "configure": "rsi.client",
    "extract": "rsi.enforce",
    "flush": "rsi.client",
    "guard": "rsi.enforce",
    "inject": "rsi.enforce",
    "record": "rsi.client",
    "status": "rsi.client",
    "step": "rsi.enforce",
}

__all__ = [  # noqa: PLE0604 - the names of _HOMES, which are strings
    "__version__",
    *_HOMES,
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'rsi' has no attribute {name!r}")
    found = getattr(import_module(home), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
