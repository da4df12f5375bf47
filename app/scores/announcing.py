"""From an announcement to the job that scores a set, or to every fault in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from app.core.errors import Invalid
from app.core.ids import new_id
from app.core.security import Principal
from app.core.settings import Settings
from app.datasets.documents import reference
from app.datasets.names import Names
from app.jobs import submission
from app.jobs.assessment import Assessment
from app.jobs.quota import Asked
from app.jobs.schemas import Envelope
from app.jobs.submission import MAX_SPEC_BYTES, Submission
from app.models.jobs import Job
from app.models.scores import Score
from app.models.states import Kind, State
from app.scores.schemas import NewScore
from ddcore.spec import Problem, SpecError
from ddcore.spec.scoring import check_fields, job_of
from ddcore.spec.weight_files import completed

SCORE = "score"
"""What stands where a distillation has its method."""
_OUTSIDE = ("/dataset", "/ipc")
"""Pointers of faults that do not lie in the recipe."""


@dataclass(frozen=True)
class Wanted:
    """A set to be scored, as far as it is known before its file is read.

    Attributes:
        submission: the job that scores alike, of as many images of each class as were told, or else of one.
        ipc: images of each class, where they were told.
    """

    submission: Submission
    ipc: int | None

    @property
    def dataset(self) -> str:
        """What it stands for, with its version."""
        return self.submission.spec.dataset

    def assess(self, session: Session, settings: Settings, names: Names) -> Asked:
        """What scoring should take.

        Raises:
            Invalid: even at best it takes longer than it may, or more memory than there is.
        """
        assessment = Assessment.of(session, settings, names, self.submission)
        assessment.check()
        if self.ipc is not None:
            return assessment.asked
        # As of a dataset whose size is unknown: a file might hold any number of images.
        why = " (`limits.max_runtime_s`, since `ipc` says not how many images the file holds)"
        return Asked(assessment.room.runtime_s, why=why, smaller=("give `ipc`", "set a smaller `limits.max_runtime_s`"))


def read(body: NewScore, names: Names) -> Wanted:
    """Read an announcement; a user's own set is pinned to its version.

    Raises:
        Invalid: with every fault of the recipe, or because there is no such dataset.
    """
    size = len(json.dumps(body.recipe))
    if size > MAX_SPEC_BYTES:
        detail = f"the recipe has {size} bytes; the limit is {MAX_SPEC_BYTES}"
        raise Invalid([Problem("/recipe", "specification_too_large", detail)])
    envelope = Envelope.model_validate(body.model_dump(include=set(Envelope.model_fields)))
    return _wanted(body.dataset, body.recipe, body.ipc, envelope, names)


def again(found: Score, names: Names) -> Wanted:
    """The same of a row, whose dataset may be gone by now.

    Raises:
        Invalid: it is.
    """
    request = found.request
    envelope = Envelope.model_validate(request["envelope"])
    return _wanted(found.dataset, request["recipe"], request["ipc"], envelope, names)


def _wanted(dataset: str, recipe: Mapping[str, Any], ipc: int | None, envelope: Envelope, names: Names) -> Wanted:
    own = names.check(dataset)
    name = dataset if own is None else reference(own)
    try:
        check_fields(recipe)
    except SpecError as error:
        raise Invalid([_in_recipe(problem) for problem in error.problems]) from error
    try:
        spec = completed(job_of(name, ipc or 1, recipe, names.certain_facts), names.backbones)
    except SpecError as error:
        beside = (problem if problem.pointer in _OUTSIDE else _in_recipe(problem) for problem in error.problems)
        raise Invalid(list(beside)) from error
    return Wanted(Submission(spec, envelope, None if own is None else own.id), ipc)


def _in_recipe(problem: Problem) -> Problem:
    """A fault of the job where it lies in the announcement."""
    return Problem(f"/recipe{problem.pointer}", problem.code, problem.detail)


def new_score(body: NewScore, wanted: Wanted, principal: Principal) -> Score:
    """The row of an announcement, not yet in the database."""
    return Score(
        id=new_id("score"),
        tenant_id=principal.tenant_id,
        name=body.name,
        file=body.file,
        size=body.size,
        sha256=body.sha256,
        dataset=wanted.dataset,
        dataset_id=wanted.submission.dataset_id,
        request={
            "recipe": body.recipe,
            "values": body.values,
            "ipc": body.ipc,
            "envelope": wanted.submission.envelope.model_dump(mode="json"),
        },
        key_id=principal.key_id,
    )


def new_job(found: Score, wanted: Wanted, asked: Asked, principal: Principal, settings: Settings) -> Job:
    """The row of the job that scores a set, not yet in the database."""
    job = submission.new_job(wanted.submission, principal, settings, None)
    job.kind = Kind.SCORE
    job.name = found.name or f"scoring {found.file}"
    job.spec = {"dataset": found.dataset, "file": found.file, **found.request}
    job.method = SCORE
    job.status = State.QUEUED
    job.total_steps = 0
    job.expected_s = asked.expected_s
    return job
