"""A worker without an engine: it takes jobs of studies through their moves in the database, one at a time."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.tables import clock
from app.metrics import repository as metrics
from app.models.jobs import Job
from app.models.states import State
from app.models.studies import Study
from app.queue.states import Actor, transition
from app.studies import repository
from app.studies.progress import advance

if TYPE_CHECKING:
    from tests.app.conftest import Api

Score = Callable[[Job, int], float]
"""Accuracy of a job's images after a step, in percent."""


def quality(job: Job, step: int) -> float:
    """An accuracy that grows with the steps, and differs between jobs."""
    rate = float(job.spec["method"].get("lr_img", 0))
    return 50.0 + float(job.spec["ipc"]) + step / max(1, job.total_steps) + rate / 2


def claim(session: Session, job_id: str) -> None:
    values = {"owner": "wrk_test", "lease_until": clock(60)}
    assert transition(session, job_id, State.RUNNING, Actor.WORKER, values=values)


def run(
    session: Session,
    job_id: str,
    score: Score = quality,
    deviation: float | None = 0.125,
    controls: Mapping[str, Any] | None = None,
) -> None:
    """Take one job to where it is held, or to its end."""
    claim(session, job_id)
    job = session.execute(select(Job).where(Job.id == job_id).execution_options(populate_existing=True)).scalar_one()
    step = job.total_steps if job.hold_at is None else min(job.hold_at, job.total_steps)
    if job.hold_at is None:
        results = {"accuracy": {"mean": score(job, step) - 1, "std": 0.5, "networks": 3}, "controls": controls or {}}
        transition(
            session, job_id, State.SUCCEEDED, Actor.WORKER, fence=job.fence, values={"step": step, "results": results}
        )
        return
    points = [(step, 1, repository.ACCURACY, score(job, step))]
    if deviation is not None:
        points.append((step, 1, repository.DEVIATION, deviation))
    metrics.ingest(session, job_id, job.tenant_id, points)
    transition(session, job_id, State.PAUSED, Actor.WORKER, fence=job.fence, values={"step": step})


def queued(session: Session) -> list[str]:
    return list(session.scalars(select(Job.id).where(Job.status == State.QUEUED).order_by(Job.number)))


def play(api: Api, study_id: str, order: random.Random | None = None, **how: Any) -> None:
    """Run jobs and let the study go on, until it has ended: all that wait at once, or one by one in any order."""
    while True:
        with api.database.write() as session:
            waiting = queued(session)
            for job_id in waiting if order is None or not waiting else [order.choice(waiting)]:
                run(session, job_id, **how)
        if order is None or order.random() < 0.5 or not waiting:
            with api.database.write() as session:
                advance(session, study_id, api.settings)
        with api.database.read() as session:
            ended = session.execute(select(Study.finished_at).where(Study.id == study_id)).scalar_one()
            stuck = not queued(session)
        if ended is not None:
            return
        assert waiting or not stuck, "the study waits for nothing"
