"""SQL on workers, and on the service as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core.security import Principal, Scope
from app.core.tables import clock
from app.models.fleet import RECONCILING, Leader, Worker
from app.models.jobs import Job, Outbox
from app.models.states import TERMINAL


def own_jobs(session: Session, principal: Principal, workers: Sequence[Worker]) -> set[str]:
    """Which of the jobs that the workers run are the principal's."""
    running = [worker.job_id for worker in workers if worker.job_id is not None]
    statement = select(Job.id).where(Job.tenant_id == principal.tenant_id, Job.id.in_(running))
    return set(session.scalars(statement))


def workers(session: Session, alive_s: float) -> Sequence[Worker]:
    """Workers that have given a sign of life within ``alive_s`` seconds, longest-lived first."""
    statement = select(Worker).where(Worker.heartbeat_at > clock(-alive_s), Worker.state != "stopped")
    return session.scalars(statement.order_by(Worker.started_at, Worker.id)).all()


def unfinished_by_status(session: Session, principal: Principal) -> Mapping[str, int]:
    """Unfinished jobs by status: those of all tenants for an operator, else those of the principal's."""
    statement = select(Job.status, func.count()).where(Job.status.not_in(TERMINAL)).group_by(Job.status)
    if not principal.may(Scope.OPERATOR):
        statement = statement.where(Job.tenant_id == principal.tenant_id)
    return {row[0]: row[1] for row in session.execute(statement)}


def is_reconciled(session: Session) -> bool:
    """Whether a reconciler is at work: it renews its lease in every round."""
    statement = select(Leader.duty).where(Leader.duty == RECONCILING, Leader.lease_until > clock())
    return session.execute(statement).first() is not None


def owed_messages(session: Session) -> int:
    """Messages that the broker has not got yet."""
    return session.scalars(select(func.count()).select_from(Outbox)).one()
