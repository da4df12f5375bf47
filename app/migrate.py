"""Bring the database's schema to the one this version of the service needs.

Alembic is imported where it is used: it takes a tenth of the start of a process, and only a migration needs it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, inspect, text

from app.core.database import WRITE, Database
from app.core.programs import ending_plainly
from app.core.settings import Settings

if TYPE_CHECKING:
    from alembic.config import Config

LOCK = 0x64645F6D6967  # "dd_mig": PostgreSQL's advisory lock that keeps two migrations apart


class SchemaError(RuntimeError):
    """The database's schema is not the one that this version works with."""


def upgrade(database: Database, revision: str = "head") -> None:
    """Apply every migration up to ``revision``; two processes doing so at once do it once."""
    if revision == "head" and current(database) == revisions()[-1]:
        return
    from alembic import command

    with migrating(database) as connection:
        command.upgrade(config(connection), revision)


def downgrade(database: Database, revision: str) -> None:
    """Take the schema back to ``revision`` (``base`` empties it)."""
    from alembic import command

    with migrating(database) as connection:
        command.downgrade(config(connection), revision)


def check(database: Database) -> None:
    """Refuse a schema that is older or newer than this version's.

    Raises:
        SchemaError: saying which of the two, and what to do.
    """
    *earlier, head = revisions()
    found = current(database)
    if found == head:
        return
    if found is None or found in earlier:
        raise SchemaError(
            f"the database's schema is at {found or 'nothing'}, this version needs {head}: "
            "run `python -m app.migrate` (or `ddctl migrate`) first"
        )
    raise SchemaError(
        f"the database's schema is at {found}, which this version does not know (it needs {head}): "
        "a newer version has been here; run that one"
    )


@cache
def revisions() -> tuple[str, ...]:
    """The migrations there are, in order, by the numbers that their files begin with.

    Alembic would read and compile every file to say so, and every process of the service asks when it starts.
    """
    found = (entry.name.partition("_") for entry in files("migrations").joinpath("versions").iterdir())
    return tuple(sorted(number for number, _, rest in found if number.isdigit() and rest.endswith(".py")))


def current(database: Database) -> str | None:
    """The migration that the schema is at; ``None`` where there is no schema."""
    with database.engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


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
    from alembic.config import Config

    found = Config()
    found.set_main_option("script_location", str(files("migrations")))
    found.attributes["connection"] = connection
    return found


def main() -> int:
    """Upgrade the database that the settings name."""
    with ending_plainly(SchemaError):
        database = Database(Settings())
        upgrade(database)
        check(database)
    sys.stdout.write("the database is up to date\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
