"""Health, workers, metrics for Prometheus, and the explanation of every problem."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from app.core.database import Database
from app.core.dependencies import DatabaseDep, SettingsDep
from app.core.errors import CODES, NotFound, ServiceError
from app.core.pagination import Page
from app.core.problems import responses
from app.core.security import Principal
from app.core.settings import Settings
from app.keys import audit
from app.keys.principals import Admin, Operator
from app.models.fleet import Worker
from app.models.states import TERMINAL, State
from app.queue import fleet
from app.system import readiness, repository
from app.system.schemas import Health, ProblemKind, Readiness, WorkerDocument
from ddcore.version import __version__

router = APIRouter(tags=["system"])

WorkerId = Annotated[str, Path(pattern=r"^wrk_[0-9a-z_]{1,36}$")]


@router.get("/healthz")
async def healthz() -> Health:
    """Say that the process is alive; looks at nothing else."""
    return Health(version=__version__)


@router.get("/readyz", responses={503: {"model": Readiness}})
def readyz(request: Request, database: DatabaseDep, settings: SettingsDep, response: Response) -> Readiness:
    """Say whether jobs can be submitted and would run, and what it means where a part is missing."""
    response.headers["Cache-Control"] = "no-store"
    found = readiness.judge(database, settings, request.app.state.broker_probe)
    if found.status == "unavailable":
        response.status_code = 503
    return found


@router.get("/metrics", include_in_schema=False)
def prometheus(principal: Admin, database: DatabaseDep, settings: SettingsDep) -> Response:
    """Gauges of the service in the format of Prometheus; jobs are those of all tenants for operators alone."""
    with database.read() as session:
        counts = repository.unfinished_by_status(session, principal)
        workers = repository.workers(session, settings.lease_s)
        owed = repository.owed_messages(session)
    registry = CollectorRegistry()
    jobs = Gauge("dd_jobs", "Unfinished jobs.", ["status"], registry=registry)
    for state in State:
        if state not in TERMINAL:
            jobs.labels(state).set(counts.get(state, 0))
    alive = Gauge("dd_workers", "Workers that are alive.", ["state", "device_class"], registry=registry)
    for worker in workers:
        alive.labels(worker.state, worker.device_class).inc()
    Gauge("dd_outbox_messages", "Messages that the broker has not got yet.", registry=registry).set(owed)
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


@router.get("/v1/workers")
def list_workers(principal: Admin, database: DatabaseDep, settings: SettingsDep) -> Page[WorkerDocument]:
    """List the workers that are alive."""
    with database.read() as session:
        workers = repository.workers(session, settings.lease_s)
        own = repository.own_jobs(session, principal, workers)
    return Page[WorkerDocument](data=[_worker(worker, own) for worker in workers])


@router.post("/v1/workers/{worker_id}:cordon", responses=responses(NotFound))
def cordon(worker_id: WorkerId, principal: Operator, database: DatabaseDep, settings: SettingsDep) -> WorkerDocument:
    """Have a worker claim no more jobs; the one it runs goes on."""
    return want("cordon", worker_id, principal, database, settings)


@router.post("/v1/workers/{worker_id}:drain", responses=responses(NotFound))
def drain(worker_id: WorkerId, principal: Operator, database: DatabaseDep, settings: SettingsDep) -> WorkerDocument:
    """Have a worker claim no more jobs, and hand back the one it runs at a checkpoint, without using up an attempt."""
    return want("drain", worker_id, principal, database, settings)


@router.post("/v1/workers/{worker_id}:uncordon", responses=responses(NotFound))
def uncordon(worker_id: WorkerId, principal: Operator, database: DatabaseDep, settings: SettingsDep) -> WorkerDocument:
    """Let a worker claim jobs again."""
    return want("run", worker_id, principal, database, settings)


def want(
    wanted: fleet.Wanted, worker_id: str, principal: Principal, database: Database, settings: Settings
) -> WorkerDocument:
    """Tell a worker what to do with jobs.

    Raises:
        NotFound: none of that identifier is alive.
    """
    with database.write() as session:
        if not fleet.want(session, worker_id, wanted, settings.lease_s):
            raise NotFound(f"no worker {worker_id} is alive; GET /v1/workers lists those that are")
        verb = "uncordon" if wanted == "run" else wanted
        audit.record(session, principal, f"worker.{verb}", worker_id)
        worker = session.get_one(Worker, worker_id)
        return _worker(worker, repository.own_jobs(session, principal, [worker]))


@router.get("/problems")
async def list_problems() -> Page[ProblemKind]:
    """List every problem that a request can end in."""
    return Page[ProblemKind](data=[_kind(error) for error in CODES.values()])


@router.get("/problems/{code}", responses=responses(NotFound))
async def get_problem(code: Annotated[str, Path(max_length=100)]) -> ProblemKind:
    """Explain a problem; the `type` of a problem document leads here."""
    if code not in CODES:
        raise NotFound(f"there is no problem {code}; GET /problems lists all")
    return _kind(CODES[code])


def _worker(worker: Worker, own: Collection[str]) -> WorkerDocument:
    return WorkerDocument(
        id=worker.id,
        name=worker.name,
        host=worker.host,
        pid=worker.pid,
        device_class=worker.device_class,
        facts=worker.facts,
        state=worker.state,
        wanted=worker.wanted,
        job_id=worker.job_id if worker.job_id in own else None,
        started_at=worker.started_at,
        heartbeat_at=worker.heartbeat_at,
    )


def _kind(error: type[ServiceError]) -> ProblemKind:
    return ProblemKind(code=error.code, title=error.title, status=error.status, description=error.__doc__ or "")
