"""Workers as the database knows them, and the duties that one process does at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.core.tables import clock
from app.costs.prediction import DeviceClass
from app.models.fleet import Leader, Worker

WorkerState = Literal["idle", "busy", "draining", "quarantined", "stopped"]
Wanted = Literal["run", "cordon", "drain"]

LOSSES_WINDOW_S = 600
LOSSES_TO_QUARANTINE = 3
_FORGET_S = 86_400


def runs(device_class: str) -> tuple[str, ...]:
    """Classes of jobs that a worker with this class of device may run; a machine with a GPU has a CPU too.

    >>> runs("cpu")
    ('any', 'cpu')
    """
    return ("any", "cuda", "cpu") if device_class == "cuda" else ("any", "cpu")


def register(session: Session, worker: Worker) -> None:
    """Announce a worker, idle; rows of workers gone for a day are dropped."""
    session.execute(delete(Worker).where(Worker.heartbeat_at < clock(-_FORGET_S)))
    session.add(worker)
    session.flush()


def beat(session: Session, worker_id: str) -> bool:
    """Say that a worker lives; ``False`` if its row is gone."""
    beaten = update(Worker).where(Worker.id == worker_id).values(heartbeat_at=clock()).returning(Worker.id)
    return session.execute(beaten.execution_options(synchronize_session=False)).first() is not None


def set_state(session: Session, worker_id: str, state: WorkerState, job_id: str | None = None) -> None:
    """Say what a worker does. Draining, quarantined and stopped are final: a job's end does not undo them."""
    statement = update(Worker).where(Worker.id == worker_id)
    if state in ("idle", "busy"):
        free = statement.where(Worker.state.in_(("idle", "busy"))).values(state=state, job_id=job_id)
        gone = statement.where(Worker.state.not_in(("idle", "busy"))).values(job_id=job_id)
        for each in (free, gone):
            session.execute(each.execution_options(synchronize_session=False))
    else:
        session.execute(statement.values(state=state).execution_options(synchronize_session=False))


def may_claim(session: Session, worker_id: str) -> bool:
    """Whether the worker is there, neither draining, quarantined nor stopped, and wanted to run jobs."""
    return session.execute(select(Worker.id).where(Worker.id == worker_id, *_claims())).first() is not None


def want(session: Session, worker_id: str, wanted: Wanted, lease_s: float) -> bool:
    """Say what the operator wants of a worker; ``False`` where none of that identifier is alive."""
    told = update(Worker).where(Worker.id == worker_id, *_alive(lease_s)).values(wanted=wanted).returning(Worker.id)
    return session.execute(told.execution_options(synchronize_session=False)).first() is not None


def wanted_of(session: Session, worker_id: str) -> str | None:
    """What the operator wants of a worker; ``None`` if its row is gone."""
    return session.execute(select(Worker.wanted).where(Worker.id == worker_id)).scalar_one_or_none()


def is_idle(session: Session, worker_id: str) -> bool:
    """Whether the worker waits for a doorbell."""
    waits = select(Worker.id).where(Worker.id == worker_id, Worker.state == "idle", Worker.wanted == "run")
    return session.execute(waits).first() is not None


def record_loss(session: Session, worker_id: str, job_id: str) -> bool:
    """Note that a worker's engine died; different jobs dying on one worker point at the worker.

    Returns:
        Whether the worker is quarantined by it.
    """
    row = session.execute(select(Worker.losses, clock().label("now")).where(Worker.id == worker_id)).one_or_none()
    if row is None:
        return False
    now_ms = round(row.now.timestamp() * 1000)
    recent = [loss for loss in row.losses if loss["at_ms"] > now_ms - LOSSES_WINDOW_S * 1000]
    recent.append({"job_id": job_id, "at_ms": now_ms})
    quarantined = len({loss["job_id"] for loss in recent}) >= LOSSES_TO_QUARANTINE
    values: dict[str, Any] = {"losses": recent} | ({"state": "quarantined"} if quarantined else {})
    session.execute(
        update(Worker).where(Worker.id == worker_id).values(values).execution_options(synchronize_session=False)
    )
    return quarantined


def live_classes(session: Session, lease_s: float) -> set[str]:
    """Device classes of the workers whose heartbeat is younger than ``lease_s`` seconds and that may claim."""
    alive = select(Worker.device_class).where(*_alive(lease_s), *_claims()).distinct()
    return set(session.execute(alive).scalars())


@dataclass(frozen=True)
class LiveWorker:
    """A worker that may claim.

    Attributes:
        device_class: ``cpu`` or ``cuda``.
        facts: what it says of its machine.
    """

    device_class: str
    facts: Mapping[str, Any]

    def used_for(self, device: str) -> DeviceClass | None:
        """Kind of device that a job for ``device`` would use here; ``None`` where it may not run here."""
        asked = device.partition(":")[0]
        if asked == "auto":
            return "cuda" if self.device_class == "cuda" else "cpu"
        if asked == "cpu":
            return "cpu"
        return "cuda" if self.device_class == "cuda" else None

    def memory_bytes(self, device_class: str) -> int | None:
        """Memory of the machine, or of its largest accelerator, where the worker says it."""
        if device_class == "cuda":
            return max(self.facts.get("gpu_memory_bytes") or (), default=None)
        found: int | None = self.facts.get("memory_bytes")
        return found

    def names(self, device_class: str) -> Sequence[str]:
        """Names of its processor, or of its accelerators."""
        if device_class == "cuda":
            return list(self.facts.get("gpus") or ())
        return [self.facts["processor"]] if self.facts.get("processor") else []


def live_workers(session: Session, lease_s: float) -> Sequence[LiveWorker]:
    """The workers whose heartbeat is younger than ``lease_s`` seconds and that may claim."""
    alive = select(Worker.device_class, Worker.facts).where(*_alive(lease_s), *_claims())
    return [LiveWorker(row.device_class, row.facts) for row in session.execute(alive)]


def idle_workers(session: Session, lease_s: float) -> Mapping[str, int]:
    """Number of live idle workers of each device class."""
    idle = (
        select(Worker.device_class, func.count())
        .where(*_alive(lease_s), Worker.state == "idle", Worker.wanted == "run")
        .group_by(Worker.device_class)
    )
    return {name: int(count) for name, count in session.execute(idle)}


def lead(session: Session, duty: str, owner: str, lease_s: float) -> bool:
    """Take or keep the lease on a duty; ``False`` while another process holds it."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    session.execute(
        insert(Leader)
        .values(duty=duty, owner=owner, fence=1, lease_until=clock(lease_s))
        .on_conflict_do_nothing(index_elements=["duty"])
    )
    taken = (
        update(Leader)
        .where(Leader.duty == duty, or_(Leader.owner == owner, Leader.lease_until <= clock()))
        .values(owner=owner, fence=Leader.fence + 1, lease_until=clock(lease_s))
        .returning(Leader.duty)
    )
    return session.execute(taken.execution_options(synchronize_session=False)).first() is not None


def _claims() -> tuple[Any, ...]:
    """Conditions under which a worker may claim jobs."""
    return (Worker.state.in_(("idle", "busy")), Worker.wanted == "run")


def _alive(lease_s: float) -> tuple[Any, ...]:
    return (Worker.heartbeat_at > clock(-lease_s), Worker.state != "stopped")
