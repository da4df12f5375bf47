"""Whether a finished job can be continued by more steps, and the job that does so.

A job of N steps that is continued by K makes the images of one job of N + K steps. That holds where no step depends on
how many there are to be: the methods and regularisers that say so are ``extendable``.
"""

from __future__ import annotations

from collections.abc import Iterator

from ddcore.spec.errors import Problem
from ddcore.spec.job import JobSpec

_CLONE = "clone the job with more `method.iterations` instead"


def with_steps(job: JobSpec, iterations: int) -> JobSpec:
    """The same job with another number of steps, which nothing checks.

    >>> from ddcore.spec.job import parse
    >>> job = parse({"dataset": "digits", "ipc": 1, "method": {"name": "dm", "iterations": 10}})
    >>> with_steps(job, 15).method.iterations
    15
    """
    return job.model_copy(update={"method": job.method.model_copy(update={"iterations": iterations})})


def most_steps(job: JobSpec) -> int | None:
    """The most steps that the method of a job may take; ``None`` for no limit."""
    bounds = (getattr(entry, "le", None) for entry in type(job.method).model_fields["iterations"].metadata)
    return next((bound for bound in bounds if isinstance(bound, int)), None)


def not_extendable(job: JobSpec) -> list[Problem]:
    """Why a job cannot go on where it has ended; nothing where it can."""
    return list(_reasons(job))


def _reasons(job: JobSpec) -> Iterator[Problem]:
    method, during = job.method, job.evaluation.during
    if method.iterations == 0:
        detail = f"`{method.name}` takes no steps, so there is nothing to continue; submit a job with a larger `ipc`"
        yield Problem("/method", "no_steps", detail)
    elif not method.extendable:
        detail = f"`{method.name}` shares its steps out over the whole run, so more of them are another run; {_CLONE}"
        yield Problem("/method", "steps_depend_on_their_number", detail)
    for term in job.regularizers:
        if not term.extendable:
            detail = (
                f"`{term.name}` depends on how many steps there are to be, so more of them are another run; {_CLONE}"
            )
            yield Problem(term.pointer(job), "steps_depend_on_their_number", detail)
    if during is not None and during.checkpoint == "best":
        detail = (
            "`evaluation.during.checkpoint` is 'best', so the images are those of an earlier step than the last, from "
            f"which a run goes on; {_CLONE}, or with `checkpoint`: 'last'"
        )
        yield Problem("/evaluation/during/checkpoint", "not_the_last_step", detail)
    if during is not None and during.stop == "plateau":
        detail = (
            "`evaluation.during.stop` is 'plateau', which ends a run by how its accuracies went, wherever it is; "
            f"{_CLONE}, or without `stop`"
        )
        yield Problem("/evaluation/during/stop", "ends_at_a_plateau", detail)
