"""How a study with `sampler`: `tpe` gets more trials: once all that it has are scored in the first rung."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy.orm import Session

from app.core.security import Principal, Scope
from app.core.settings import Settings
from app.datasets.names import Names
from app.jobs.assessment import Assessor
from app.jobs.submitting import Submitter
from app.models.jobs import Job
from app.models.studies import Study, Trial
from app.studies import proposals, trials
from app.studies.planning import Planner, points_of
from app.studies.proposals import BATCH, Tried
from app.studies.schemas import StudyRequest
from app.studies.scores import recorded
from app.studies.space import Space


def lacking(study: Study, request: StudyRequest, made: int) -> int:
    """Trials that a study is still to propose, of which so many are made."""
    if request.sampler != "tpe" or study.decided or study.winner is not None:
        return 0
    return max(0, points_of(request) - made)


def grow(
    session: Session,
    study: Study,
    request: StudyRequest,
    made: Sequence[Trial],
    jobs: Mapping[int, Sequence[Job]],
    settings: Settings,
) -> bool:
    """Add the next trials to a study.

    Args:
        session: a ``write()`` session.
        study: the study, its row locked.
        request: what was asked for.
        made: its trials in order; each is scored in the first rung, or has failed.
        jobs: of each trial.
        settings: the service's limits.

    Returns:
        Whether any was added: none where Optuna proposes no job any more that is new.
    """
    principal = Principal(study.tenant_id, None, frozenset(Scope))
    # The version of a user's own set that the first trials have, even where there is a newer one.
    pinned = request.model_copy(update={"base": {**request.base, "dataset": jobs[0][0].dataset}})
    names = Names.of(session, principal, settings)
    # What workers offer changes while a study goes on, and what it tries must not: no room is asked for.
    planner = Planner(pinned, names, Assessor(session, settings, names), check_room=False)
    tried = [Tried(trial.values, _objective(trial)) for trial in made]
    points = proposals.proposed(Space(request.space), tried, request.seed)
    known = (jobs[trial.index][0].spec for trial in made)
    plan = planner.more(points, known, min(BATCH, lacking(study, request, len(made))))
    refused = {each["reason"]: each["points"] for each in study.refused}
    for reason, count in plan.refused.items():
        refused[reason] = refused.get(reason, 0) + count
    study.refused = [{"reason": reason, "points": count} for reason, count in refused.items()]
    if not plan.trials:
        return False
    study.version += 1
    submitter = Submitter(session, principal, settings)
    trials.add(session, submitter, study.id, plan, first=len(made), asked=None)
    return True


def _objective(trial: Trial) -> float | None:
    score = recorded(trial, 0)
    return None if score is None else score.objective
