"""Alerts: what a user should hear of without watching, once for each rule and job.

An alert is an event ``job.alert`` whose data name the ``rule`` and the numbers that it was decided by. That a job has
ended is an event already, and is listed as the rule ``finished``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal, get_args

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from app.events import repository
from app.models.events import Event
from app.models.states import TERMINAL

Rule = Literal["diverging", "plateau", "eta_slipping", "below_random"]
"""What :func:`record` may be told."""
FINISHED = "finished"
RULES = (*get_args(Rule), FINISHED)

ALERT = "job.alert"
STATE_CHANGED = "job.state_changed"


def record(session: Session, job_id: str, rule: Rule, message: str, numbers: Mapping[str, float | int]) -> bool:
    """Record an alert, unless the job has had one of this rule.

    The caller holds the job's row, so that nobody else does so at the same time.

    Returns:
        Whether it was recorded.
    """
    known = (Event.job_id == job_id, Event.type == ALERT, Event.data["rule"].as_string() == rule)
    if session.execute(select(Event.seq).where(*known).limit(1)).first() is not None:
        return False
    repository.append(session, job_id, ALERT, "warning", message, {"rule": rule, **numbers})
    return True


def since(session: Session, tenant: str, moment: datetime, rules: Sequence[str], limit: int) -> Sequence[Event]:
    """The last ``limit`` alerts of a tenant recorded at ``moment`` or later, of some rules, in order of time."""
    named = and_(Event.type == ALERT, Event.data["rule"].as_string().in_(rules))
    ended = and_(Event.type == STATE_CHANGED, Event.data["to"].as_string().in_(sorted(TERMINAL)))
    wanted = or_(named, ended) if FINISHED in rules else named
    statement = select(Event).where(Event.tenant_id == tenant, Event.at >= moment, wanted)
    newest_first = statement.order_by(Event.at.desc(), Event.id.desc()).limit(limit)
    return session.execute(newest_first).scalars().all()[::-1]


def rule_of(event: Event) -> str:
    """The rule of a listed event."""
    return str(event.data["rule"]) if event.type == ALERT else FINISHED
