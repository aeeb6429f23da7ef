"""What may be the same: templates and what they resemble."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """It begins empty: the next daily look at all templates fills it."""
    op.create_table(
        "related",
        sa.Column("project", sa.Text(), server_default="default", nullable=False),
        sa.Column("a", sa.Integer(), nullable=False),
        sa.Column("b", sa.Integer(), nullable=False),
        sa.Column("cosine", sa.Float(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("project", "a", "b"),
    )
    op.create_index("related_found", "related", ["project", "b"])
