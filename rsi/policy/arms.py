"""Which arm a unit is in: a salted hash, so that every process and the daemon say the same."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from rsi.model import Arm

_SPAN: Final = 2.0**64


def arm(salt: str, unit: str, fraction: float) -> Arm:
    """`fixed` iff the first 8 bytes (big-endian) of sha256(salt + ":" + unit) / 2^64 < fraction (contract §4).

    Args:
        salt: the stage's own salt.
        unit: session, else run, else id.
        fraction: share of units that get the fix, 0..1.
    """
    digest = sha256(f"{salt}:{unit}".encode("utf-8", "surrogatepass")).digest()
    return "fixed" if int.from_bytes(digest[:8], "big") / _SPAN < fraction else "control"
