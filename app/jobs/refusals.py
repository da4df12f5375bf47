"""Why something cannot be done with a job, what can be instead, and how the other comes to be."""

from __future__ import annotations

from app.core.errors import IllegalTransition
from app.models.jobs import Job
from app.models.states import Kind, State
from app.queue.states import actions


def illegal(verb: str, job: Job) -> IllegalTransition:
    """What is said of a verb that does not go with the state or the kind of a job."""
    legal = _allowed(job)
    return IllegalTransition(
        f"a job that is {job.status} cannot be told to {verb}; it can: {', '.join(legal)}", extra={"allowed": legal}
    )


def not_finished(job: Job) -> IllegalTransition:
    """What is said of a job that cannot be extended, or not yet."""
    if job.kind != Kind.DISTILLATION:
        return illegal("extend", job)
    legal = actions(State(job.status), Kind(job.kind))
    way = {
        State.PAUSED: "resume it, and extend it once it has succeeded",
        State.FAILED: "retry it, and extend it once it has succeeded",
        State.EXPIRED: "retry it, and extend it once it has succeeded",
        State.CANCELLED: "clone it with as many `method.iterations` as you want",
    }.get(State(job.status), "wait until it has succeeded, or pause it and clone it with more `method.iterations`")
    return IllegalTransition(
        f"only a job that has succeeded can be extended, and this one is {job.status}; {way}",
        extra={"allowed": legal},
    )


def result_not_written(job: Job) -> IllegalTransition:
    """What is said where the result of a job is to be kept that no worker is at."""
    return IllegalTransition(
        f"`keep_result` is true, but only a running job can write its images, and this one is {job.status}; "
        "resume it and cancel it with `keep_result` once it runs, or cancel it without",
        extra={"allowed": _allowed(job)},
    )


def of_study(verb: str, job: Job) -> IllegalTransition:
    """What is said of a verb that only the study of a job does with it."""
    instead = "delete the study, and its jobs go with it" if verb == "delete" else f"{verb} the study"
    instead = "clone it, and the copy stands alone" if verb == "retry" else instead
    return IllegalTransition(
        f"{job.id} belongs to {job.study_id}, which decides when its jobs go on; {instead}",
        extra={"allowed": _allowed(job), "study_id": job.study_id},
    )


def _allowed(job: Job) -> list[str]:
    return actions(State(job.status), Kind(job.kind), in_study=job.study_id is not None)
