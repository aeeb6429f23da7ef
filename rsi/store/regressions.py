"""Verified fixes whose scope fails again, as it was last seen. A few at most: one value by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from sqlalchemy import Connection

from rsi.model import Regression
from rsi.store import meta

KEY: Final = "regressions"


def load(conn: Connection) -> dict[int, Regression]:
    """By the fix's number."""
    return msgspec.convert(meta.get(conn, KEY, {}), dict[int, Regression], strict=False)


def put(conn: Connection, found: Mapping[int, Regression]) -> None:
    """Replaces what was there."""
    meta.put(conn, KEY, {str(fix): said for fix, said in found.items()})
