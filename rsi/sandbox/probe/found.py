"""What a probe found: each attack beside its control, and the flags that follow from them."""

from __future__ import annotations

from typing import Final

import msgspec

from rsi.sandbox.model import Isolation

FLAGS: Final = tuple(Isolation.__struct_fields__)


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """One attack, outside (its control) and inside. `said` is what it answered, in its own words."""

    name: str
    flag: str
    what: str
    needed: bool  # its control must succeed, or the flag is not shown
    control: bool  # it succeeded outside
    control_said: str
    succeeded: bool  # it succeeded inside
    said: str

    @property
    def held(self) -> bool:
        """It was stopped, and it could have succeeded."""
        return self.control and not self.succeeded


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One back end's probe. `trouble`: why it could not be probed at all; then no flag is true."""

    backend: str
    tried: tuple[Tried, ...] = ()
    trouble: str | None = None
    took_ms: float = 0.0

    def of(self, flag: str) -> list[Tried]:
        """The attacks of one family."""
        return [each for each in self.tried if each.flag == flag]

    def why_not(self, flag: str) -> str | None:
        """Why a flag is not true; None when it is."""
        if self.trouble is not None:
            return self.trouble
        tried = self.of(flag)
        through = [each.name for each in tried if each.succeeded]
        unshown = [f"{each.name}: {each.control_said}" for each in tried if each.needed and not each.control]
        if through:
            return f"succeeded inside: {', '.join(through)}"
        if unshown:
            return f"not shown, it fails outside too: {'; '.join(unshown)}"
        return None if any(each.held for each in tried) else "no attack of this kind could be tried here"

    def isolation(self) -> Isolation:
        """The flags that were found to hold."""
        return Isolation(**{flag: self.why_not(flag) is None for flag in FLAGS})
