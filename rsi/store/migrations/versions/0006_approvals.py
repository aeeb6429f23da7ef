"""One-time tokens for deciding on a proposal."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """None were issued before."""
    op.create_table(
        "approvals",
        sa.Column("project", sa.Text(), server_default="default", nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("fix", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("expires", sa.Float(), nullable=False),
        sa.Column("used", sa.Float()),
        sa.Column("decision", sa.Text()),
        sa.PrimaryKeyConstraint("project", "id"),
    )
