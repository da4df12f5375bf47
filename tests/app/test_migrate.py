from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, make_url, select, text

from app import migrate
from app.core.database import Database
from app.core.settings import Settings
from app.models import metadata
from app.models.jobs import Job

BACKENDS = ("sqlite", "postgres")


@pytest.fixture
def empty(tmp_path: Path, backend: str, postgres_url: str) -> Iterator[Settings]:
    """Settings of a database without any table."""
    if backend == "sqlite":
        yield Settings(home=tmp_path)
        return
    server = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    name = f"dd_migrate_{tmp_path.parent.name.replace('-', '_')}_{tmp_path.name[-8:].strip('_')}".lower()
    with server.connect() as connection:
        connection.execute(text(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))
        connection.execute(text(f'CREATE DATABASE "{name}"'))
    yield Settings(
        home=tmp_path, database_url=make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
    )
    with server.connect() as connection:
        connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))
    server.dispose()


def test_head_is_the_models(empty: Settings) -> None:
    """Alembic itself finds nothing to add, drop or change."""
    database = Database(empty)
    migrate.upgrade(database)
    with migrate.migrating(database) as connection:
        command.check(migrate.config(connection))
    database.dispose()


def test_the_files_are_numbered_in_the_order_of_the_chain() -> None:
    chain = ScriptDirectory.from_config(migrate.config()).walk_revisions()
    assert migrate.revisions() == tuple(script.revision for script in reversed(list(chain)))


def test_upgrade_twice_and_down_to_nothing(empty: Settings) -> None:
    database = Database(empty)
    migrate.upgrade(database)
    migrate.upgrade(database)
    assert set(metadata.tables) <= set(inspect(database.engine).get_table_names())
    migrate.downgrade(database, "base")
    assert set(inspect(database.engine).get_table_names()) <= {"alembic_version"}
    database.dispose()


def test_upgrade_keeps_the_rows(database: Database, add_job: Callable[..., str]) -> None:
    job_id = add_job()
    migrate.upgrade(database)
    with database.read() as session:
        assert session.execute(select(Job.id)).scalar_one() == job_id


class TestCheck:
    def test_accepts_its_own_schema(self, database: Database) -> None:
        migrate.check(database)

    def test_refuses_an_empty_database(self, empty: Settings) -> None:
        database = Database(empty)
        with pytest.raises(migrate.SchemaError, match=r"at nothing.*app\.migrate"):
            migrate.check(database)
        database.dispose()

    def test_refuses_a_newer_schema(self, database: Database) -> None:
        with database.write() as session:
            before = session.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
            session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        try:
            with pytest.raises(migrate.SchemaError, match="newer version"):
                migrate.check(database)
        finally:
            with database.write() as session:
                session.execute(text("UPDATE alembic_version SET version_num = :before"), {"before": before})


class TestCommand:
    def run(self, settings: Settings, **environment: str) -> subprocess.CompletedProcess[str]:
        given = {"DD_HOME": str(settings.home), "DD_DATABASE_URL": settings.database_url, **environment}
        return subprocess.run(
            [sys.executable, "-m", "app.migrate"],
            env={"PATH": "/usr/bin", **given},
            capture_output=True,
            text=True,
            check=False,
        )

    def test_brings_a_database_up_to_date(self, empty: Settings) -> None:
        done = self.run(empty)
        assert (done.returncode, done.stdout, done.stderr) == (0, "the database is up to date\n", "")
        database = Database(empty)
        migrate.check(database)
        database.dispose()

    def test_unreachable_database_is_one_plain_line(self, tmp_path: Path) -> None:
        done = self.run(Settings(home=tmp_path), DD_DATABASE_URL="postgresql+psycopg://u@127.0.0.1:1/none")
        assert done.returncode == 1
        assert done.stderr.startswith("the database cannot be used: ")
        assert "Traceback" not in done.stderr

    def test_bad_setting_is_named(self, tmp_path: Path) -> None:
        done = self.run(Settings(home=tmp_path), DD_PORT="http")
        assert done.returncode == 2
        assert "DD_PORT is 'http'" in done.stderr
        assert "Traceback" not in done.stderr
