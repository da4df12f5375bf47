"""Bring the database's schema to the one this version of the service needs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from pydantic import ValidationError
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from app.core.database import WRITE, Database
from app.core.settings import Settings, explain

LOCK = 0x64645F6D6967  # "dd_mig": PostgreSQL's advisory lock that keeps two migrations apart


class SchemaError(RuntimeError):
    """The database's schema is not the one that this version works with."""


def upgrade(database: Database, revision: str = "head") -> None:
    """Apply every migration up to ``revision``; two processes doing so at once do it once."""
    with migrating(database) as connection:
        command.upgrade(config(connection), revision)


def downgrade(database: Database, revision: str) -> None:
    """Take the schema back to ``revision`` (``base`` empties it)."""
    with migrating(database) as connection:
        command.downgrade(config(connection), revision)


def check(database: Database) -> None:
    """Refuse a schema that is older or newer than this version's.

    Raises:
        SchemaError: saying which of the two, and what to do.
    """
    script = ScriptDirectory.from_config(config())
    head = script.get_current_head()
    with database.engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    if current == head:
        return
    known = {revision.revision for revision in script.walk_revisions()}
    if current is None or current in known:
        raise SchemaError(
            f"the database's schema is at {current or 'nothing'}, this version needs {head}: "
            "run `python -m app.migrate` (or `ddctl migrate`) first"
        )
    raise SchemaError(
        f"the database's schema is at {current}, which this version does not know (it needs {head}): "
        "a newer version has been here; run that one"
    )


@contextmanager
def migrating(database: Database) -> Iterator[Connection]:
    """One transaction that nobody else migrates in."""
    with database.engine.connect().execution_options(**{WRITE: True}) as connection:
        driver: Any = connection.connection.driver_connection
        sqlite = connection.dialect.name == "sqlite"
        if sqlite:
            # Altering a table there means copying and dropping it, and the drop would cascade.
            driver.execute("PRAGMA foreign_keys=OFF")
        try:
            with connection.begin():
                if not sqlite:
                    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
                yield connection
                if sqlite and connection.exec_driver_sql("PRAGMA foreign_key_check").all():
                    raise SchemaError("the migration would leave rows that point nowhere; nothing was changed")
        finally:
            if sqlite:
                driver.execute("PRAGMA foreign_keys=ON")


def config(connection: Connection | None = None) -> Config:
    """Alembic's configuration: where the migrations are, and the connection they use."""
    found = Config()
    found.set_main_option("script_location", str(files("migrations")))
    found.attributes["connection"] = connection
    return found


def main() -> int:
    """Upgrade the database that the settings name."""
    try:
        settings = Settings()
        database = Database(settings)
        upgrade(database)
        check(database)
    except ValidationError as error:
        sys.stderr.write(f"{explain(error)}\n")
        return 2
    except (SchemaError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except DBAPIError as error:
        sys.stderr.write(f"the database cannot be migrated: {error.orig}\n")
        return 1
    sys.stdout.write("the database is up to date\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
