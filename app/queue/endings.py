"""How a job leaves its worker: with a result, without one, back in the queue, or taken away.

Every function is one fenced transition; where the fence no longer holds, nothing is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.tables import clock
from app.events import repository as events
from app.models.jobs import Job
from app.models.states import HELD, State
from app.queue import outbox
from app.queue.leases import Claim, held, in_time
from app.queue.retries import NO_SPACE, Failure, Record, Verdict, judge
from app.queue.states import Actor, transition
from ddcore.spec.results import Results

WORKER_LOST = Failure("worker_lost", "the worker stopped answering; another one takes over", retryable=True, lost=True)


def succeed(session: Session, claimed: Claim, message: str, values: Mapping[str, Any]) -> bool:
    """What was asked for is stored and complete, whatever the user has wished meanwhile.

    Args:
        session: a ``write()`` session.
        claimed: the claim.
        message: what the job's event says.
        values: columns that say what came of it.
    """
    return transition(
        session, claimed.job_id, State.SUCCEEDED, Actor.WORKER, fence=claimed.fence, values={**values, "error": None},
        message=message, data={"attempt": claimed.attempt},
    )  # fmt: skip


def cancel(session: Session, claimed: Claim, results: Results | None) -> bool:
    """The run ended because the user cancelled it; ``results`` where its images were kept."""
    values = {} if results is None else {"results": results.model_dump(mode="json")}
    message = "cancelled" if results is None else "cancelled; the images so far are kept"
    return transition(
        session, claimed.job_id, State.CANCELLED, Actor.WORKER, fence=claimed.fence, values=values,
        message=message, data={"attempt": claimed.attempt, "result_kept": results is not None},
    )  # fmt: skip


def release(session: Session, claimed: Claim, reason: str, *, held: bool = False) -> bool:
    """The engine stopped with its state saved: the job goes where the user wants it, at no cost.

    Args:
        session: a ``write()`` session.
        claimed: the claim.
        reason: what the job's event says.
        held: whether it has reached the step at which it is to be held; otherwise it was asked to stop.
    """
    state = _state(session, claimed.job_id, claimed.fence)
    targets = {
        State.RUNNING: State.PAUSED if held else State.QUEUED,
        State.PAUSING: State.PAUSED,
        State.CANCELLING: State.CANCELLED,
    }
    if state is None:
        return False
    moved = transition(
        session, claimed.job_id, targets[state], Actor.WORKER, fence=claimed.fence, message=reason,
        data={"attempt": claimed.attempt},
    )  # fmt: skip
    if moved and targets[state] is State.QUEUED:
        _wake(session, claimed.job_id)
    return moved


def expire(session: Session, claimed: Claim) -> bool:
    """The job has used up its running time; its last checkpoint stays."""
    state = _state(session, claimed.job_id, claimed.fence)
    if state is State.CANCELLING:
        return release(session, claimed, "cancelled")
    message = "its running time (`limits.max_runtime_s`) is used up; `:retry` goes on for as long once more"
    error = Failure("max_runtime_exceeded", message, retryable=False).describe(claimed.attempt)
    return transition(
        session, claimed.job_id, State.EXPIRED, Actor.WORKER, fence=claimed.fence, values={"error": error},
        message=message,
    )  # fmt: skip


def fail(session: Session, claimed: Claim, failure: Failure, backoff_s: float) -> Verdict | None:
    """The attempt went wrong: the job is tried again or given up, see :mod:`app.queue.retries`.

    Returns:
        What was decided, or ``None`` if the job is no longer the caller's.
    """
    return _after_failure(session, claimed.job_id, claimed.fence, failure, backoff_s, Actor.WORKER)


def recover(session: Session, job_id: str, fence: int) -> Verdict | None:
    """Take a job away from a worker whose lease is over.

    ``None`` if somebody else did, or the worker is back, or is still writing: the others need not wait for that one.
    """
    over = select(Job.id).where(*held(job_id, fence), Job.lease_until <= clock()).with_for_update(skip_locked=True)
    if session.execute(over).first() is None:
        return None
    return _after_failure(session, job_id, fence, WORKER_LOST, 0.0, Actor.RECONCILER)


def lapsed(session: Session, limit: int = 100) -> Sequence[tuple[str, int]]:
    """Job and fence of the leases that are over, oldest first."""
    over = select(Job.id, Job.fence).where(Job.status.in_(HELD), Job.lease_until <= clock())
    return [(row.id, row.fence) for row in session.execute(over.order_by(Job.lease_until).limit(limit))]


def overdue(session: Session, limit: int = 100) -> Sequence[str]:
    """Jobs that have waited longer than ``limits.max_queue_s``."""
    late = select(Job.id).where(Job.status == State.QUEUED, ~in_time()).order_by(Job.queued_at)
    return list(session.execute(late.limit(limit)).scalars())


def expire_queued(session: Session, job_id: str) -> bool:
    """Give up a job that has waited too long."""
    message = "waited longer than `limits.max_queue_s`; `:retry` queues it again"
    error = Failure("max_queue_exceeded", message, retryable=False).describe(0)
    return transition(
        session, job_id, State.EXPIRED, Actor.RECONCILER, guard=~in_time(), values={"error": error}, message=message
    )


def _after_failure(
    session: Session, job_id: str, fence: int, failure: Failure, backoff_s: float, actor: Actor
) -> Verdict | None:
    row = session.execute(select(Job).where(*held(job_id, fence)).with_for_update()).scalar_one_or_none()
    if row is None:
        return None
    waits = (row.error or {}).get("waits", 0)
    record = Record(row.failures, row.max_attempts, row.out_of_memory, row.lost_step, row.checkpoint_step or 0, waits)
    verdict = judge(failure, record, backoff_s)
    if failure.lost:
        data = {"attempt": row.attempt, "checkpoint_step": row.checkpoint_step, "code": failure.code}
        events.append(session, job_id, "attempt.lost", "warning", failure.message, data)
    target = _target(State(row.status), verdict, actor)
    values: dict[str, Any] = {"error": verdict.failure.describe(row.attempt)}
    if failure.code == NO_SPACE:
        values["error"] = {**values["error"], "waits": waits + 1}
    elif target is not State.FAILED:
        values |= _troubles(failure, record)
    if target is State.QUEUED and verdict.wait_s:
        values["not_before"] = clock(verdict.wait_s)
    if target is State.CANCELLED:
        values["error"] = None
    moved = transition(
        session, job_id, target, actor, fence=fence, values=values, message=verdict.failure.message,
        data={"attempt": row.attempt, "code": verdict.failure.code, "wait_s": verdict.wait_s},
    )  # fmt: skip
    if moved and target is State.QUEUED:
        _wake(session, job_id)
    return verdict if moved else None


def _wake(session: Session, job_id: str) -> None:
    """Owe a doorbell for a job that is back in the queue."""
    outbox.add(session, session.execute(select(Job.device_class).where(Job.id == job_id)).scalar_one())


def _target(state: State, verdict: Verdict, actor: Actor) -> State:
    if state is State.CANCELLING:
        return State.CANCELLED
    if state is State.PAUSING and (verdict.failure.retryable or actor is Actor.RECONCILER):
        return State.PAUSED
    return State.FAILED if verdict.wait_s is None else State.QUEUED


def _troubles(failure: Failure, record: Record) -> dict[str, Any]:
    values: dict[str, Any] = {"failures": record.failures + 1}
    if failure.lost:
        values["lost_step"] = record.checkpoint_step
    if failure.code == "out_of_memory":
        values["out_of_memory"] = record.out_of_memory + 1
    return values


def _state(session: Session, job_id: str, fence: int) -> State | None:
    status = session.execute(select(Job.status).where(*held(job_id, fence)).with_for_update()).scalar_one_or_none()
    return None if status is None else State(status)
