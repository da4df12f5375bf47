"""How much work a study should be, before it is made."""

from __future__ import annotations

from collections.abc import Sequence

from app.core.settings import Settings
from app.jobs import submission
from app.jobs.quota import Asked
from app.studies.forecast import Outlook, ahead
from app.studies.planning import Plan, PlannedTrial

SMALLER = ("try fewer points, steps or seeds", "give it fewer `budget.minutes`")


def likely(plan: Plan) -> Sequence[PlannedTrial]:
    """All trials that a study will have: those that are proposed later are taken to be like the first ones, in turn."""
    return [plan.trials[i % len(plan.trials)] for i in range(len(plan.trials) + plan.later)]


def seconds(plan: Plan) -> float | None:
    """Seconds of running over all jobs, if as many trials go on as the rule says; ``None`` where that is not known."""
    trials = likely(plan)
    outlooks = [Outlook(trial.forecast, plan.holds(trial)) for trial in trials if trial.forecast is not None]
    if len(outlooks) < len(trials):
        return None
    return ahead(outlooks, len(plan.request.seeds), plan.request.reduction)


def asked(plan: Plan, settings: Settings) -> Asked:
    """What a study wants of its tenant's quota.

    Its work is what the forecasts say, or all that its jobs may run where they say nothing; and at most the minutes of
    its budget, after which no trial goes on.

    Args:
        plan: of the study.
        settings: the service's limits.
    """
    longest = sum(_longest_s(trial, settings) for trial in likely(plan))
    expected, minutes = seconds(plan), plan.request.budget.minutes
    bounds = [longest, *([] if expected is None else [expected]), *([] if minutes is None else [minutes * 60])]
    why = "" if min(bounds) < longest else " (`base.limits.max_runtime_s` of its jobs)"
    smaller = (*SMALLER, "set a smaller `base.limits.max_runtime_s`") if why else SMALLER
    return Asked(min(bounds), plan.jobs, "study", why, smaller)


def _longest_s(trial: PlannedTrial, settings: Settings) -> float:
    """Seconds that the jobs of a trial may run."""
    return sum(submission.max_runtime_s(request.envelope, settings) for request in trial.requests)
