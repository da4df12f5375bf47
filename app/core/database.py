"""Sessions on SQLite or PostgreSQL; transactions begin and end here and nowhere else."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url, select, text
from sqlalchemy.engine.interfaces import DBAPIConnection, ExceptionContext
from sqlalchemy.exc import InternalError, OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from app.core.filesystems import network_filesystem
from app.core.row_security import Wall
from app.core.settings import Settings
from app.core.tables import clock

BUSY_TIMEOUT_MS = 10_000
"""How long a writer waits for another."""
SILENCE_MS = 8_000
"""How long a writer may say nothing: less than others wait, so that they need not give up."""
WRITE = "dd_write"
_DISK_FULL = "53100"
"""As PostgreSQL says it."""
_PATIENCE = text(
    "SELECT set_config('lock_timeout', :busy, true), set_config('idle_in_transaction_session_timeout', :silence, true)"
)


class Database:
    """The service's database.

    ``read()`` and ``write()`` are the edges of every transaction: code inside flushes, never commits.

    Raises:
        ValueError: the SQLite file would be on a network filesystem.
    """

    def __init__(self, settings: Settings) -> None:
        self.engine = _engine(settings)
        self._readers = self.engine.execution_options(**_reading(self.engine))
        self._writers = self.engine.execution_options(**{WRITE: True})
        self._turns = _WriteTurns() if self.engine.dialect.name == "sqlite" else None

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that sees one state of the database and cannot change it."""
        with Session(self._readers, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session whose changes are committed together when the block ends, or not at all.

        On PostgreSQL a process that is stopped, or whose machine is gone, in the middle of a transaction loses its
        locks after ``SILENCE_MS``. SQLite has no such means: everybody waits until that process goes on or ends.

        Raises:
            OperationalError: others write for longer than ``BUSY_TIMEOUT_MS``.
        """
        turn: AbstractContextManager[None] = nullcontext() if self._turns is None else self._turns.one()
        with turn, Session(self._writers, expire_on_commit=False) as session, session.begin():
            yield session

    def dispose(self) -> None:
        """Close every idle connection."""
        self.engine.dispose()


class _WriteTurns:
    """Lets the threads of a process write to SQLite one after the other.

    SQLite has one writer at a time in any case. One that finds the file locked looks again after pauses of up to a
    tenth of a second, and one that asks in between goes first. Here the next one begins when the one before it ends.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()

    @contextmanager
    def one(self) -> Iterator[None]:
        """Hold the turn until the block ends.

        Raises:
            OperationalError: it did not come in ``BUSY_TIMEOUT_MS``.
        """
        if not self._lock.acquire(timeout=BUSY_TIMEOUT_MS / 1000):
            busy = sqlite3.OperationalError("database is locked by another thread of this process")
            raise OperationalError("BEGIN IMMEDIATE", None, busy)
        try:
            yield
        finally:
            self._lock.release()


def _reading(engine: Engine) -> dict[str, Any]:
    # SQLite's read transactions have one snapshot anyway, and _begin_sqlite makes them read-only.
    if engine.dialect.name == "sqlite":
        return {}
    return {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


def now(session: Session) -> datetime:
    """The time by the database's clock, in UTC to the millisecond."""
    return session.execute(select(clock())).scalar_one()


def is_full(error: Exception) -> bool:
    """Whether an error of a database says that its disk is full."""
    cause = getattr(error, "orig", None)
    return (
        getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        or getattr(cause, "sqlstate", None) == _DISK_FULL
    )


def _engine(settings: Settings) -> Engine:
    url = make_url(settings.database_url)
    if url.get_backend_name() == "sqlite":
        if url.database:
            _prepare_folder(Path(url.database).parent)
        engine = create_engine(url, pool_size=20, max_overflow=20, pool_timeout=10)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    engine = create_engine(url, pool_size=20, max_overflow=20, pool_timeout=10, pool_pre_ping=True)
    event.listen(engine, "begin", _begin_postgres)
    event.listen(engine, "begin", Wall(settings.row_security).bind)
    event.listen(engine, "handle_error", _as_outage, retval=True)
    return engine


def _prepare_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    kind = network_filesystem(folder)
    if kind is not None:
        raise ValueError(
            f"{folder} is on a network filesystem ({kind}), where SQLite loses data: set DD_HOME to a folder of this "
            "machine, or DD_DATABASE_URL to a PostgreSQL database"
        )


def _prepare_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    # The driver would open transactions by itself, and deferred ones; _begin_sqlite does it instead.
    driver: Any = connection
    driver.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", f"busy_timeout={BUSY_TIMEOUT_MS}"):
        driver.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later fails at once when another has written in between,
    # busy timeout or not; one that takes the write lock at its start waits its turn.
    writes = connection.get_execution_options().get(WRITE, False)
    connection.exec_driver_sql(f"PRAGMA query_only={'OFF' if writes else 'ON'}")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _begin_postgres(connection: Connection) -> None:
    if connection.get_execution_options().get(WRITE, False):
        # Of this transaction alone: a pooler may hand the session on to anybody.
        connection.execute(_PATIENCE, {"busy": str(BUSY_TIMEOUT_MS), "silence": str(SILENCE_MS)})


def _as_outage(context: ExceptionContext) -> OperationalError | None:
    # What a process hears that was stopped for too long; as passing as any other lost connection.
    error = context.sqlalchemy_exception
    if not (context.is_disconnect and isinstance(error, InternalError)):
        return None
    return OperationalError(error.statement, error.params, context.original_exception, connection_invalidated=True)
