"""Health remembers by time and by count: the squared weights, the newest outcomes apart, and bursts.

Rows of the first release held what is `recent` now; they go on as both memories. The table is made anew, because SQLite
appends columns behind the key, and a migrated file shall be like a fresh one.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

#: The first release's fade of an outcome: half after 20.
_FADE = 0.5**0.05
_KEPT = "project, source, task, failures, successes, at, run_of_failures, last_fingerprint, state"


def upgrade() -> None:
    """From the first release."""
    op.rename_table("health", "health_before")
    op.create_table(
        "health",
        sa.Column("project", sa.Text(), server_default="default", nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("failures", sa.Float(), nullable=False),
        sa.Column("successes", sa.Float(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("run_of_failures", sa.Integer(), nullable=False),
        sa.Column("last_fingerprint", sa.Integer(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("squares", sa.Float(), nullable=False),
        sa.Column("recent_failures", sa.Float(), nullable=False),
        sa.Column("recent_successes", sa.Float(), nullable=False),
        sa.Column("joined", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("project", "source", "task"),
    )
    held = "(failures + successes)"
    squares = f"{held} * MAX(1.0, 2.0 - {1.0 - _FADE!r} * {held}) / {1.0 + _FADE!r}"
    op.execute(
        f"INSERT INTO health ({_KEPT}, squares, recent_failures, recent_successes, joined)"  # noqa: S608 - our own words
        f" SELECT {_KEPT}, {squares}, failures, successes, 0.0 FROM health_before"
    )
    op.drop_table("health_before")
