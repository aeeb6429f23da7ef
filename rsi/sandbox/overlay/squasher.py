"""Squashing one box's layers in the background, and telling the box when it may use the result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from rsi.sandbox.overlay.background import Background
from rsi.sandbox.overlay.home import Home, Line
from rsi.sandbox.overlay.reader import Reader
from rsi.sandbox.overlay.squash import MOST, due, level, replaced, squash


class Squasher:
    """Keeps a chain short without anybody waiting for it.

    Args:
        home: throws away what turns out not to be needed.
        line: whose layers.
        name: makes names that nobody has used.
    """

    def __init__(self, home: Home, line: Line, name: Callable[[], str]) -> None:
        self._home, self._line, self._name = home, line, name
        self._made: tuple[tuple[str, ...], str] | None = None
        self._run: tuple[str, ...] = ()
        self._closed = False
        self.background: Final = Background("rsi-sandbox-squash")

    @property
    def reading(self) -> tuple[str, ...]:
        """Layers that must stay where they are: they are being squashed, or what they became waits to be used."""
        return self._run

    def shortened(self, chain: tuple[str, ...]) -> tuple[str, ...]:
        """The chain with what has been squashed meanwhile; starts the next squash when one is due.

        Waits only when the chain is so long that the kernel would refuse it soon.
        """
        chain = self._used(chain)
        self._start(chain)
        while len(chain) >= MOST and self._run:
            self.background.drain()
            chain = self._used(chain)
            self._start(chain)
        return chain

    def close(self) -> None:
        """Stop soon; returns at once. What is in the making goes with the box."""
        self._closed = True

    def _used(self, chain: tuple[str, ...]) -> tuple[str, ...]:
        if self._made is None:
            return chain
        run, name = self._made
        self._made, self._run = None, ()
        shorter = replaced(chain, run, name)
        if shorter == chain:  # the box went back before it meanwhile
            self._home.trash.take(self._line.layer(name))
        return shorter

    def _start(self, chain: tuple[str, ...]) -> None:
        if self._run or not (run := due(chain)):
            return
        self._run = run
        self.background.submit(lambda: self._squash(run))

    def _squash(self, run: tuple[str, ...]) -> None:
        """In the background: made beside the layers, and put among them when it is whole."""
        name = f"{self._name()}-{level(run[0]) + 1}"
        making = self._line.store / "work" / name
        try:
            with Reader(str(self._line.store / "layers"), lambda: self._closed) as reader:
                squash(reader, tuple(self._line.layer(layer) for layer in reversed(run)), making)
            self._home.disk.rename(making, self._line.layer(name))
        except BaseException:
            self._run = ()
            self._home.trash.take(making)
            if self._closed:  # what was being read is in the trash
                return
            raise
        self._made = run, name
        if self._closed:
            self._home.trash.take(self._line.layer(name))
