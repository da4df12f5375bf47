"""What fields the form of a study has: those of a job, and beside them those of the study itself."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from app.dashboard.job_form import schema
from app.dashboard.job_form.schema import Shape
from app.studies.schemas import StudyRequest

BESIDE = "study."
"""Before the name of each field of the study itself: a job has a `sampler` and a `seed` too."""
OF_THE_STUDY = frozenset(("name", "labels", "priority", "seed"))
"""Fields of a submission that a study says for all its jobs."""


def of_job() -> Mapping[str, Shape]:
    """The fields of the job that all trials share, by name."""
    return {name: shape for name, shape in schema.submission().items() if name not in OF_THE_STUDY}


@cache
def of_study() -> Mapping[str, Shape]:
    """The fields of the study itself, by name."""
    found = schema.parts_of(StudyRequest)
    return {name: shape for name, shape in found.items() if name not in ("base", "space")}
