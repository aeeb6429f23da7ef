"""What the declared files say of a scope now, knob by knob: the layers that tries are multiplied over.

A call that is tried 3 times by one layer and 4 times by the next is tried 12 times. So before anything is retried, the
other places that retry here are looked for, and their product stays within `fix.bounds.max_attempts`.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

import msgspec

from rsi import change
from rsi.config import Config, Target
from rsi.errors import RSIError
from rsi.fix import targets
from rsi.fix.targets import TargetRefusedError
from rsi.model import Change

LAYERS: Final = "layers"
"""In the evidence: tries of each declared place that retries here."""
UNKNOWN_TRIES: Final = 2
"""Of a layer that cannot be read (contract §6: foreign inner layers are assumed to be 2)."""
_READ: Final = ("retry", "timeout_s", "fallbacks", "max_concurrency", "max_output_tokens", "breaker")


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """One declared place that says a knob; `value` is `None` where it says nothing, `trouble` why it cannot be read."""

    name: str
    knob: str
    value: Any = None
    trouble: str = ""


class Layers:
    """The declared files of one scope, each read once."""

    def __init__(self, home: Path, config: Config, source: str, task: str) -> None:
        self._home, self._config = home, config
        self._source, self._task = source, task
        self._found: list[tuple[Target, Layer]] | None = None

    def need(self, declared: Target, knob: str) -> None:
        """That the place can be read.

        Raises:
            TargetRefusedError: it cannot; says why.
        """
        for one, layer in self._all():
            if one == declared and layer.knob == knob and layer.trouble:
                raise TargetRefusedError(declared.file, declared.key, layer.trouble)

    def scope(self, declared: Target) -> dict[str, Any]:
        """What holds here, in the policy's words; where several places say a knob, the one asked about goes first."""
        found: dict[str, Any] = {}
        for one, layer in sorted(self._all(), key=lambda pair: pair[0] != declared):
            if layer.value is not None and (one == declared or layer.knob in {"timeout_s", "retry"}):
                found.setdefault(layer.knob, layer.value)
        return found

    def tries(self, but: Target | None = None) -> int:
        """How often a call is tried by all places together, except for one of them."""
        return math.prod(_tries(layer) for one, layer in self._all() if one != but and layer.knob == "retry")

    def evidence(self) -> dict[str, int]:
        """The tries of each place that retries here."""
        return {layer.name: _tries(layer) for _, layer in self._all() if layer.knob == "retry"}

    def because(self, inner: int) -> str:
        """Words for a value that other layers leave no room for."""
        if inner <= 1:
            return ""
        most = self._config.fix.bounds.max_attempts
        return f": other layers try each call {inner} times, together at most fix.bounds.max_attempts ({most})"

    def check(self, declared: Target, knob: str, made: Change, inner: int) -> None:
        """All tries of a call together stay within the bounds, in number and in time, with the change in place.

        Raises:
            InvalidInputError: names both factors.
        """
        new = targets.knob_value(declared, knob, {**made.before, **made.after})
        scope = {**self.scope(declared), **({knob: new} if new is not None else {})}
        if knob in {"retry", "timeout_s"}:
            change.validate_total(scope, self._config.fix.bounds, inner_attempts=inner if knob == "retry" else 1)

    def _all(self) -> list[tuple[Target, Layer]]:
        if self._found is None:
            self._found = [
                (declared, self._read(declared, knob))
                for knob in _READ
                for declared in targets.covering(self._config, self._source, self._task, knob)
            ]
        return self._found

    def _read(self, declared: Target, knob: str) -> Layer:
        name = targets.name_of(declared)
        try:
            said = targets.resolve(name, self._home, self._config).values(targets.keys_of(declared, knob))
        except RSIError as error:
            return Layer(name=name, knob=knob, trouble=_reason(error))
        return Layer(name=name, knob=knob, value=targets.knob_value(declared, knob, said))


def _tries(layer: Layer) -> int:
    if layer.trouble:
        return UNKNOWN_TRIES
    value = layer.value if isinstance(layer.value, dict) else {}
    return max(1, int(value.get("max_attempts") or 1))


def _reason(error: RSIError) -> str:
    """Without the file and key that the next message names again."""
    return str(error).partition(": ")[2] or str(error)
