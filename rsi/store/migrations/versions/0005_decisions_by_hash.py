"""What a person decided is kept by the hash of the template, which a changed rule does not change.

A pair whose templates are not there any more said nothing about anything, and is left behind. Of two decisions about
one pair of hashes the later one holds. Fixes of issues that were merged go to the issue that stayed. The indexes are
for merging thousands of issues at a time.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

#: A template that gave way to another of its category has its hash with its number behind it: `9f…:12`.
_HASH = "CASE WHEN instr({0}.hash, ':') > 0 THEN substr({0}.hash, 1, instr({0}.hash, ':') - 1) ELSE {0}.hash END"
_A, _B = _HASH.format("x"), _HASH.format("y")


def upgrade() -> None:
    """Every decision goes along."""
    op.rename_table("decisions", "decisions_before")
    op.create_table(
        "decisions",
        sa.Column("project", sa.Text(), server_default="default", nullable=False),
        sa.Column("a", sa.Text(), nullable=False),
        sa.Column("b", sa.Text(), nullable=False),
        sa.Column("same", sa.Boolean(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("project", "a", "b"),
    )
    op.execute(
        "INSERT OR REPLACE INTO decisions (project, a, b, same, at, who)"  # noqa: S608 - our own words
        f" SELECT d.project, min({_A}, {_B}), max({_A}, {_B}), d.same, d.at, d.who FROM decisions_before d"
        " JOIN fingerprints x ON x.id = d.a JOIN fingerprints y ON y.id = d.b"
        f" WHERE {_A} <> {_B} ORDER BY d.at"
    )
    op.drop_table("decisions_before")
    op.execute(
        "UPDATE fixes SET issue = (SELECT merged_into FROM issues WHERE issues.id = fixes.issue)"
        " WHERE issue IN (SELECT id FROM issues WHERE merged_into IS NOT NULL)"
    )
    op.create_index("decisions_b", "decisions", ["project", "b"])
    op.create_index("fingerprints_by_hash", "fingerprints", ["project", "hash"])
    for table in ("issues", "clusters"):
        op.create_index(
            f"{table}_merged", table, ["merged_into"],
            sqlite_where=sa.text("merged_into IS NOT NULL"), postgresql_where=sa.text("merged_into IS NOT NULL"),
        )  # fmt: skip
