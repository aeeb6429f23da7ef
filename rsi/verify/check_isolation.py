"""Whether a sandbox here isolates what a check needs (design, decision 10), and if not, what is missing."""

from __future__ import annotations

from typing import Final

from rsi.errors import RSIError
from rsi.sandbox import FOR_FIXES
from rsi.sandbox.backend import Backend
from rsi.sandbox.choose import AUTO, KNOWN, Chosen, backend

REASON_CHARS: Final = 200
"""A reason may quote a whole compiler message."""


def missing(wanted: str | Backend = AUTO) -> str | None:
    """What is not enforced, in a sentence that names the flags; `None`: everything is.

    Seconds where nothing was found out about this machine since it was started (`rsi.sandbox.probe`), else none.

    Args:
        wanted: a back end, its name, or `auto`: the first that does.
    """
    said: list[str] = []
    for one in _candidates(wanted):
        lacks = _lacks(one)
        if lacks is None:
            return None
        said.append(lacks)
    return f"no sandbox here isolates what a check needs: {'; '.join(said)} (see `rsi sandbox doctor`)"


def _lacks(one: str | Backend) -> str | None:
    name = one if isinstance(one, str) else one.name
    try:
        found = backend(one) if isinstance(one, str) else one
        if (reason := found.unavailable()) is not None:
            return f"{name} is not available ({reason[:REASON_CHARS]})"
        flags = Chosen(found).isolation.missing(FOR_FIXES)
    except (RSIError, OSError) as error:
        return f"{name} cannot be used ({error})"
    return f"{name} does not isolate {', '.join(flags)}" if flags else None


def _candidates(wanted: str | Backend) -> list[str | Backend]:
    return list(KNOWN) if wanted == AUTO else [wanted]
