"""From planned trials to the rows of a study: the trials, and their jobs in the queue."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from sqlalchemy.orm import Session

from app.jobs.quota import Asked
from app.jobs.submission import Submission
from app.jobs.submitting import StudyPlace, Submitter
from app.models.states import TrialState
from app.models.studies import Trial
from app.studies.forecast import as_json
from app.studies.planning import Plan, PlannedTrial
from app.studies.schemas import StudyRequest

_LONGEST_NAME = 200


def add(session: Session, submitter: Submitter, study_id: str, plan: Plan, *, first: int, asked: Asked | None) -> None:
    """Add the trials of a plan to a study, and queue their jobs.

    Args:
        session: a ``write()`` session.
        submitter: of the study's tenant.
        study_id: the study.
        plan: at least one trial.
        first: index of the first of them.
        asked: what the tenant's quota must have room for; ``None`` where the study was let in with all that it will
            have.

    Raises:
        QuotaExceeded: the tenant cannot have so many more unfinished jobs, or so much more work.
        Invalid: the set was deleted meanwhile.
    """
    numbered = list(enumerate(plan.trials, start=first))
    session.add_all(_trial(study_id, index, trial) for index, trial in numbered)
    session.flush()
    requests: list[Submission] = []
    places: list[StudyPlace] = []
    for index, trial in numbered:
        requests += _requests(trial, plan.request)
        places += [StudyPlace(study_id, index, plan.holds(trial)[0])] * len(trial.requests)
    submitter.submit_of_study(requests, places, asked)


def _trial(study_id: str, index: int, trial: PlannedTrial) -> Trial:
    kept = None if trial.forecast is None else {**as_json(trial.forecast), "minutes": trial.price.minutes}
    return Trial(
        study_id=study_id,
        index=index,
        values=dict(trial.values),
        title=trial.title,
        iterations=trial.iterations,
        forecast=kept,
        stored_bytes=trial.price.stored_bytes,
        status=TrialState.WAITING,
        scores=[],
    )


def _requests(trial: PlannedTrial, study: StudyRequest) -> Iterable[Submission]:
    pairs = zip(study.seeds, trial.requests, strict=True)
    return [_of_study(request, study, trial.title, seed) for seed, request in pairs]


def _of_study(request: Submission, study: StudyRequest, title: str, seed: int) -> Submission:
    """A job's submission with the study's name, labels and priority."""
    words = ", ".join([title, *([f"seed {seed}"] if len(study.seeds) > 1 else [])])
    name = f"{study.name}: {words}" if study.name else words
    if len(name) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME - 1]}…"
    beside = {"name": name, "labels": dict(study.labels), "priority": study.priority}
    return replace(request, envelope=request.envelope.model_copy(update=beside))
