"""From rows to the study's document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.orm import Session

from app.models.jobs import Job
from app.models.states import STUDY_TERMINAL, TRIAL_OUT, StudyState, TrialState
from app.models.studies import Study, Trial
from app.studies import growing, halving, repository
from app.studies.forecast import Outlook, ahead, from_json
from app.studies.schemas import (
    BestCoreset,
    Failures,
    Refused,
    RungDocument,
    RungScore,
    Spent,
    StudyDocument,
    StudyError,
    StudyRequest,
    TestScore,
    TrialDocument,
    ValidationScore,
    Winner,
)
from app.studies.scores import latest, recorded
from app.studies.states import actions
from ddcore.spec.results import Results


def documents(session: Session, studies: Sequence[Study]) -> list[StudyDocument]:
    """The documents of some studies, with one query for all their trials and one for all their jobs."""
    ids = [study.id for study in studies]
    trials, jobs = repository.trials_of(session, ids), repository.jobs_of(session, ids)
    return [_document(study, trials[study.id], jobs[study.id]) for study in studies]


def _document(study: Study, trials: Sequence[Trial], jobs: Sequence[Job]) -> StudyDocument:
    state, seeds = StudyState(study.status), len(study.spec["seeds"])
    by_trial: dict[int, list[Job]] = {trial.index: [] for trial in trials}
    for job in jobs:
        by_trial[job.trial or 0].append(job)
    failed = Counter(trial.reason for trial in trials if trial.status == TrialState.FAILED)
    return StudyDocument(
        id=study.id,
        name=study.name,
        labels=study.labels,
        priority=study.priority,
        status=state,
        spec=study.spec,
        rungs=[_rung(study, trials, rung) for rung in range(study.spec["rungs"])],
        trials=[_trial(trial, by_trial[trial.index]) for trial in trials],
        winner=_winner(study, trials, by_trial),
        spent=Spent(
            jobs=sum(job.attempt > 0 for job in jobs),
            steps=sum(trial.steps for trial in trials),
            minutes=sum(trial.runtime_s for trial in trials) / 60,
        ),
        full_grid_steps=sum(trial.iterations for trial in trials) * seeds,
        ahead_minutes=_ahead(study, trials, seeds),
        refused=[Refused.model_validate(each) for each in study.refused],
        failures=[Failures(reason=str(reason), trials=count) for reason, count in failed.most_common()],
        error=StudyError.model_validate(study.error) if study.error else None,
        actions=actions(state),
        created_at=study.created_at,
        finished_at=study.finished_at,
        updated_at=study.updated_at,
        version=study.version,
        links={"self": f"/v1/studies/{study.id}", "jobs": f"/v1/jobs?study={study.id}"},
    )


def _trial(trial: Trial, jobs: Sequence[Job]) -> TrialDocument:
    return TrialDocument(
        index=trial.index,
        values=trial.values,
        title=trial.title,
        iterations=trial.iterations,
        rung=trial.rung,
        status=TrialState(trial.status),
        scores=[RungScore.model_validate(each) for each in trial.scores],
        jobs=[job.id for job in jobs],
        runtime_s=trial.runtime_s,
        reason=trial.reason,
    )


def _rung(study: Study, trials: Sequence[Trial], rung: int) -> RungDocument:
    last = rung == study.spec["rungs"] - 1
    here = [trial for trial in trials if trial.rung >= rung]
    return RungDocument(
        rung=rung,
        share=study.spec["reduction"] ** -float(study.spec["rungs"] - 1 - rung),
        trials=len(here),
        scored=sum(recorded(trial, rung) is not None for trial in here),
        ended=sum(trial.status == TrialState.FAILED and trial.rung == rung for trial in here),
        promoted=int(study.winner is not None) if last else sum(trial.rung > rung for trial in here),
        decided=study.decided > rung,
    )


def _ahead(study: Study, trials: Sequence[Trial], seeds: int) -> float | None:
    """Minutes that are left by the forecasts; ``None`` where they cannot be told."""
    if study.status in STUDY_TERMINAL:
        return 0.0
    alive = [trial for trial in trials if trial.status not in TRIAL_OUT]
    if study.winner is not None:
        alive = [trial for trial in alive if trial.index == study.winner]
    if not alive or any(trial.forecast is None for trial in alive):
        return None
    outlooks = [_outlook(study.spec, trial, trial.forecast, seeds) for trial in alive if trial.forecast is not None]
    outlooks += _outlooks_of_later_ones(study, trials, outlooks)
    return ahead(outlooks, seeds if study.winner is None else 1, study.spec["reduction"]) / 60


def _outlooks_of_later_ones(study: Study, trials: Sequence[Trial], present: Sequence[Outlook]) -> list[Outlook]:
    """Those of trials that are still to be proposed, taken to be like the present ones, in turn."""
    if study.spec["sampler"] != "tpe":
        return []  # a space may be large, and is read anew for each document
    later = growing.lacking(study, StudyRequest.model_validate(study.spec), len(trials))
    likely = [present[i % len(present)] for i in range(later)]
    return [Outlook(each.forecast, each.holds) for each in likely]


def _outlook(spec: Mapping[str, Any], trial: Trial, forecast: Mapping[str, Any], seeds: int) -> Outlook:
    """What is left of a trial."""
    return Outlook(
        from_json(forecast),
        halving.holds(trial.iterations, spec["rungs"], spec["reduction"]),
        trial.rung,
        trial.steps / seeds,
        recorded(trial, trial.rung) is not None,
    )


def _winner(study: Study, trials: Sequence[Trial], jobs: Mapping[int, Sequence[Job]]) -> Winner | None:
    if study.winner is None:
        return None
    trial = trials[study.winner]
    job, validation = jobs[trial.index][0], _validation(trial)
    if validation is None:
        return None
    test = _test(job)
    coreset = _best_coreset(trials)
    return Winner(
        trial=trial.index,
        job_id=job.id,
        validation=validation,
        accuracy=test,
        gap=None if test is None else test.mean - validation.accuracy,
        best_coreset=coreset,
        answer=_answer(study, trial, validation, test, coreset),
    )


def _validation(trial: Trial) -> ValidationScore | None:
    score = latest(trial)
    return None if score is None else ValidationScore(accuracy=score.accuracy, deviation=score.deviation)


def _test(job: Job) -> TestScore | None:
    accuracy = None if job.results is None else Results.model_validate(job.results).accuracy
    return None if accuracy is None else TestScore(
        mean=accuracy.mean, deviation=accuracy.std, networks=accuracy.networks
    )  # fmt: skip


def _best_coreset(trials: Sequence[Trial]) -> BestCoreset | None:
    """The best of the trials without steps, by their one score."""
    scored = [(trial, score) for trial in trials if trial.iterations == 0 and (score := latest(trial)) is not None]
    if not scored:
        return None
    trial, score = max(scored, key=lambda pair: (pair[1].accuracy, -pair[0].index))
    validation = ValidationScore(accuracy=score.accuracy, deviation=score.deviation)
    return BestCoreset(trial=trial.index, title=trial.title, validation=validation)


def _answer(
    study: Study, trial: Trial, validation: ValidationScore, test: TestScore | None, coreset: BestCoreset | None
) -> str:
    """The outcome in one sentence."""
    by = "" if study.spec["objective"] == "accuracy" else f" by {study.spec['objective'].replace('_', ' ')}"
    text = f"{trial.title} is the best{by}, with {validation.accuracy:.1f} % on validation images"
    if test is not None:
        text += f" and {test.mean:.1f} ± {test.deviation:.1f} % on the test images"
    if coreset is None:
        return f"{text}."
    if coreset.trial == trial.index:
        return f"{text}; it keeps real images, and nothing that was learned beat it."
    gain = validation.accuracy - coreset.validation.accuracy
    side = "above" if gain > 0 else "below"
    return f"{text}, {abs(gain):.1f} points {side} the best coreset, {coreset.title}, on validation images."
