"""Analysis of failures; importing it loads nothing heavy.

Public: `classify(text, error_type=None, status=None, provider=None) -> Category` (rules only) and
`fingerprint(text, error_type=None) -> Fingerprint`, both pure, fetched on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rsi.analyze.template import fingerprint
    from rsi.classify import classify

__all__ = ["classify", "fingerprint"]

_HOMES: Final = {"classify": "rsi.classify", "fingerprint": "rsi.analyze.template"}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; public are {', '.join(__all__)}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
