"""How Alembic reaches the database: on the connection that :mod:`app.migrate` opened."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from app.core.schema import metadata

connection: Connection = context.config.attributes["connection"]
# SQLite cannot alter most of a table in place; batch mode copies it, and changes nothing elsewhere.
context.configure(
    connection=connection, target_metadata=metadata, render_as_batch=True, compare_type=True, transactional_ddl=True
)
with context.begin_transaction():
    context.run_migrations()
