"""What a user should hear of a study without watching it; see :mod:`app.events.alerts`."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy.orm import Session

from app.events import alerts
from app.events.repository import Level
from app.models.states import StudyState
from app.studies.schemas import StudyDocument, Winner
from ddcore.spec.evaluation import BEST_CORESET
from ddcore.spec.results import Results

NO_TRIAL_LEFT = "no_trial_left"
"""Code of the error of a study none of whose trials could be scored."""
NEARLY = 0.9
"""Share of the minutes of a budget from which on it counts as nearly spent."""

_ENDINGS: Mapping[StudyState, tuple[str, Level]] = {
    StudyState.SUCCEEDED: ("has succeeded", "info"),
    StudyState.FAILED: ("has failed", "error"),
    StudyState.CANCELLED: ("was cancelled", "warning"),
}
"""What is said of a study that has ended, and how serious it is."""


def ended(session: Session, study: StudyDocument, results: Results | None) -> None:
    """Tell that a study has ended, and what is wrong with how.

    Args:
        session: a ``write()`` session that holds the study's row.
        study: as it has ended.
        results: of the winner's job.
    """
    about = {"study_id": study.id}
    job_id = study.trials[0].jobs[0] if study.winner is None else study.winner.job_id
    outcome = study.error.message if study.error else study.winner.answer if study.winner else ""
    ending, level = _ENDINGS[study.status]
    message = f"{_name(study)} {ending}" + (f": {outcome}" if outcome else "")
    alerts.record(session, job_id, "study_finished", message, {**about, "status": study.status}, level)
    if study.error is not None and study.error.code == NO_TRIAL_LEFT:
        message = f"none of the {len(study.trials)} trials of {_name(study)} could be scored"
        alerts.record(session, job_id, "no_trial_scored", message, {**about, "trials": len(study.trials)}, "error")
    if study.winner is not None and study.status == StudyState.SUCCEEDED:
        _compare_with_coreset(session, study, study.winner, results)


def _compare_with_coreset(session: Session, study: StudyDocument, winner: Winner, results: Results | None) -> None:
    """Tell where real images do better than the winner: those that the study tried, or those of the evaluation."""
    tried, control = winner.best_coreset, None if results is None else results.controls.get(BEST_CORESET)
    if tried is not None and winner.validation.accuracy < tried.validation.accuracy:
        images, reached, best = "validation", winner.validation.accuracy, tried.validation.accuracy
    elif control is not None and winner.accuracy is not None and winner.accuracy.mean < control.mean:
        images, reached, best = "test", winner.accuracy.mean, control.mean
    else:
        return
    message = (
        f"the winner of {_name(study)} reaches {reached:.1f} % on {images} images, less than the {best:.1f} % of the "
        "best coreset"
    )
    numbers = {"study_id": study.id, "accuracy": reached, "best_coreset": best, "images": images}
    alerts.record(session, winner.job_id, "below_best_coreset", message, numbers)


def nearly_spent(session: Session, study: StudyDocument, minutes: float, budget: float) -> None:
    """Tell that a study will soon have to decide by what it has.

    Args:
        session: a ``write()`` session that holds the study's row.
        study: while it goes on.
        minutes: that its jobs have run.
        budget: minutes that they may run.
    """
    message = (
        f"{_name(study)} has spent {minutes:.1f} of its {budget:g} minutes; once they are used up, the best of those "
        "scored so far goes on to its end"
    )
    numbers = {"study_id": study.id, "minutes": minutes, "budget_minutes": budget}
    alerts.record(session, study.trials[0].jobs[0], "budget_nearly_spent", message, numbers)


def _name(study: StudyDocument) -> str:
    return study.id if study.name is None else f"{study.name} ({study.id})"
