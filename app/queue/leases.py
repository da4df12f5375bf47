"""Claiming a job under a lease and keeping it: every write of a worker is fenced here or in ``endings``.

A worker holds a job while its ``fence`` is the job's: the claim raised it, and so does taking the job
away. Times are compared with the database's clock only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, func, or_, select, type_coerce, update
from sqlalchemy.orm import Session

from app.core.tables import clock
from app.events import repository as events
from app.models.jobs import Job
from app.models.keys import Tenant
from app.models.states import HELD, TERMINAL, Kind, State
from app.queue import checkpoints, fleet
from app.queue.checkpoints import SavedCheckpoint
from app.queue.states import Actor, transition


@dataclass(frozen=True)
class Claim:
    """A job that a worker may run as long as its fence holds.

    Attributes:
        job_id: the job.
        tenant_id: its owner.
        fence: token that every write of this attempt carries.
        attempt: 1, 2, …
        kind: what it is about.
        dataset_id: the user's own set that it distils or takes in, if it does.
        spec: the normalised specification.
        runtime_left_s: seconds the job may still run.
        total_steps: steps of the distillation.
        hold_at: steps after which the job is to be held, if it is.
    """

    job_id: str
    tenant_id: str
    fence: int
    attempt: int
    kind: Kind
    dataset_id: str | None
    spec: Mapping[str, Any]
    runtime_left_s: float
    total_steps: int
    hold_at: int | None = None


@dataclass(frozen=True)
class Wish:
    """What the user wants of a running job: ``run``, ``pause`` or ``cancel``, the last perhaps with its images."""

    desired: str
    keep_result: bool


def claim(session: Session, worker_id: str, device_class: str, lease_s: float) -> Claim | None:
    """Take the job that is next for this kind of worker, if there is one.

    Next is the highest priority, then the tenant with the fewest running jobs for its weight, then the oldest.

    Args:
        session: a ``write()`` session.
        worker_id: the worker, which owns the job from now on.
        device_class: ``cpu`` or ``cuda``.
        lease_s: seconds after which the job is taken away unless a heartbeat comes.
    """
    full: set[str] = set()
    while True:
        row = session.execute(_next(device_class, full).with_for_update(of=Job, skip_locked=True)).one_or_none()
        if row is None:
            return None
        if row.max_running is None or _has_room(session, row.Job.tenant_id, row.max_running):
            return _take(session, row.Job, worker_id, lease_s)
        full.add(row.Job.tenant_id)


def runnable(session: Session, device_class: str) -> bool:
    """Whether :func:`claim` would find a job for this kind of worker."""
    return session.execute(_next(device_class, set())).first() is not None


def heartbeat(session: Session, job_id: str, fence: int, lease_s: float) -> Wish | None:
    """Renew the lease; returns what the user wants, or ``None`` if the job is no longer the caller's."""
    renewed = (
        update(Job)
        .where(*held(job_id, fence))
        # `updated_at` tells readers when the job changed, which a heartbeat does not.
        .values(lease_until=clock(lease_s), heartbeat_at=clock(), updated_at=Job.updated_at)
        .returning(Job.desired, Job.keep_result)
        .execution_options(synchronize_session=False)
    )
    row = session.execute(renewed).one_or_none()
    return None if row is None else Wish(row.desired, row.keep_result)


def wish(session: Session, job_id: str, fence: int) -> Wish | None:
    """What the user wants, without writing; ``None`` if the job is no longer the caller's."""
    row = session.execute(select(Job.desired, Job.keep_result).where(*held(job_id, fence))).one_or_none()
    return None if row is None else Wish(row.desired, row.keep_result)


def hold(session: Session, job_id: str, fence: int, values: Mapping[str, Any]) -> bool:
    """Record progress; ``False`` if the job is no longer the caller's.

    The job's row stays locked until the transaction ends, so what follows in it is fenced too.
    """
    changed = (
        update(Job)
        .where(*held(job_id, fence))
        .values({"version": Job.version + 1, **values})
        .returning(Job.id)
        .execution_options(synchronize_session=False)
    )
    return session.execute(changed).first() is not None


def record_checkpoint(
    session: Session,
    claimed: Claim,
    saved: SavedCheckpoint,
    artifact_id: str | None,
    metrics: Mapping[str, float | None],
) -> None:
    """Make a stored checkpoint the one to go on from, and let go of all but the newest two.

    Call it after :func:`hold` in the same transaction, and not for bytes that are recorded already: an
    attempt that got no further has made no progress.
    """
    progress = {"checkpoint_step": saved.step, "checkpoint_at": clock(), "lost_step": None, "failures": 0}
    hold(session, claimed.job_id, claimed.fence, progress)
    events.append(
        session,
        claimed.job_id,
        "job.checkpoint_saved",
        "info",
        f"state after step {saved.step} saved",
        {"step": saved.step, "sha256": saved.sha256, "size": saved.size},
    )
    checkpoints.add(session, claimed.job_id, claimed.attempt, claimed.fence, saved, artifact_id, metrics)


def unfinished(session: Session, job_ids: Sequence[str]) -> set[str]:
    """Those of the jobs that may still run."""
    open_ = select(Job.id).where(Job.id.in_(job_ids), Job.status.not_in(TERMINAL), Job.deleted_at.is_(None))
    return set(session.execute(open_).scalars())


def _next(device_class: str, full: set[str]) -> Select[*tuple[Any, ...]]:
    running = (
        select(Job.tenant_id, func.count().label("running"))
        .where(Job.lease_until.is_not(None), Job.status.in_(HELD))
        .group_by(Job.tenant_id)
        .subquery()
    )
    return (
        select(Job, Tenant.max_running)
        .join(Tenant, Tenant.id == Job.tenant_id)
        .outerjoin(running, running.c.tenant_id == Job.tenant_id)
        .where(
            Job.status == State.QUEUED,
            Job.deleted_at.is_(None),
            Job.device_class.in_(fleet.runs(device_class)),
            or_(Job.not_before.is_(None), Job.not_before <= clock()),
            in_time(),
            or_(Tenant.max_running.is_(None), func.coalesce(running.c.running, 0) < Tenant.max_running),
            Job.tenant_id.not_in(full),
        )
        .order_by(Job.priority.desc(), func.coalesce(running.c.running, 0) / Tenant.weight, Job.created_at, Job.number)
        .limit(1)
    )


def _has_room(session: Session, tenant_id: str, max_running: int) -> bool:
    # The tenant's row is locked so that two workers cannot both take the last free place.
    session.execute(select(Tenant.id).where(Tenant.id == tenant_id).with_for_update())
    running = select(func.count()).where(Job.tenant_id == tenant_id, Job.status.in_(HELD))
    return session.execute(running).scalar_one() < max_running


def _take(session: Session, job: Job, worker_id: str, lease_s: float) -> Claim | None:
    if job.from_scratch:
        checkpoints.forget(session, job.id)
    values = {"owner": worker_id, "lease_until": clock(lease_s), "from_scratch": False}
    if job.from_scratch:
        values |= {"checkpoint_step": None, "checkpoint_at": None, "step": 0}
    attempt, fence = job.attempt + 1, job.fence + 1
    taken = transition(
        session, job.id, State.RUNNING, Actor.WORKER, version=job.version, values=values,
        message="taken by a worker", data={"attempt": attempt, "worker": worker_id},
    )  # fmt: skip
    if not taken:
        return None
    data = {"attempt": attempt, "worker": worker_id, "fence": fence}
    events.append(session, job.id, "attempt.started", "info", f"attempt {attempt} begins", data)
    return Claim(
        job_id=job.id,
        tenant_id=job.tenant_id,
        fence=fence,
        attempt=attempt,
        kind=Kind(job.kind),
        dataset_id=job.dataset_id,
        spec=job.spec,
        runtime_left_s=max(0.0, job.max_runtime_s - job.runtime_s),
        total_steps=job.total_steps,
        hold_at=job.hold_at,
    )


def held(job_id: str, fence: int) -> tuple[ColumnElement[bool], ...]:
    """Conditions under which a job is its caller's."""
    return (Job.id == job_id, Job.fence == fence, Job.status.in_(HELD))


def in_time() -> ColumnElement[bool]:
    """Condition under which a queued job has not waited longer than ``limits.max_queue_s``."""
    queued_ms = type_coerce(Job.queued_at, BigInteger)
    return queued_ms + Job.max_queue_s * 1000 > type_coerce(clock(), BigInteger)
