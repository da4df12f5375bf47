from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from app.core.database import WRITE, Database, is_full, now
from app.core.settings import Settings
from app.core.tables import clock
from app.models.jobs import Job

BACKENDS = ("sqlite", "postgres")


def priority(session: Session, job_id: str) -> int:
    return session.execute(select(Job.priority).where(Job.id == job_id)).scalar_one()


class TestTransactions:
    def test_write_commits_at_the_end(self, database: Database, add_job: Callable[..., str]) -> None:
        job_id = add_job(priority=1)
        with database.write() as session:
            session.execute(update(Job).values(priority=2))
            with database.read() as other:
                assert priority(other, job_id) == 1
        with database.read() as session:
            assert priority(session, job_id) == 2

    def test_read_sees_one_state(self, database: Database, add_job: Callable[..., str]) -> None:
        job_id = add_job(priority=1)
        with database.read() as session:
            assert priority(session, job_id) == 1
            with database.write() as other:
                other.execute(update(Job).values(priority=2))
            assert priority(session, job_id) == 1

    def test_error_undoes_everything(self, database: Database, add_job: Callable[..., str]) -> None:
        job_id = add_job(priority=1)

        def write_and_fail() -> None:
            with database.write() as session:
                session.execute(update(Job).values(priority=2))
                raise KeyError

        with pytest.raises(KeyError):
            write_and_fail()
        with database.read() as session:
            assert priority(session, job_id) == 1

    def test_read_cannot_write(self, database: Database, add_job: Callable[..., str]) -> None:
        add_job()
        with database.read() as session, pytest.raises(DBAPIError, match=r"read.?only"):
            session.execute(update(Job).values(priority=2))

    def test_connection_of_a_reader_can_write_later(self, database: Database, add_job: Callable[..., str]) -> None:
        for value in range(3):
            job_id = add_job(priority=value)
            with database.read() as session:
                assert priority(session, job_id) == value

    def test_readers_that_turn_writers_wait_their_turn(self, database: Database, add_job: Callable[..., str]) -> None:
        """Read, think, write: with deferred transactions SQLite fails all but one of these at once."""
        job_id = add_job(step=0)

        def bump() -> None:
            for _ in range(20):
                with database.write() as session:
                    step = session.execute(select(Job.step).where(Job.id == job_id).with_for_update()).scalar_one()
                    session.execute(update(Job).where(Job.id == job_id).values(step=step + 1))

        threads = [threading.Thread(target=bump) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with database.read() as session:
            assert session.execute(select(Job.step).where(Job.id == job_id)).scalar_one() == 80

    def test_threads_that_wait_to_write_are_served_when_the_one_before_has_ended(
        self, database: Database, add_job: Callable[..., str]
    ) -> None:
        """SQLite itself would look again after a twentieth of a second, or a tenth."""
        job_id = add_job(step=0)
        pauses: list[float] = []
        for _ in range(20):
            ended_at: list[float] = []

            def write(done_at: list[float] = ended_at) -> None:
                with database.write() as session:
                    session.execute(update(Job).where(Job.id == job_id).values(step=Job.step + 1))
                done_at.append(time.monotonic())

            with database.write() as session:
                session.execute(update(Job).where(Job.id == job_id).values(priority=2))
                thread = threading.Thread(target=write)
                thread.start()
                time.sleep(0.15)
            released_at = time.monotonic()
            thread.join()
            pauses.append(ended_at[0] - released_at)
        assert sorted(pauses)[10] < 0.02, pauses


class TestFullDisk:
    def test_is_told_from_other_failures(self, tmp_path: Path) -> None:
        with closing(sqlite3.connect(tmp_path / "small.sqlite3")) as connection:
            connection.execute("CREATE TABLE t (x)")
            connection.execute("PRAGMA max_page_count = 3")
            with pytest.raises(sqlite3.OperationalError) as caught:
                connection.execute("INSERT INTO t VALUES (zeroblob(100000))")
            with pytest.raises(sqlite3.OperationalError) as other:
                connection.execute("SELECT * FROM nothing")
        assert is_full(OperationalError("INSERT", None, caught.value))
        assert not is_full(OperationalError("SELECT", None, other.value))
        assert not is_full(ValueError())

    @pytest.mark.parametrize(("number", "full"), [("53100", True), ("53200", False)])
    def test_as_postgresql_says_it(self, number: str, full: bool) -> None:
        assert is_full(OperationalError("INSERT", None, psycopg.errors.lookup(number)("no space"))) == full


class TestSilence:
    """A writer that holds a row and says nothing for longer than others wait."""

    SILENCE_S = 1.5

    @pytest.fixture
    def job_id(self, add_job: Callable[..., str]) -> str:
        return add_job(priority=1)

    @pytest.fixture(autouse=True)
    def impatience(self, monkeypatch: pytest.MonkeyPatch, database: Database, backend: str, job_id: str) -> None:
        """Limits in a test's reach, from when the job is there."""
        monkeypatch.setattr("app.core.database.BUSY_TIMEOUT_MS", 200 if backend == "sqlite" else 3000)
        monkeypatch.setattr("app.core.database.SILENCE_MS", int(1000 * self.SILENCE_S))
        database.dispose()  # SQLite's limit is that of a connection

    def test_costs_it_the_row_on_postgres_alone(self, database: Database, backend: str, job_id: str) -> None:
        change = update(Job).where(Job.id == job_id)

        def interrupt() -> None:
            with database.write() as session:
                session.execute(change.values(priority=2))
                with database.write() as other:
                    other.execute(change.values(priority=3))

        # On PostgreSQL the silent one has been cut off, on SQLite the other one has waited in vain.
        with pytest.raises(OperationalError):
            interrupt()
        with database.read() as session:
            assert priority(session, job_id) == (3 if backend == "postgres" else 1)

    def test_of_a_reader_costs_nothing(self, database: Database, job_id: str) -> None:
        with database.read() as session:
            assert priority(session, job_id) == 1
            time.sleep(self.SILENCE_S * 1.2)
            assert priority(session, job_id) == 1

    def test_nobody_waits_forever_for_one_that_is_busy(self, database: Database, backend: str, job_id: str) -> None:
        change = update(Job).where(Job.id == job_id)
        # Not through write(), so PostgreSQL leaves this transaction alone however long it takes.
        holder = database.engine.execution_options(**({WRITE: True} if backend == "sqlite" else {}))
        with holder.begin() as connection:
            connection.execute(change.values(priority=2))
            with pytest.raises(OperationalError), database.write() as session:
                session.execute(change.values(priority=3))
        with database.read() as session:
            assert priority(session, job_id) == 2


class TestClock:
    def test_is_the_present_in_utc(self, database: Database) -> None:
        with database.read() as session:
            assert abs(now(session) - datetime.now(UTC)) < timedelta(seconds=2)

    def test_offset(self, database: Database) -> None:
        with database.read() as session:
            here, later = session.execute(select(clock(), clock(90.5))).one()
            assert timedelta(seconds=90.4) < later - here < timedelta(seconds=90.6)

    def test_goes_on_within_a_transaction(self, database: Database) -> None:
        """Leases are judged by the real time, not by when a waiting transaction began."""
        with database.write() as session:
            before = now(session)
            time.sleep(0.02)
            assert now(session) > before

    def test_timestamps_keep_milliseconds(self, database: Database, add_job: Callable[..., str]) -> None:
        at = datetime(2031, 5, 6, 7, 8, 9, 123_000, tzinfo=UTC)
        job_id = add_job(not_before=at)
        with database.read() as session:
            job = session.execute(select(Job).where(Job.id == job_id)).scalar_one()
            assert job.not_before == at
            assert session.execute(select(Job.id).where(Job.not_before > clock())).scalar_one() == job_id


def test_settings_of_sqlite(database: Database, backend: str) -> None:
    if backend != "sqlite":
        assert database.engine.dialect.name == "postgresql"
        return
    with database.engine.connect() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert found == {"journal_mode": "wal", "synchronous": 1, "foreign_keys": 1, "busy_timeout": 10_000}


def test_foreign_keys_hold(database: Database, add_job: Callable[..., str]) -> None:
    with pytest.raises(DBAPIError, match=r"(?i)foreign key"):
        add_job(tenant_id="nobody")


def test_unreachable_database_is_an_operational_error() -> None:
    settings = Settings(home=Path("/nonexistent"), database_url="postgresql+psycopg://u@127.0.0.1:1/none")
    with pytest.raises(OperationalError), Database(settings).read() as session:
        session.execute(select(1))
