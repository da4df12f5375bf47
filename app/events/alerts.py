"""Alerts: what a user should hear of without watching, once for each rule and job or study.

An alert is an event ``job.alert`` whose data name the ``rule`` and the numbers that it was decided by. That a job has
ended is an event already, and is listed as the rule ``finished``, but for cancelled jobs of a study. An alert about a
study is an event of one of its jobs, and its data name the study.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, cast, get_args

from sqlalchemy import and_, exists, not_, or_, select
from sqlalchemy.orm import Session

from app.events import repository
from app.events.names import ALERT, STATE_CHANGED, Rule
from app.events.repository import Level
from app.models.events import Event
from app.models.jobs import Job
from app.models.states import TERMINAL, State

Listed = Literal[Rule, "finished"]
"""What :func:`since` lists."""
FINISHED: Listed = "finished"
LISTED: tuple[Listed, ...] = get_args(Listed)


def record(
    session: Session, job_id: str, rule: Rule, message: str, data: Mapping[str, Any], level: Level = "warning"
) -> bool:
    """Record an alert, unless the job has had one of this rule.

    The caller holds the row of the job or of its study, so that nobody else does so at the same time.

    Args:
        session: a ``write()`` session.
        job_id: the job that it is about; one of its jobs where it is about a study.
        rule: which it is.
        message: one sentence for people.
        data: the numbers that it was decided by, and ``study_id`` where it is about a study.
        level: how serious it is.

    Returns:
        Whether it was recorded.
    """
    known = (Event.job_id == job_id, Event.type == ALERT, Event.data["rule"].as_string() == rule)
    if session.execute(select(Event.seq).where(*known).limit(1)).first() is not None:
        return False
    repository.append(session, job_id, ALERT, level, message, {"rule": rule, **data})
    return True


def since(session: Session, tenant: str, moment: datetime, rules: Sequence[str], limit: int) -> Sequence[Event]:
    """The last ``limit`` alerts of a tenant recorded at ``moment`` or later, of some rules, in order of time."""
    named = and_(Event.type == ALERT, Event.data["rule"].as_string().in_(rules))
    to = Event.data["to"].as_string()
    # A study cancels nearly all of its jobs; what has come of them is told once, by its own alert.
    of_study = exists().where(Job.id == Event.job_id, Job.study_id.is_not(None))
    ended = and_(Event.type == STATE_CHANGED, to.in_(sorted(TERMINAL)), not_(and_(to == State.CANCELLED, of_study)))
    wanted = or_(named, ended) if FINISHED in rules else named
    statement = select(Event).where(Event.tenant_id == tenant, Event.at >= moment, wanted)
    newest_first = statement.order_by(Event.at.desc(), Event.id.desc()).limit(limit)
    return session.execute(newest_first).scalars().all()[::-1]


def rule_of(event: Event) -> Listed:
    """The rule of a listed event."""
    return cast("Listed", event.data["rule"]) if event.type == ALERT else FINISHED


def study_of(event: Event) -> str | None:
    """The study that a listed event is about; ``None`` where it is about its job."""
    study_id = event.data.get("study_id") if event.type == ALERT else None
    return None if study_id is None else str(study_id)
