"""The best back end that isolates what is asked for, by what was found when it was attacked; never one with less."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from importlib import import_module
from typing import Final

from rsi.errors import InvalidInputError, IsolationError
from rsi.sandbox.backend import Backend
from rsi.sandbox.model import Isolation
from rsi.sandbox.overlay.place import user_home

AUTO: Final = "auto"
#: Best first. Loaded when it is asked for: a machine without one need not import it.
KNOWN: Final[Mapping[str, tuple[str, str]]] = {
    "overlay": ("rsi.sandbox.overlay.backend", "OverlayBackend"),
    "bubblewrap": ("rsi.sandbox.bubblewrap", "bubblewrap"),
    "docker": ("rsi.sandbox.docker", "docker"),
    "seatbelt": ("rsi.sandbox.seatbelt", "seatbelt"),
    "subprocess": ("rsi.sandbox.plain", "plain"),
}


class Chosen:
    """A back end, and what it was found to isolate: probed when it is first asked for, which takes seconds."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    @cached_property
    def isolation(self) -> Isolation:
        """What held when it was attacked here.

        Raises:
            IsolationError: this user has no home folder, so nobody can say that commands do not reach it.
        """
        if user_home() is None:
            raise IsolationError(
                f"what {self.backend.name} isolates cannot be found out: this user has no home folder; set HOME"
            )
        from rsi.sandbox.probe import capabilities  # noqa: PLC0415 - only who asks pays for it

        return capabilities(self.backend)


def backend(name: str) -> Backend:
    """A back end by its name.

    Raises:
        InvalidInputError: there is none of that name.
    """
    if name not in KNOWN:
        raise InvalidInputError(f"backend: expected {AUTO} or one of {', '.join(KNOWN)}; got {name!r}", field="backend")
    module, attribute = KNOWN[name]
    make: Callable[[], Backend] = getattr(import_module(module), attribute)
    return make()


def choose(wanted: str | Backend, require: Isolation) -> Chosen:
    """The first that meets `require`.

    Raises:
        IsolationError: none does: says for each what is missing, or why it is not available.
        InvalidInputError: no such back end.
    """
    tried: list[str] = []
    for candidate in _candidates(wanted):
        reason = candidate.unavailable()
        if reason is None:
            chosen = Chosen(candidate)
            missing = () if require == Isolation() else chosen.isolation.missing(require)
            if not missing:
                return chosen
            reason = f"does not isolate {', '.join(missing)} here"
        tried.append(f"{candidate.name}: {reason}")
    wanted_flags = ", ".join(name for name in require.__struct_fields__ if getattr(require, name)) or "nothing"
    raise IsolationError(
        f"no sandbox here isolates what is required ({wanted_flags}): {'; '.join(tried)}. "
        "See `rsi sandbox doctor`; require=Isolation() accepts whatever there is"
    )


def _candidates(wanted: str | Backend) -> list[Backend]:
    if not isinstance(wanted, str):
        return [wanted]
    return [backend(name) for name in KNOWN] if wanted == AUTO else [backend(wanted)]
