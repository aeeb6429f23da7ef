"""The table `meta`: single values by name (`watermark`, `policy_version`, `paused`, …), as JSON."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from sqlalchemy import Connection, select
from sqlalchemy.dialects.sqlite import insert

from rsi.store.engine import project
from rsi.store.schema import meta

#: The newest outcome row that the analysis has taken into account: what lies above is never pruned.
WATERMARK: Final = "watermark"


def get(conn: Connection, key: str, default: Any = None) -> Any:
    """The value under `key`, decoded; `default` if there is none."""
    asked = select(meta.c.value).where(meta.c.project == project(conn), meta.c.key == key)
    found = conn.execute(asked).scalar_one_or_none()
    return default if found is None else msgspec.json.decode(found)


def put(conn: Connection, key: str, value: Any) -> None:
    """Write anything that msgspec can write as JSON; replaces what was there."""
    put_ = insert(meta).values(project=project(conn), key=key, value=msgspec.json.encode(value))
    conn.execute(put_.on_conflict_do_update(index_elements=["project", "key"], set_={"value": put_.excluded.value}))
