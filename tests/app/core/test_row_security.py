"""The second wall between tenants, on a real PostgreSQL: what a query that forgets the tenant still does not get."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import create_engine, make_url, select, text, update
from sqlalchemy.exc import ProgrammingError

from app import migrate
from app.core import row_security
from app.core.database import Database
from app.core.row_security import NoWallError
from app.core.settings import Settings
from app.jobs.repository import JobRepository
from app.keys import repository as keys
from app.main import create_app, prepare
from app.models import metadata
from app.models.events import Event
from app.models.jobs import Job
from app.models.keys import Tenant

if TYPE_CHECKING:
    from tests.app.conftest import Api

BACKENDS = ("postgres",)


@contextmanager
def acting_for(tenant_id: str | None) -> Iterator[None]:
    row_security.act_for(tenant_id)
    try:
        yield
    finally:
        row_security.act_for(None)


@pytest.fixture
def two(database: Database, add_job: Callable[..., str]) -> tuple[str, str]:
    """A job of each of two tenants."""
    with database.write() as session:
        keys.ensure_tenant(session, "rival", "rival")
    return add_job(), add_job(tenant_id="rival")


def test_every_table_with_rows_of_tenants_has_a_policy(database: Database) -> None:
    with database.read() as session:
        guarded = set(session.execute(text("SELECT tablename FROM pg_policies")).scalars())
        enabled = set(session.execute(text("SELECT relname FROM pg_class WHERE relrowsecurity")).scalars())
    of_tenants = {table.name for table in metadata.sorted_tables if "tenant_id" in table.c} | {"tenants"}
    assert of_tenants <= guarded & enabled


def test_a_query_that_forgets_the_tenant_finds_its_rows_alone(database: Database, two: tuple[str, str]) -> None:
    mine, theirs = two
    for tenant, seen in (("default", {mine}), ("rival", {theirs}), ("nobody", set()), (None, {mine, theirs})):
        with acting_for(tenant), database.read() as session:
            assert set(session.scalars(select(Job.id))) == seen
            assert len(session.scalars(select(Tenant.id)).all()) == (2 if tenant is None else tenant != "nobody")


def test_rows_of_others_are_neither_changed_nor_made(database: Database, two: tuple[str, str]) -> None:
    mine, theirs = two
    with acting_for("default"), database.write() as session:
        changed = session.execute(update(Job).values(name="mine now").returning(Job.id)).scalars().all()
    assert changed == [mine]

    def make() -> None:
        with database.write() as session:
            session.add(
                Event(
                    job_id=theirs, seq=9, id="evt_1", tenant_id="rival", type="job.log", level="info", attempt=0,
                    message="", data={},
                )
            )  # fmt: skip

    with acting_for("default"), pytest.raises(ProgrammingError, match="row-level security"):
        make()
    make()


def test_the_wall_is_of_one_transaction(database: Database, two: tuple[str, str]) -> None:
    """The connection that was bound serves somebody else next."""
    for _ in range(3):
        with acting_for("rival"), database.read() as session:
            assert len(session.scalars(select(Job.id)).all()) == 1
        with database.read() as session:
            assert len(session.scalars(select(Job.id)).all()) == 2
            assert session.execute(text("SELECT current_user")).scalar_one() != row_security.ROLE


def test_a_route_with_a_hole_in_the_first_wall_still_hides_other_tenants_jobs(
    api: Api, rival: Api, spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = api.submit(spec)
    theirs = rival.submit(spec)
    monkeypatch.setattr(JobRepository, "_visible", lambda self: select(Job).where(Job.deleted_at.is_(None)))
    for path in (f"/v1/jobs/{job['id']}", f"/jobs/{job['id']}"):
        assert rival.get(path).status_code == 404
    assert [one["id"] for one in rival.get("/v1/jobs").json()["data"]] == [theirs["id"]]
    assert rival.post(f"/v1/jobs/{job['id']}:cancel").status_code == 404
    # The hole is one: an operator, who is not bound, falls through it.
    assert api.get(f"/v1/jobs/{theirs['id']}").status_code == 200


@pytest.fixture
def humble(postgres_url: str, tmp_path: Path) -> Iterator[Settings]:
    """A database whose owner may make no roles."""
    name = f"dd_humble_{uuid.uuid4().hex[:12]}"
    server = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"CREATE ROLE {name} LOGIN PASSWORD 'humble' NOCREATEROLE"))
        connection.execute(text(f"CREATE DATABASE {name} OWNER {name}"))
    url = make_url(postgres_url).set(database=name, username=name, password="humble")
    yield Settings(home=tmp_path, database_url=url.render_as_string(hide_password=False))
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        connection.execute(text(f"DROP ROLE {name}"))
    server.dispose()


def test_without_the_right_to_it_the_service_works_and_says_so_unless_it_is_demanded(humble: Settings) -> None:
    database = Database(humble)
    migrate.upgrade(database)
    with acting_for("default"), database.write() as session:
        keys.ensure_tenant(session, "default", "default")
    database.dispose()
    app = create_app(humble.model_copy(update={"row_security": "on"}))
    with pytest.raises(NoWallError, match=r"docs/operations\.md"):
        prepare(app)
    app.state.database.dispose()


def test_an_operator_can_allow_it_later(humble: Settings, postgres_url: str, backend: str, database: Database) -> None:
    """By the commands of docs/operations.md; any database that was migrated before has made the role."""
    own = Database(humble)
    migrate.upgrade(own)
    user = make_url(humble.database_url).username
    server = create_engine(make_url(postgres_url).set(database=user), isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        for command in (
            f"GRANT {row_security.ROLE} TO {user}",
            f"GRANT USAGE ON SCHEMA public TO {row_security.ROLE}",
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {row_security.ROLE}",
            f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {row_security.ROLE}",
        ):
            connection.execute(text(command))
    server.dispose()
    with own.write() as session:
        for tenant in ("default", "rival"):
            keys.ensure_tenant(session, tenant, tenant)
    with acting_for("rival"), own.read() as session:
        assert session.scalars(select(Tenant.id)).all() == ["rival"]
    own.dispose()


def test_sqlite_has_none(tmp_path: Path) -> None:
    app = create_app(Settings(home=tmp_path, row_security="on"))
    with pytest.raises(NoWallError, match="needs PostgreSQL"):
        prepare(app)
    app.state.database.dispose()
