"""The overlay back end with protections left out: the control of attacks that cannot be tried safely outside."""

from __future__ import annotations

from pathlib import Path

import msgspec

from rsi.sandbox.launch import Order, Zygote
from rsi.sandbox.overlay.backend import OverlayBackend


class Lacking:
    """Starts commands without these protections (`Order.without`, and `protect`)."""

    def __init__(self, store: Path, names: tuple[str, ...]) -> None:
        self._real, self._names = Zygote(store), names

    def launch(self, order: Order, *standard: int):
        changed = {"without": tuple(name for name in self._names if name != "protect")}
        if "protect" in self._names:
            changed["protect"] = ()
        return self._real.launch(msgspec.structs.replace(order, **changed), *standard)

    def close(self) -> None:
        self._real.close()


def lacking(names: tuple[str, ...]) -> OverlayBackend:
    return OverlayBackend(launcher=lambda store: Lacking(store, names))
