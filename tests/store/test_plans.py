"""What is asked in every cycle must not walk what is stored."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from rsi.store import Store, outcomes


def _plan(store: Store, statement) -> str:
    with store.read() as conn:
        compiled = statement.compile(dialect=conn.dialect, compile_kwargs={"render_postcompile": True})
        values = dict.fromkeys(compiled.params, 1)
        rows = (
            conn.execute(text("EXPLAIN QUERY PLAN " + str(compiled)), values)
            if not compiled.positional
            else (
                conn.exec_driver_sql(
                    "EXPLAIN QUERY PLAN " + str(compiled), tuple(values[name] for name in compiled.positiontup)
                )
            )
        )
        return " / ".join(row[-1] for row in rows)


@pytest.mark.parametrize("name", ["_SINCE"])
def test_rows_above_the_watermark_are_found_by_their_number(tmp_path, name):
    with Store.open(tmp_path / "rsi.db") as store:
        plan = _plan(store, getattr(outcomes, name))
    assert "INTEGER PRIMARY KEY (rowid>?)" in plan
    assert "TEMP B-TREE" not in plan
