"""A whole service of real processes in a temporary folder, to break and to look at afterwards."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import redis
from sqlalchemy import create_engine, make_url, select, text
from sqlalchemy.orm import Session

from app import migrate
from app.artifacts import service as artifacts
from app.core.database import Database
from app.core.security import Principal, Scope
from app.core.settings import Settings
from app.core.storage import open_store
from app.datasets.schemas import DatasetDocument, NewDataset
from app.datasets.service import DatasetService
from app.jobs.admission import Admission
from app.jobs.reading import SubmissionReader
from app.jobs.schemas import CancelRequest, Envelope, Limits
from app.jobs.submission import Submission
from app.jobs.submitting import Submitter
from app.jobs.verbs import JobVerbs
from app.logs.service import LogReader
from app.models.artifacts import Artifact, Blob
from app.models.events import Event
from app.models.fleet import Worker
from app.models.jobs import Job
from app.models.keys import Tenant
from app.models.metrics import MetricKey, MetricPoint
from app.models.states import HELD, TERMINAL, Kind, State
from app.queue import outbox
from app.system.repository import is_reconciled
from ddcore.spec import parse
from ddcore.spec.ingest import IngestOptions
from tests import migrated
from tests.chaos import forks

ROOT = forks.ROOT
TENANT = "ten_chaos"
PRINCIPAL = Principal(TENANT, None, frozenset(Scope))
_MIGRATING = threading.Lock()
QUICK = {
    "DD_LEASE_S": "2",
    "DD_HEARTBEAT_S": "0.4",
    "DD_RECONCILE_S": "0.3",
    "DD_POLL_S": "0.1",
    "DD_STOP_GRACE_S": "3",
    "DD_BACKOFF_S": "0.05",
    "DD_DATA_ROOT_S": "0",
}
"""Everything that takes a minute in production takes two seconds here."""


@dataclass
class WorkerProcess:
    """A worker, in a session of its own."""

    process: forks.Process
    log: Path

    def signal(self, number: signal.Signals) -> None:
        """To the worker and its pool process; the engine has a session of its own."""
        os.killpg(self.process.pid, number)

    def stopped(self) -> bool:
        """Whether no process of the worker moves any more."""
        states = {state for group, state in _processes() if group == self.process.pid}
        return bool(states) and states <= {"T", "Z"}

    def has_open(self, path: Path) -> bool:
        """Whether its main process has a file open."""
        with suppress(OSError):
            return any(file.readlink() == path for file in Path(f"/proc/{self.process.pid}/fd").iterdir())
        return False

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self.signal(signal.SIGKILL)
        self.process.wait(60)

    def terminate(self, timeout: float = 60) -> int:
        """SIGTERM to the main process alone, as ``docker stop`` does."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)


def _processes() -> Iterator[tuple[int, str]]:
    """Process group and state of everything that runs."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, _parent, group = (process / "stat").read_text().rpartition(")")[2].split()[:3]
            yield int(group), state


@dataclass
class Cluster:
    """Database, broker, store and workers of one test."""

    home: Path
    variables: dict[str, str]
    settings: Settings
    database: Database
    workers: list[WorkerProcess] = field(default_factory=list)

    def worker(self, fault: str | None = None, module: str = "worker", **variables: str) -> WorkerProcess:
        """Start a worker, or another module of the service."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DD_")}
        environment |= self.variables | variables | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        if fault is not None:
            environment["DD_FAULT"] = fault
        log = self.home / f"process-{len(self.workers)}.log"
        self.workers.append(WorkerProcess(forks.start(module, environment, log), log))
        return self.workers[-1]

    def survivor(self) -> WorkerProcess:
        """Start a worker that nothing kills: its lease outlasts whatever a busy machine makes it wait."""
        return self.worker(DD_LEASE_S="30")

    def freeze(self, worker: WorkerProcess) -> None:
        """Stop a worker between its transactions: SQLite's lock stays with a worker that is stopped amid a write."""
        while True:
            worker.signal(signal.SIGSTOP)
            eventually(worker.stopped)
            if not self.locked():
                return
            worker.signal(signal.SIGCONT)
            time.sleep(0.01)

    def locked(self) -> bool:
        """Whether somebody writes to the SQLite file at this moment."""
        with closing(sqlite3.connect(self.home / migrated.NAME, timeout=0, isolation_level=None)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                    raise
                return True
            return False

    def reconciler(self) -> WorkerProcess:
        return self.worker(module="worker.reconciler")

    def reconciled(self) -> bool:
        """Whether a reconciler is at work, which takes it seconds from its start."""
        with self.database.read() as session:
            return is_reconciled(session)

    def submit(
        self, seed: int = 1, iterations: int = 40, ring: bool = True, limits: Limits | None = None, **fields: Any
    ) -> str:
        spec = parse(
            {"dataset": "digits", "ipc": 1, "method": {"name": "dm", "iterations": iterations}, "seed": seed, **fields}
        )
        with self.database.write() as session:
            job_id = self._queue(session, Submission(spec, Envelope(limits=limits or Limits())))
        if ring:
            outbox.publish_pending(self.database, self.settings)
        return job_id

    def submit_body(self, body: Mapping[str, Any]) -> str:
        """A job by the body of a request, which may name the user's own sets; nobody is told of it."""
        with self.database.write() as session:
            return self._queue(session, SubmissionReader(session, PRINCIPAL, self.settings).read(body))

    def _queue(self, session: Session, request: Submission) -> str:
        admitted = Admission(session, PRINCIPAL, self.settings).admit(request)
        return Submitter(session, PRINCIPAL, self.settings).submit(admitted).id

    @contextmanager
    def verbs(self) -> Iterator[JobVerbs]:
        with self.database.write() as session:
            yield JobVerbs(session, PRINCIPAL, self.settings)

    @contextmanager
    def sets(self) -> Iterator[DatasetService]:
        with self.database.write() as session:
            yield DatasetService(session, PRINCIPAL, self.settings)

    def upload(self, data: bytes, name: str = "photos", *, ring: bool = True, **options: Any) -> str:
        """A set of the user's own that waits to be taken in."""
        blob = open_store(self.settings).put_stream([data])
        request = NewDataset(name=name, file=f"{name}.zip", options=IngestOptions(**options))
        with self.sets() as sets:
            set_id = sets.announce(request).id
            assert set_id is not None
            sets.add_part(set_id, 0, blob)
            sets.complete(set_id, blob.size, blob.sha256)
        if ring:
            outbox.publish_pending(self.database, self.settings)
        return set_id

    def dataset(self, set_id: str) -> DatasetDocument:
        with self.database.read() as session:
            return DatasetService(session, PRINCIPAL, self.settings).get(set_id)

    def await_set(self, set_id: str, *states: str, timeout: float = 60) -> DatasetDocument:
        """The set once it is in one of some states; fails with everything that is known otherwise."""
        give_up_at = time.monotonic() + timeout
        while (found := self.dataset(set_id)).state not in states:
            if time.monotonic() > give_up_at:
                raise AssertionError(f"{found.state}\n{self.story(found.job.id) if found.job else ''}")
            time.sleep(0.1)
        return found

    def files_left(self) -> list[Path]:
        """Files of uploads and ingests that nobody needs, once all is over and the collector has come by."""
        store = open_store(self.settings)
        store.remove_abandoned(age_s=-1)
        with self.database.write() as session:
            artifacts.collect(session, store, grace_s=-1, limit=1000)
        with self.database.read() as session:
            kept = set(session.scalars(select(Blob.sha256)))
        places = [self.home / "artifacts", self.home / "runs", *self.home.glob("cache/datasets/.*")]
        return [path for place in places for path in files_below(place) if path.name not in kept]

    def cancel(self, job_id: str, *, keep_result: bool = False) -> None:
        with self.verbs() as verbs:
            verbs.cancel(job_id, CancelRequest(keep_result=keep_result))

    def pause(self, job_id: str) -> None:
        with self.verbs() as verbs:
            verbs.pause(job_id)

    def resume(self, job_id: str) -> None:
        with self.verbs() as verbs:
            verbs.resume(job_id)
        outbox.publish_pending(self.database, self.settings)

    def job(self, job_id: str) -> Job:
        with self.database.read() as session:
            return session.execute(select(Job).where(Job.id == job_id)).scalar_one()

    def wait(self, job_id: str, until: Callable[[Job], bool] | str, timeout: float = 60) -> Job:
        """The job once it is as wanted; fails with everything that is known otherwise."""
        wanted = until if callable(until) else lambda job: job.status == until
        give_up_at = time.monotonic() + timeout
        while not wanted(job := self.job(job_id)):
            if time.monotonic() > give_up_at or (job.status in TERMINAL and not callable(until)):
                raise AssertionError(f"{job.status} at step {job.step}, attempt {job.attempt}\n{self.story(job_id)}")
            time.sleep(0.05)
        return job

    def story(self, job_id: str) -> str:
        """Events and logs, for the reader of a failed test."""
        lines = [f"{event.seq} {event.type} {event.message} {event.data}" for event in self.events(job_id)]
        return "\n".join([*lines, *(f"--- {w.log.name}\n{w.log.read_text()[-3000:]}" for w in self.workers)])

    def events(self, job_id: str) -> list[Event]:
        with self.database.read() as session:
            return list(session.scalars(select(Event).where(Event.job_id == job_id).order_by(Event.seq)))

    def artifacts(self, job_id: str, kind: str) -> list[Artifact]:
        with self.database.read() as session:
            found = select(Artifact).where(Artifact.job_id == job_id, Artifact.kind == kind, Artifact.state == "ready")
            return list(session.scalars(found))

    def log(self, job_id: str) -> list[str]:
        """Lines of the job's log."""
        log = LogReader(self.database, open_store(self.settings), job_id)
        return b"".join(log.read(0, log.length())).decode().splitlines()

    def worker_row(self, job_id: str) -> Worker:
        with self.database.read() as session:
            return session.execute(select(Worker).where(Worker.id == self.job(job_id).owner)).scalar_one()

    def points(self, job_id: str, name: str = "loss") -> dict[int, float | None]:
        with self.database.read() as session:
            rows = session.execute(
                select(MetricPoint.step, MetricPoint.value)
                .join(MetricKey, MetricKey.id == MetricPoint.key_id)
                .where(MetricPoint.job_number == self.job(job_id).number, MetricKey.name == name)
                .order_by(MetricPoint.step)
            )
            return {row.step: row.value for row in rows}

    def engines(self) -> list[int]:
        """Process ids of this cluster's living engines."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                command = (process / "cmdline").read_bytes().decode()
                state = (process / "stat").read_text().rpartition(")")[2].split()[0]
                if "--run-dir" in command and str(self.home) in command and state != "Z":
                    found.append(int(process.name))
        return found

    def content(self, job_id: str, kind: str) -> bytes:
        """The only file of that kind as it lies in the store."""
        (artifact,) = self.artifacts(job_id, kind)
        assert artifact.sha256 is not None
        return b"".join(open_store(self.settings).iter_range(artifact.sha256))

    def digest(self, job_id: str) -> str:
        """SHA-256 of the result."""
        return hashlib.sha256(self.content(job_id, "synthetic_images")).hexdigest()

    def close(self) -> None:
        for worker in self.workers:
            with suppress(ProcessLookupError):
                worker.signal(signal.SIGCONT)
            worker.kill()
        self.database.dispose()

    def assert_invariants(self) -> None:
        """What holds for every job whatever has happened."""
        with self.database.read() as session:
            jobs = list(session.scalars(select(Job)))
        for job in jobs:
            events = self.events(job.id)
            assert [event.seq for event in events] == list(range(1, job.event_seq + 1))
            claims = [event for event in events if event.type == "attempt.started"]
            assert [event.data["attempt"] for event in claims] == list(range(1, job.attempt + 1))
            fences = [event.data["fence"] for event in claims]
            assert fences == sorted(set(fences))
            assert not fences or fences[-1] <= job.fence
            assert (job.owner is not None) == (job.lease_until is not None) == (job.status in HELD)
            assert (job.finished_at is not None) == (job.status in TERMINAL)
            states = [event.data for event in events if event.type == "job.state_changed"]
            assert [data["from"] for data in states[1:]] == [data["to"] for data in states[:-1]]
            assert not states or states[-1]["to"] == job.status
            if job.kind != Kind.DISTILLATION:
                continue
            published = {kind: len(self.artifacts(job.id, kind)) for kind in ("bundle", "synthetic_images", "manifest")}
            if job.status == State.SUCCEEDED:
                assert set(published.values()) == {1}
            kept = job.status == State.CANCELLED and job.results is not None
            assert (job.status == State.SUCCEEDED or kept) == bool(published["bundle"])


class Server:
    """The API as a process, which can be killed and started again at its address."""

    def __init__(self, made: Cluster) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._made = made
        self.address = f"http://127.0.0.1:{self.port}"
        # One client for all requests, as each makes a context for TLS, which takes longer than the answer. No
        # connection is kept, since the server may be killed.
        self.http = httpx.Client(base_url=self.address, timeout=60, limits=httpx.Limits(max_keepalive_connections=0))
        self.process: WorkerProcess
        self.start()

    def start(self) -> None:
        self.process = self._made.worker(module="app", DD_PORT=str(self.port), DD_AUTH="false")
        eventually(self.answers)

    def answers(self) -> bool:
        try:
            return self.http.get("/healthz").status_code == 200
        except httpx.HTTPError:
            return False


def files_below(folder: Path) -> list[Path]:
    """Files at any depth, as they are found; folders may vanish meanwhile."""
    return [Path(inside, name) for inside, _, names in os.walk(folder) for name in names]


def eventually(happens: Callable[[], bool], timeout: float = 60) -> None:
    """Wait until something is so."""
    give_up_at = time.monotonic() + timeout
    while not happens():
        assert time.monotonic() < give_up_at, f"not in {timeout:g} s"
        time.sleep(0.02)


@contextmanager
def cluster(
    home: Path, database_url: str | None = None, broker_url: str | None = None, **extra: str
) -> Iterator[Cluster]:
    """An empty service; nothing of it runs yet."""
    home.mkdir(parents=True, exist_ok=True)
    variables = {"DD_HOME": str(home), "DD_ENGINE_MODULE": "tests.chaos.dummy_engine", **QUICK, **extra}
    if database_url is not None:
        variables["DD_DATABASE_URL"] = database_url
    if broker_url is not None:
        variables["DD_BROKER_URL"] = broker_url
    fields: dict[str, Any] = {name.removeprefix("DD_").lower(): value for name, value in variables.items()}
    settings = Settings(**fields)
    if settings.embedded:
        migrated.put_into(home)
    database = Database(settings)
    with _MIGRATING:  # Alembic keeps its context in globals
        migrate.upgrade(database)
    with database.write() as session:
        session.add(Tenant(id=TENANT, name="chaos", max_running=None, max_queued=None))
    made = Cluster(home, variables, settings, database)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def postgres_database(server_url: str) -> Iterator[str]:
    """URL of a new database on a server, dropped afterwards."""
    name = f"dd_chaos_{os.getpid()}_{time.monotonic_ns()}"
    admin = create_engine(server_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
    finally:
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        admin.dispose()


@contextmanager
def redis_broker(url: str) -> Iterator[str]:
    """A Redis database of the test's own, emptied afterwards."""
    client = redis.Redis.from_url(url)
    client.flushdb()
    try:
        yield url
    finally:
        client.flushdb()
        client.close()
