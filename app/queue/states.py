"""The life of a job: one table of what may follow what, and one function that applies it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from app.core.tables import clock
from app.events import repository as events
from app.models.jobs import Job
from app.models.states import HELD, TERMINAL, Kind, State
from app.queue import usage


class Actor(StrEnum):
    """Who moves a job."""

    API = "api"
    WORKER = "worker"
    RECONCILER = "reconciler"


_Q, _R, _PG, _PD, _CG = State.QUEUED, State.RUNNING, State.PAUSING, State.PAUSED, State.CANCELLING
_S, _F, _C, _E = State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED

TRANSITIONS: Mapping[Actor, Mapping[State, frozenset[State]]] = {
    Actor.API: {
        _Q: frozenset({_PD, _C}),
        _R: frozenset({_PG, _CG}),
        _PG: frozenset({_R, _CG}),
        _PD: frozenset({_Q, _C}),
        _F: frozenset({_Q}),
        _E: frozenset({_Q}),
    },
    Actor.WORKER: {
        _Q: frozenset({_R}),
        _R: frozenset({_S, _F, _Q, _E, _PD}),
        _PG: frozenset({_PD, _S, _F, _E}),
        _CG: frozenset({_C, _S, _F}),
    },
    Actor.RECONCILER: {
        _Q: frozenset({_E, _C}),
        _R: frozenset({_Q, _F}),
        _PG: frozenset({_PD}),
        _PD: frozenset({_Q, _C}),
        _CG: frozenset({_C}),
    },
}
"""Every legal move: who may take a job from where to where. Nothing else changes a state."""

VERBS: Mapping[str, Mapping[State, State]] = {
    "cancel": {_Q: _C, _R: _CG, _PG: _CG, _PD: _C},
    "pause": {_Q: _PD, _R: _PG},
    "resume": {_PG: _R, _PD: _Q},
    "retry": {_F: _Q, _E: _Q},
}
"""What a user can ask for, and where it leads from each state that has it."""


def allowed(state: State, actor: Actor) -> frozenset[State]:
    """States into which ``actor`` may take a job that is in ``state``."""
    return TRANSITIONS[actor].get(state, frozenset())


def actions(
    state: State, kind: Kind = Kind.DISTILLATION, *, extendable: bool = True, in_study: bool = False
) -> list[str]:
    """Verbs that a user can apply to a job in ``state``; one that takes in or scores a set comes and goes with it.

    Args:
        state: of the job.
        kind: of the job.
        extendable: whether its method can go on where it has ended.
        in_study: whether it is a job of a study, which alone pauses, resumes, retries and deletes it.

    >>> actions(State.PAUSED)
    ['cancel', 'resume', 'clone']
    >>> actions(State.SUCCEEDED)
    ['extend', 'rerun', 'clone', 'delete']
    >>> actions(State.FAILED, Kind.INGEST), actions(State.SUCCEEDED, Kind.SCORE)
    (['retry'], [])
    >>> actions(State.PAUSED, in_study=True)
    ['cancel', 'clone']
    """
    verbs = [verb for verb, moves in VERBS.items() if state in moves]
    if kind is not Kind.DISTILLATION:
        return verbs
    if in_study:
        verbs = [verb for verb in verbs if verb == "cancel"]
    if state is State.SUCCEEDED and extendable:
        verbs.append("extend")
    if state not in TERMINAL:
        return [*verbs, "clone"]
    return [*verbs, "rerun", "clone"] if in_study else [*verbs, "rerun", "clone", "delete"]


def transition(
    session: Session,
    job_id: str,
    to: State,
    actor: Actor,
    *,
    fence: int | None = None,
    version: int | None = None,
    guard: ColumnElement[bool] | None = None,
    values: Mapping[str, Any] | None = None,
    message: str = "",
    data: Mapping[str, Any] | None = None,
) -> bool:
    """Move a job, if it may still be moved, and record the event in the same transaction.

    What follows from the new state alone is set here (who owns the job, what is desired of it, its
    time stamps): a claim adds one to ``fence`` and ``attempt``, and the reconciler's taking a job from a
    worker adds one to ``fence``, which shuts that worker out. ``values`` adds to it.

    Args:
        session: a ``write()`` session.
        job_id: the job.
        to: the state to reach.
        actor: who moves it.
        fence: the fence that must still hold. Workers and the reconciler have to give it for a job that
            a worker holds.
        version: the version that must still hold.
        guard: a further condition on :class:`~app.models.jobs.Job`, such as a lease that is over.
        values: other columns to set, as values or SQL expressions.
        message: the event's sentence; by default the two states.
        data: the event's facts, beside ``from``, ``to`` and ``actor``.

    Returns:
        Whether the job was moved. ``False`` says that it is elsewhere by now, or never existed, or that a
        condition does not hold: read it again and decide.

    Raises:
        ValueError: a worker or the reconciler moves a held job without naming a fence.
    """
    # The lock spares PostgreSQL a lost race between this read and the update; SQLite has it already.
    current = session.execute(select(Job.status).where(Job.id == job_id).with_for_update()).scalar_one_or_none()
    if current is None:
        return False
    state = State(current)
    if to not in allowed(state, actor):
        return False
    if actor is not Actor.API and state in HELD and fence is None:
        raise ValueError(f"{actor} moves job {job_id} from {state} to {to} without a fence")
    attempt = usage.attempt_of(session, job_id) if state in HELD and to not in HELD else None
    moved = session.execute(
        update(Job)
        .where(Job.id == job_id, Job.status == state, *_conditions(fence, version, guard))
        .values({"status": to, "version": Job.version + 1, **_effects(state, to, actor), **(values or {})})
        .returning(Job.id)
        .execution_options(synchronize_session=False)
    ).all()
    if not moved:
        return False
    if attempt is not None:
        usage.charge(session, attempt)
    events.append(
        session,
        job_id,
        "job.state_changed",
        "error" if to is State.FAILED else "warning" if to is State.EXPIRED else "info",
        message or f"{state} → {to}",
        {"from": state, "to": to, "actor": actor, **(data or {})},
    )
    return True


def _conditions(
    fence: int | None, version: int | None, guard: ColumnElement[bool] | None
) -> Iterator[ColumnElement[bool]]:
    if fence is not None:
        yield Job.fence == fence
    if version is not None:
        yield Job.version == version
    if guard is not None:
        yield guard


def _effects(state: State, to: State, actor: Actor) -> dict[str, Any]:
    effects: dict[str, Any] = {}
    desired = {_Q: "run", _R: "run", _PG: "pause", _PD: "pause", _CG: "cancel", _C: "cancel"}.get(to)
    if desired is not None:
        effects["desired"] = desired
    if to not in HELD:
        effects |= {"owner": None, "lease_until": None, "steps_per_s": None}
        if state in HELD:
            effects["runtime_s"] = Job.runtime_s + usage.seconds_since_claim()
    if to in TERMINAL:
        effects["finished_at"] = clock()
    if to is State.QUEUED:
        effects |= {"queued_at": clock(), "finished_at": None, "error": None, "phase": None}
        if state in TERMINAL:
            effects |= {"failures": 0, "out_of_memory": 0, "runtime_s": 0.0, "lost_step": None, "not_before": None}
    if state is State.QUEUED and to is State.RUNNING:
        effects |= {
            "fence": Job.fence + 1,
            "attempt": Job.attempt + 1,
            "claimed_at": clock(),
            "heartbeat_at": clock(),
            "started_at": func.coalesce(Job.started_at, clock()),
            "not_before": None,
        }
    if actor is Actor.RECONCILER and state in HELD:
        effects["fence"] = Job.fence + 1
    return effects
