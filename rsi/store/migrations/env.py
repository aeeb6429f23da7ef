"""How Alembic runs our migrations: on the connection it was given, all of them in one transaction."""

from __future__ import annotations

from alembic import context

from rsi.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    render_as_batch=True,  # SQLite alters a table by copying it
)
with context.begin_transaction():
    context.run_migrations()
