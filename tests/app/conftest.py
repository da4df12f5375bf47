"""A real database and the real application for every test.

Tests run on SQLite; a module that says ``BACKENDS = ("sqlite", "postgres")`` runs on both. Every test
gets empty tables made by the real migrations: on SQLite a copy of a migrated file, on PostgreSQL a
database of this run's own, emptied.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio.from_thread
import httpx
import pytest
import structlog
from fastapi import FastAPI
from sqlalchemy import create_engine, func, make_url, select, text, update

from app import migrate
from app.core.database import Database
from app.core.ids import new_id
from app.core.security import Scope
from app.core.settings import Settings
from app.core.tables import Base
from app.keys import repository as keys
from app.keys import service as key_service
from app.main import create_app
from app.models import metadata
from app.models.jobs import Job
from ddcore.spec import parse
from tests import migrated


@pytest.fixture(autouse=True)
def quiet_log() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.reset_defaults()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backend" in metafunc.fixturenames:
        names = getattr(metafunc.module, "BACKENDS", ("sqlite",))
        marks = {"postgres": [pytest.mark.postgres], "sqlite": []}
        metafunc.parametrize("backend", [pytest.param(name, marks=marks[name]) for name in names], indirect=True)


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def migrated_postgres(postgres_url: str) -> Iterator[str]:
    name = f"dd_test_{uuid.uuid4().hex[:12]}"
    server = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        connection.execute(text(f"ALTER DATABASE {name} SET synchronous_commit = off"))
        # A test whose transactions wait for each other fails instead of hanging.
        connection.execute(text(f"ALTER DATABASE {name} SET statement_timeout = '30s'"))
    url = make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
    database = Database(Settings(home=Path("/nonexistent"), database_url=url))
    migrate.upgrade(database)
    database.dispose()
    yield url
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    server.dispose()


@pytest.fixture(scope="session")
def empty_postgres(migrated_postgres: str) -> Iterator[Callable[[], None]]:
    """Deletes all rows. Each test would otherwise connect anew, and ask once for every table."""
    # Deleting a few rows is much quicker than TRUNCATE, which makes new files.
    deletions = text("; ".join(f"DELETE FROM {table.name}" for table in reversed(metadata.sorted_tables)))
    engine = create_engine(migrated_postgres, pool_pre_ping=True)

    def delete() -> None:
        with engine.begin() as connection:
            connection.execute(deletions)

    yield delete
    engine.dispose()


@pytest.fixture
def settings(tmp_path: Path, backend: str, request: pytest.FixtureRequest) -> Settings:
    """Settings of an empty service; the migrated database is in place."""
    home = tmp_path / "home"
    home.mkdir()
    common: dict[str, Any] = {"home": home, "allowed_hosts": ("test",), "lease_s": 20, "heartbeat_s": 5}
    if backend == "sqlite":
        migrated.put_into(home)
        return Settings(**common)
    url = request.getfixturevalue("migrated_postgres")
    request.getfixturevalue("empty_postgres")()
    return Settings(**common, database_url=url)


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    """The service's database, with the default tenant."""
    database = Database(settings)
    with database.write() as session:
        keys.ensure_tenant(session, key_service.DEFAULT_TENANT, "Default")
    yield database
    database.dispose()


@pytest.fixture
def add_job(database: Database) -> Callable[..., str]:
    """Inserts a queued job of the default tenant and returns its id; keywords set other columns."""

    def add(**columns: Any) -> str:
        spec = parse({"dataset": "digits", "ipc": 1, "method": {"name": "dm", "iterations": 100}})
        values = {
            "id": new_id("job"),
            "tenant_id": key_service.DEFAULT_TENANT,
            "labels": {},
            "priority": 5,
            "spec": spec.model_dump(mode="json"),
            "dataset": spec.dataset,
            "method": spec.method.name,
            "device_class": "any",
            "max_runtime_s": 3600,
            "max_queue_s": 3600,
            "status": "queued",
            "max_attempts": 3,
            "total_steps": 100,
        } | columns
        with database.write() as session:
            session.add(Job(**values))
        return str(values["id"])

    return add


@dataclass
class Api:
    """The application, asked without a network; errors that escape it fail the test."""

    settings: Settings
    app: FastAPI
    portal: anyio.from_thread.BlockingPortal
    client: httpx.AsyncClient
    headers: dict[str, str] = field(default_factory=dict)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        options["headers"] = {**self.headers, **options.get("headers", {})}
        return self.portal.call(lambda: self.client.request(method, path, **options))

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.request("POST", path, **options)

    def patch(self, path: str, **options: Any) -> httpx.Response:
        return self.request("PATCH", path, **options)

    def delete(self, path: str, **options: Any) -> httpx.Response:
        return self.request("DELETE", path, **options)

    @property
    def state(self) -> Any:
        return self.app.state

    @property
    def database(self) -> Database:
        database: Database = self.state.database
        return database

    def submit(self, spec: dict[str, Any], **fields: Any) -> dict[str, Any]:
        """Submit a job that has to be accepted; its document."""
        response = self.post("/v1/jobs", json={**spec, **fields})
        assert response.status_code == 201, response.text
        document: dict[str, Any] = response.json()
        return document

    def force(self, job_id: str, **values: Any) -> None:
        """Put a job into a situation that only a worker could bring about."""
        with self.database.write() as session:
            session.execute(update(Job).where(Job.id == job_id).values(**values))

    def count(self, model: type[Base]) -> int:
        """Rows of a table."""
        with self.database.read() as session:
            return session.execute(select(func.count()).select_from(model)).scalar_one()

    def acting_as(self, key: str | None) -> Api:
        """The same application, asked with another key, or with none."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        return Api(self.settings, self.app, self.portal, self.client, headers)

    def key(self, tenant: str = "default", scopes: tuple[Scope, ...] = (Scope.ADMIN,)) -> str:
        """A new API key, its tenant being made where it does not exist."""
        with self.database.write() as session:
            keys.ensure_tenant(session, tenant, tenant)
            _, made = key_service.create(
                session, self.state.signer, self.settings, tenant_id=tenant, name="test", scopes=scopes
            )
        return made.text


@pytest.fixture
def api(settings: Settings) -> Iterator[Api]:
    """The started application, asked with the key that its first start made."""
    app = create_app(settings)
    with anyio.from_thread.start_blocking_portal() as portal:
        transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 50000))
        client = httpx.AsyncClient(transport=transport, base_url="http://test")
        with portal.wrap_async_context_manager(app.router.lifespan_context(app)):
            # Where nobody needs a key, none is made.
            key = settings.api_key_file.read_text().strip() if settings.auth else None
            yield Api(settings, app, portal, client).acting_as(key)
        portal.call(client.aclose)


@pytest.fixture
def whole_window() -> None:
    """Waits for the next minute of the clock where this one is soon over.

    Rates are counted by such minutes, and what was asked in the one before counts less with every second of the next.
    """
    left = 60 - time.time() % 60
    if left < 20:
        time.sleep(left)


@pytest.fixture
def rival(api: Api) -> Api:
    """The same application, asked with the key of another tenant."""
    return api.acting_as(api.key("rival"))


@pytest.fixture
def spec() -> dict[str, Any]:
    """A small valid submission."""
    return {"dataset": "digits", "ipc": 2, "method": {"name": "dm", "iterations": 10}}
