"""A finished job that goes on: what is asked of the job that does, and what stands against it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from app.core.errors import Invalid
from app.jobs.submission import Submission
from app.models.jobs import Job
from app.queue.checkpoints import SavedCheckpoint
from ddcore.spec import Problem
from ddcore.spec.extending import most_steps, not_extendable, with_steps


@dataclass(frozen=True)
class Longer:
    """A job that takes more steps than another.

    Attributes:
        whole: with all its steps, those of the other job included.
        rest: with those alone that it has to take itself.
    """

    whole: Submission
    rest: Submission


def longer(job: Job, again: Submission, iterations: int) -> Longer:
    """A finished job with more steps.

    Args:
        job: that has succeeded.
        again: what would submit it once more.
        iterations: steps to take beyond its own, at least 1.

    Raises:
        Invalid: it cannot go on where it has ended, or there would be more steps than its method may take.
    """
    spec = again.spec
    problems = not_extendable(spec) or [*_too_many(spec.method.iterations, iterations, most_steps(spec))]
    if not problems and job.step < job.total_steps:
        problems.append(_done(job))
    if problems:
        raise Invalid(problems)
    total = spec.method.iterations + iterations
    return Longer(replace(again, spec=with_steps(spec, total)), replace(again, spec=with_steps(spec, iterations)))


def check_state(job: Job, saved: SavedCheckpoint | None) -> None:
    """Refuse a job whose last state is not kept.

    Raises:
        Invalid: naming what is kept instead.
    """
    if saved is None or saved.step != job.total_steps:
        kept = "none is" if saved is None else f"that of step {saved.step} is"
        detail = (
            f"the state of {job.id} after its last step, {job.total_steps}, is not kept ({kept}), so nothing can go on "
            "from it; clone the job with more `method.iterations`"
        )
        raise Invalid([Problem("", "state_not_kept", detail)])


def _too_many(taken: int, more: int, most: int | None) -> list[Problem]:
    if most is None or taken + more <= most:
        return []
    room = f"1 to {most - taken:,}" if most > taken else "none, it has taken as many as it may"
    detail = (
        f"`iterations` is {more:,}, and the job has taken {taken:,} of at most {most:,} steps; it can go on by {room}"
    )
    return [Problem("/iterations", "out_of_range", detail)]


def _done(job: Job) -> Problem:
    detail = (
        f"`{job.method}` was done after {job.step:,} of {job.total_steps:,} steps, so there is nothing to go on with; "
        "clone the job with what ended it changed"
    )
    return Problem("/iterations", "method_is_done", detail)
