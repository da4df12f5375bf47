"""An empty database that every migration has gone through, made once in a process and copied for each test."""

from __future__ import annotations

import threading
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from app import migrate
from app.core.database import Database
from app.core.settings import Settings

NAME = "ddservice.sqlite3"
"""Of the file in the state folder."""
_MAKING = threading.Lock()


def put_into(home: Path) -> None:
    """Leave a copy of the database in a state folder without one; several threads may do so at once."""
    with _MAKING:
        content = _file()
    (home / NAME).write_bytes(content)


@cache
def _file() -> bytes:
    with TemporaryDirectory() as home:
        database = Database(Settings(home=Path(home)))
        migrate.upgrade(database)
        with database.engine.connect() as connection:
            driver = connection.connection.driver_connection
            assert driver is not None
            driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.dispose()
        return (Path(home) / NAME).read_bytes()
