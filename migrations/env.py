"""How Alembic reaches the database: on the connection that :mod:`app.migrate` opened."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, Index
from sqlalchemy.schema import SchemaItem

from app.models import metadata


def belongs(item: SchemaItem, *_: object) -> bool:
    """Whether this database has the item: an index may be for one kind of database only."""
    return not isinstance(item, Index) or item.info.get("only") in (None, connection.dialect.name)


connection: Connection = context.config.attributes["connection"]
# SQLite cannot alter most of a table in place; batch mode copies it, and changes nothing elsewhere.
context.configure(
    connection=connection,
    target_metadata=metadata,
    include_object=belongs,
    render_as_batch=True,
    compare_type=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
