"""The application: every part of the service put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from threading import Thread

from fastapi import APIRouter, Depends, FastAPI
from starlette.concurrency import run_in_threadpool

from app import migrate
from app.artifacts import routes as artifacts
from app.catalog import routes as catalog
from app.compare import routes as compare
from app.core import problems, row_security
from app.core.bodies import plain_body
from app.core.database import Database
from app.core.logging import warn_of_broken_offers
from app.core.middleware import BodyLimit, BodyPace, HeadAsGet, HostCheck, RequestContext
from app.core.parameters import known_parameters
from app.core.rates import UPLOAD, Rates, Streams
from app.core.security import load_signer
from app.core.settings import Settings
from app.core.storage import open_store
from app.core.turns import InFlight, Turns
from app.dashboard import pages as dashboard
from app.dashboard import report_routes as reports
from app.datasets import routes as datasets
from app.events import alert_routes as alerts
from app.events import routes as events
from app.events.stream import Tailer
from app.jobs import routes as jobs
from app.keys import routes as keys
from app.keys.early_refusal import EarlyRefusal
from app.keys.service import Keyring, bootstrap
from app.logs import routes as logs
from app.metrics import routes as metrics
from app.oidc.opening import open_provider
from app.scores import board_routes as leaderboard
from app.scores import routes as scores
from app.studies import routes as studies
from app.system import docs
from app.system import routes as system
from app.system.readiness import BrokerProbe
from app.team import routes as team
from app.webhooks import routes as webhooks
from ddcore.version import __version__

EVERY_ROUTE = [Depends(known_parameters), Depends(plain_body)]
DESCRIPTION = "Turn a labelled image dataset into a few synthetic images per class that train a model almost as well."


def create_app(settings: Settings | None = None) -> FastAPI:
    """The service as an ASGI application.

    It opens nothing until it is started: the lifespan migrates an embedded database (and refuses any
    other whose schema is not this version's) and makes the first API key.

    Args:
        settings: by default, those of the environment.

    Raises:
        ValueError: the settings ask for what is not installed, or cannot be used.
    """
    settings = settings or Settings()
    app = FastAPI(
        title="ddservice",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
        dependencies=EVERY_ROUTE,
    )
    database = Database(settings)
    signer = load_signer(settings)
    app.state.settings = settings
    app.state.database = database
    app.state.signer = signer
    app.state.keyring = Keyring(database, signer)
    app.state.provider = open_provider(settings)
    app.state.store = open_store(settings)
    app.state.tailer = Tailer(database)
    app.state.rates = Rates(settings)
    app.state.streams = Streams(settings.max_streams)
    app.state.turns = Turns()
    app.state.guesses = Turns()
    app.state.in_flight = InFlight()
    app.state.broker_probe = BrokerProbe(settings)
    problems.install(app)
    app.add_middleware(HeadAsGet, routes=app.router.routes)
    app.add_middleware(BodyLimit, limit=settings.body_limit, uploads=UPLOAD)
    app.add_middleware(BodyPace, seconds=settings.body_timeout_s, uploads=UPLOAD)
    app.add_middleware(EarlyRefusal)
    app.add_middleware(HostCheck, allowed=settings.allowed_hosts)
    app.add_middleware(RequestContext)
    app.router.routes.extend(_slices().routes)
    docs.install(app)
    return app


@cache
def _slices() -> APIRouter:
    """The routes of every slice: read from their functions once, however many applications a process makes."""
    router = APIRouter(dependencies=EVERY_ROUTE, responses=problems.ANY_PROBLEM)
    for slice_ in (
        compare, jobs, studies, datasets, scores, leaderboard, events, alerts, logs, metrics, artifacts, catalog, keys,
        team, webhooks, system, reports, dashboard,
    ):  # fmt: skip
        router.include_router(slice_.router)
    return router


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    warn_of_broken_offers()
    await run_in_threadpool(prepare, app)
    # Beside the first requests, not before them: it takes half a second.
    Thread(target=dashboard.warm, name="dashboard", daemon=True).start()
    try:
        yield
    finally:
        app.state.tailer.stop()
        app.state.database.dispose()


def prepare(app: FastAPI) -> None:
    """Make the database fit for use: its schema, a tenant and a first API key. Doing it twice changes nothing.

    Raises:
        SchemaError: the database is not embedded, and its schema is not this version's.
        NoWallError: the settings demand that it keeps tenants apart by itself, and it does not.
    """
    settings: Settings = app.state.settings
    if settings.embedded:
        migrate.upgrade(app.state.database)
    migrate.check(app.state.database)
    if settings.row_security == "on":
        with app.state.database.read() as session:
            row_security.demand(session.connection())
    bootstrap(app.state.database, app.state.signer, settings)
