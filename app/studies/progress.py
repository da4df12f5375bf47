"""How a study goes on: scores are read, rungs decided, jobs released, and wishes carried out.

:func:`advance` may be called at any time by anybody, and any number of times. It looks at the rows of the study and of
its jobs, does all that follows from them in the caller's transaction, and keeps nothing in memory. A process that is
killed leaves what was committed, from which the next call decides the same: a rung is only decided once each of its
jobs is scored or has ended, and from their scores alone.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sqlalchemy.orm import Session

from app.core.database import now
from app.core.settings import Settings
from app.models.jobs import Job
from app.models.states import HELD, TERMINAL, TRIAL_OUT, State, StudyState, TrialState
from app.models.studies import Study, Trial
from app.studies import alerts, children, growing, halving, proposals, repository
from app.studies.documents import documents
from app.studies.halving import Score
from app.studies.objectives import Price, divisor
from app.studies.repository import ValidationAccuracy
from app.studies.schemas import RungScore, StudyRequest
from app.studies.scores import RungReading, ordinal, recorded, variance_of
from app.studies.states import transition
from ddcore.spec.results import Results

_log = logging.getLogger(__name__)

_ENDED = TERMINAL | {State.CANCELLING}


def advance(session: Session, study_id: str, settings: Settings) -> bool:
    """Do all that can be done for a study now; nothing, where another process is at it.

    Args:
        session: a ``write()`` session.
        study_id: the study.
        settings: the service's limits, for jobs that are made on the way.

    Returns:
        Whether a rung or a winner was decided, or more trials were made.
    """
    study = repository.locked(session, study_id)
    if study is None or study.finished_at is not None:
        return False
    found = _Round.of(session, study, settings)
    before = study.decided, study.winner, len(found.trials)
    undecided = study.winner is None
    # Each round but the last decides a rung, leaves a trial out or makes some.
    while found.go():
        found = _Round.of(session, study, settings)
    found.tell(undecided)
    return (study.decided, study.winner, len(found.trials)) != before


@dataclass
class _Round:
    """A study and its jobs as they are at one moment."""

    session: Session
    study: Study
    request: StudyRequest
    trials: Sequence[Trial]
    jobs: Mapping[int, Sequence[Job]]
    settings: Settings

    @classmethod
    def of(cls, session: Session, study: Study, settings: Settings) -> _Round:
        trials = repository.trials_of(session, [study.id])[study.id]
        jobs: dict[int, list[Job]] = {trial.index: [] for trial in trials}
        for job in repository.jobs_of(session, [study.id])[study.id]:
            jobs[job.trial or 0].append(job)
        return cls(session, study, StudyRequest.model_validate(study.spec), trials, jobs, settings)

    @property
    def alive(self) -> list[Trial]:
        return [trial for trial in self.trials if trial.status not in TRIAL_OUT]

    @property
    def _every_job(self) -> list[Job]:
        return [job for jobs in self.jobs.values() for job in jobs]

    @cached_property
    def readings(self) -> Mapping[int, Mapping[int, ValidationAccuracy]]:
        return repository.readings(self.session, [job for trial in self.alive for job in self.jobs[trial.index]])

    def holds(self, trial: Trial) -> tuple[int, ...]:
        return halving.holds(trial.iterations, self.request.rungs, self.request.reduction)

    def go(self) -> bool:
        """Do what follows; whether it may be that more follows from that."""
        more = self._act()
        self._show()
        return more

    def tell(self, undecided: bool) -> None:
        """Record what the user should hear of, once each.

        Args:
            undecided: whether no trial had won when the rounds began: only then do minutes decide anything.
        """
        winner, minutes = self.study.winner, self.request.budget.minutes
        if self.study.finished_at is not None:
            results = None if winner is None else self.jobs[winner][0].results
            document = documents(self.session, [self.study])[0]
            alerts.ended(self.session, document, None if results is None else Results.model_validate(results))
        elif undecided and minutes is not None and (spent := self._minutes_spent) >= alerts.NEARLY * minutes:
            alerts.nearly_spent(self.session, documents(self.session, [self.study])[0], spent, minutes)

    def _act(self) -> bool:
        match StudyState(self.study.status):
            case StudyState.CANCELLING:
                return self._cancel_all("cancelled with its study") and self._end(StudyState.CANCELLED)
            case StudyState.PAUSING:
                return self._pause_all()
            case StudyState.RUNNING:
                return self._run()
            case _:
                return False

    def _cancel_all(self, reason: str) -> bool:
        """Cancel every job; whether all have ended."""
        for job in self._every_job:
            children.cancel(self.session, job, reason)
        return not repository.unfinished_jobs(self.session, self.study.id)

    def _end(self, state: StudyState, error: Mapping[str, Any] | None = None) -> bool:
        transition(self.session, self.study, state, {"error": error})
        return False

    def _pause_all(self) -> bool:
        for job in self._every_job:
            children.pause(self.session, job)
        left = repository.unfinished_jobs(self.session, self.study.id)
        if not left & {State.QUEUED, State.RUNNING, State.PAUSING}:
            transition(self.session, self.study, StudyState.PAUSED)
        return False

    def _run(self) -> bool:
        for trial in self.trials:
            if trial.status in TRIAL_OUT:
                # A worker may have taken a job at the moment in which it was to be cancelled.
                self._cancel(trial, str(trial.reason))
        if self.study.winner is not None:
            return self._evaluate(self.trials[self.study.winner])
        for trial in self.alive:
            self._drop_ended(trial)
        if not self.alive:
            return self._fail(alerts.NO_TRIAL_LEFT, self._why_none_is_left())
        scored = [trial for trial in self.alive if self._score(trial) is not None]
        # A trial whose score is no number has failed meanwhile.
        if len(scored) == len(self.alive) > 0:
            return self._grow_or_decide(scored)
        if not self.alive:
            return True
        if self._out_of_time:
            return self._stop_early(scored)
        for trial in self.alive:
            self._keep_going(trial, self.holds(trial)[trial.rung])
        return False

    def _grow_or_decide(self, scored: Sequence[Trial]) -> bool:
        """Make the trials that the first rung still lacks; decide a rung that lacks none."""
        if growing.lacking(self.study, self.request, len(self.trials)) and not self._out_of_time:
            if not proposals.available():
                # Any other process that has Optuna goes on with the study.
                _log.warning("%s waits: pip install 'ddservice[optuna]' where its reconciler runs", self.study.id)
                return False
            if growing.grow(self.session, self.study, self.request, self.trials, self.jobs, self.settings):
                return True
        self._decide(scored)
        return True

    def _drop_ended(self, trial: Trial) -> None:
        """Leave a trial out whose job has ended."""
        for job in self.jobs[trial.index]:
            if job.status in _ENDED:
                return self._fail_trial(trial, _why_it_ended(job))
        return None

    def _fail_trial(self, trial: Trial, reason: str) -> None:
        trial.status, trial.reason = TrialState.FAILED, reason
        self._cancel(trial, f"another job of its trial ended: {reason}")

    def _cancel(self, trial: Trial, reason: str) -> None:
        for job in self.jobs[trial.index]:
            children.cancel(self.session, job, reason)

    def _fail(self, code: str, message: str) -> bool:
        if self._cancel_all("its study failed"):
            self._end(StudyState.FAILED, {"code": code, "message": message})
        return False

    def _why_none_is_left(self) -> str:
        reasons = sorted({trial.reason for trial in self.trials if trial.status == TrialState.FAILED and trial.reason})
        return f"no trial could be scored: {'; '.join(reasons)}"

    def _score(self, trial: Trial) -> RungScore | None:
        """What a trial is scored with in its rung; ``None`` where it is not, or failed to be."""
        known = recorded(trial, trial.rung)
        if known is not None:
            return known
        hold = self.holds(trial)[trial.rung]
        found = [self._reading(job, hold) for job in self.jobs[trial.index]]
        if any(reading is None for reading in found):
            return None
        score = RungReading([reading for reading in found if reading is not None], self.request.scoring.networks)
        if not score.finite:
            self._fail_trial(trial, f"its images gave no accuracy at step {hold}")
            return None
        price = Price(self._minutes(trial), trial.stored_bytes)
        made = score.score(trial.rung, hold, divisor(self.request.objective, price) or 1.0)
        trial.scores = [*trial.scores, made.model_dump(mode="json")]
        return made

    def _minutes(self, trial: Trial) -> float | None:
        return None if trial.forecast is None else trial.forecast["minutes"]

    def _reading(self, job: Job, hold: int) -> ValidationAccuracy | None:
        """Accuracy of a job that is held; ``None`` where it is on its way."""
        if job.status != State.PAUSED or job.hold_at != hold:
            return None
        steps = self.readings[job.number]
        if hold in steps:
            return steps[hold]
        if not repository.stopped_by_itself(self.session, job.id):
            return None
        # A method that was done before that step was scored at its last one.
        return steps[max(steps)] if steps else ValidationAccuracy()

    def _keep_going(self, trial: Trial, hold: int | None) -> None:
        """Let the jobs of a trial go on that were paused with the study."""
        for job in self.jobs[trial.index]:
            if job.status == State.PAUSING:
                children.resume(self.session, job)
            elif job.status == State.PAUSED and (hold is None or self._reading(job, hold) is None):
                children.go_on(self.session, job, hold, "goes on with its study")

    def _decide(self, scored: Sequence[Trial]) -> None:
        """Decide the rung that all are scored in."""
        rung, last = self.study.decided, self.request.rungs - 1
        ranks = self._ranking(scored, rung)
        order = [score.trial for score in halving.ranked(ranks)]
        self.study.decided = rung + 1
        if rung == last:
            self._release(self.trials[order[0]], f"wins the last rung: 1st of {len(order)}")
            return
        going = set(halving.promoted(ranks, self.request.reduction))
        for place, index in enumerate(order, start=1):
            trial, where = self.trials[index], f"{ordinal(place)} of {len(order)} at rung {rung}"
            if index in going:
                self._promote(trial, f"promoted: {where}")
            else:
                self._drop(trial, f"not promoted: {where}")

    def _ranking(self, trials: Sequence[Trial], rung: int) -> list[Score]:
        return [
            Score(trial.index, score.objective, variance_of(score, len(self.request.seeds)))
            for trial in trials
            if (score := recorded(trial, rung)) is not None
        ]

    def _promote(self, trial: Trial, message: str) -> None:
        before, trial.rung = self.holds(trial)[trial.rung], trial.rung + 1
        hold = self.holds(trial)[trial.rung]
        if hold != before:
            for job in self.jobs[trial.index]:
                children.go_on(self.session, job, hold, message)

    def _drop(self, trial: Trial, reason: str) -> None:
        trial.status, trial.reason = TrialState.DROPPED, reason
        self._cancel(trial, reason)

    def _release(self, trial: Trial, message: str) -> None:
        """Let the first job of a trial go to its end and be evaluated."""
        self.study.winner = trial.index
        job = self.jobs[trial.index][0]
        if job.status == State.PAUSED:
            children.go_on(self.session, job, None, message)

    @property
    def _out_of_time(self) -> bool:
        minutes = self.request.budget.minutes
        return minutes is not None and self._minutes_spent >= minutes

    @property
    def _minutes_spent(self) -> float:
        """Minutes that the jobs have run so far, added up."""
        at = now(self.session)
        every = self._every_job
        running = [job.claimed_at for job in every if job.status in HELD and job.claimed_at is not None]
        return (sum(job.runtime_s for job in every) + sum((at - t).total_seconds() for t in running)) / 60

    def _stop_early(self, scored: Sequence[Trial]) -> bool:
        """Take the best of the highest rung that is decided, or of those scored in the first."""
        rung = max(0, self.study.decided - 1)
        judged = self.alive if self.study.decided else scored
        order = [score.trial for score in halving.ranked(self._ranking(judged, rung))]
        if not order:
            for trial in self.alive:
                self._keep_going(trial, self.holds(trial)[trial.rung])
            return False
        for trial in self.alive:
            if trial.index in order[1:]:
                place = f"{ordinal(order.index(trial.index) + 1)} of {len(order)} at rung {rung}"
                self._drop(trial, f"the minutes were used up: {place}")
            elif trial.index != order[0]:
                self._drop(trial, f"the minutes were used up before it was scored at rung {rung}")
        self._release(self.trials[order[0]], f"best at rung {rung} when the minutes were used up")
        return True

    def _evaluate(self, trial: Trial) -> bool:
        """See the winner through to its end, and give its place to the next where it fails."""
        first, *others = self.jobs[trial.index]
        if first.status == State.SUCCEEDED:
            for job in others:
                children.cancel(self.session, job, "another seed of the winner was evaluated")
            self._drop_finalists()
            done = not repository.unfinished_jobs(self.session, self.study.id)
            return done and self._end(StudyState.SUCCEEDED)
        if first.status in TERMINAL:
            return self._replace(trial, _why_it_ended(first))
        if first.status == State.PAUSING:
            children.resume(self.session, first)
        elif first.status == State.PAUSED:
            children.go_on(self.session, first, None, "goes on to its end")
        return False

    def _drop_finalists(self) -> None:
        order = self._finalists()
        for place, index in enumerate(order, start=1):
            if index != self.study.winner:
                rung = self.study.decided - 1
                self._drop(self.trials[index], f"did not win: {ordinal(place)} of {len(order)} at rung {rung}")

    def _finalists(self) -> list[int]:
        """Trials that are left, best first, by the last rung that was decided."""
        return [score.trial for score in halving.ranked(self._ranking(self.alive, max(0, self.study.decided - 1)))]

    def _replace(self, trial: Trial, reason: str) -> bool:
        self._fail_trial(trial, f"it won, but was not evaluated: {reason}")
        left = self._finalists()
        if not left:
            return self._fail("winner_failed", f"{trial.title} won, but was not evaluated: {reason}")
        self._release(self.trials[left[0]], f"takes the place of the winner, which was not evaluated: {reason}")
        return True

    def _show(self) -> None:
        """Bring up to date what the study's document shows; a change of it is a new version."""
        for trial in self.trials:
            jobs = self.jobs[trial.index]
            trial.runtime_s = sum(job.runtime_s for job in jobs)
            trial.steps = sum(job.step for job in jobs)
            if trial.status not in TRIAL_OUT:
                trial.status = self._status(trial)
        # Values that were set to what they are do not count as changes.
        if any(self.session.is_modified(row) for row in (*self.trials, self.study)):
            self.study.version += 1
        self.session.flush()

    def _status(self, trial: Trial) -> TrialState:
        if self.study.winner == trial.index:
            return TrialState.WINNER
        if self.study.decided == self.request.rungs:
            return TrialState.FINALIST
        if recorded(trial, trial.rung) is not None:
            return TrialState.HELD
        if any(job.status in HELD for job in self.jobs[trial.index]):
            return TrialState.RUNNING
        return TrialState.PROMOTED if trial.rung else TrialState.WAITING


def _why_it_ended(job: Job) -> str:
    """Why a job gives no score any more."""
    if job.error is not None:
        return str(job.error["message"])
    return "it was cancelled" if job.status in (State.CANCELLED, State.CANCELLING) else f"it ended as {job.status}"
