"""From a row to the job document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.costs import plans
from app.costs.plans import Place
from app.jobs.repository import JobRepository, LastValue
from app.jobs.schemas import (
    JobCondition,
    JobDocument,
    JobError,
    JobProgress,
    LastMetrics,
    LimitsDocument,
    PhaseAhead,
    Plan,
)
from app.models.jobs import Job
from app.models.states import TERMINAL, Kind, State
from app.queue.states import actions
from ddcore.spec import METHODS
from ddcore.spec.readings import HEADLINE, LOSS, LOSS_BASE, LOSS_TOTAL
from ddcore.spec.results import Results


def documents(repository: JobRepository, jobs: Sequence[Job]) -> list[JobDocument]:
    """The documents of some jobs, with one query for all their last metrics."""
    readings = repository.last_metrics(jobs) if jobs else {}
    return [_document(job, readings.get(job.number, {})) for job in jobs]


def ran_s(job: Job) -> float | None:
    """Seconds that workers ran a job that has ended, since it was last begun anew; ``None`` where none did."""
    return job.runtime_s if job.status in TERMINAL and job.started_at is not None else None


def _document(job: Job, readings: Mapping[str, LastValue]) -> JobDocument:
    state = State(job.status)
    return JobDocument(
        id=job.id,
        kind=Kind(job.kind),
        dataset_id=job.dataset_id,
        name=job.name,
        status=state,
        phase=job.phase,
        spec=job.spec,
        limits=LimitsDocument(
            max_runtime_s=job.max_runtime_s,
            max_queue_s=job.max_queue_s,
            checkpoint_every_s=job.spec.get("checkpoints", {}).get("seconds"),
        ),
        labels=job.labels,
        priority=job.priority,
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        progress=_progress(job, state),
        last_metrics=_last_metrics(readings),
        results=None if job.results is None else Results.model_validate(job.results),
        conditions=_conditions(job, state),
        error=JobError.model_validate(job.error) if job.error else None,
        desired=job.desired,
        actions=actions(state, Kind(job.kind), extendable=_extendable(job.method), in_study=job.study_id is not None),
        parent_id=job.parent_id,
        study_id=job.study_id,
        trial=job.trial,
        hold_at=job.hold_at,
        created_at=job.created_at,
        queued_at=job.queued_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        runtime_s=ran_s(job),
        updated_at=job.updated_at,
        version=job.version,
        links=_links(job),
    )


def _extendable(method: str) -> bool:
    """Whether the method of a job can go on where it has ended; one that has left the catalogue cannot."""
    known = METHODS.get(method)
    return known is not None and known.extendable


def _progress(job: Job, state: State) -> JobProgress:
    finished = 1.0 if state is State.SUCCEEDED else 0.0
    fraction = min(job.step / job.total_steps, 1.0) if job.total_steps else finished
    left = None if job.phase_total is None else job.phase_total - job.phase_done
    running = state not in TERMINAL and job.owner is not None
    eta_s = left / job.steps_per_s if running and left is not None and job.steps_per_s else None
    return JobProgress(
        step=job.step,
        total_steps=job.total_steps,
        fraction=fraction,
        eta_s=eta_s,
        steps_per_s=job.steps_per_s,
        phase_done=job.phase_done,
        phase_total=job.phase_total,
        plan=_plan(job) if running else None,
    )


def _plan(job: Job) -> Plan | None:
    """How far a running job is over all its phases, once its engine has told what they are."""
    if job.plan is None or job.phase not in plans.ORDER:
        return None
    steps = job.step / job.total_steps if job.total_steps else 0.0
    phases = plans.ahead(job.plan, Place(job.phase, job.phase_done, job.phase_total, job.steps_per_s, steps))
    return Plan(
        phases=[PhaseAhead(**vars(phase)) for phase in phases],
        done=plans.share_done(phases),
        remaining_s=plans.remaining(phases),
    )


def _last_metrics(readings: Mapping[str, LastValue]) -> LastMetrics | None:
    if not readings:
        return None
    values = {name: reading.value for name, reading in readings.items()}
    if LOSS_BASE in values:  # a job that was made with 0.2 or before
        values |= {LOSS: values[LOSS_BASE], LOSS_TOTAL: values.get(LOSS)}
    shown = {name.replace("/", "_"): values[name] for name in HEADLINE if name in values}
    return LastMetrics(**shown, at_step=max(reading.step for reading in readings.values()))


def _conditions(job: Job, state: State) -> list[JobCondition]:
    return [
        JobCondition(type="Validated", status=True, last_transition_at=job.created_at),
        JobCondition(type="Queued", status=state is State.QUEUED, last_transition_at=job.queued_at),
        JobCondition(type="LeaseHeld", status=job.owner is not None, last_transition_at=job.claimed_at),
        JobCondition(
            type="CheckpointFresh", status=job.checkpoint_at is not None, last_transition_at=job.checkpoint_at
        ),
        JobCondition(type="ArtifactsReady", status=job.results is not None, last_transition_at=job.finished_at),
    ]


def _links(job: Job) -> dict[str, str]:
    base = f"/v1/jobs/{job.id}"
    others = {
        "study": None if job.study_id is None else f"/v1/studies/{job.study_id}",
        "parent": None if job.parent_id is None else f"/v1/jobs/{job.parent_id}",
    }
    return {
        "self": base,
        "events": f"{base}/events",
        "stream": f"{base}/events:stream",
        "metrics": f"{base}/metrics",
        "log": f"{base}/log",
        "artifacts": f"{base}/artifacts",
        "bundle": f"{base}/bundle.zip",
        "preview": f"{base}/preview.png",
        **{name: link for name, link in others.items() if link is not None},
    }
