"""The schema's history, run by Alembic; `versions/` is append-only."""
