"""A study in words, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ddclient.live import duration
from ddclient.study_models import Rung, StudyDocument, Trial, TrialScore

MINUTE_S = 60
SHOWN = 12
"""Trials that a study about to begin lists."""


def describe(document: StudyDocument) -> str:
    """A study in a few lines: what it searches, how far each rung is, what it has cost, and its winner."""
    heading = f"{document.id}  {document.status}"
    lines = [heading if document.name is None else f"{heading}\n  name      {document.name}"]
    lines.append(f"  search    {searched(document.spec)}")
    lines += [f"  {rung_line(document, rung)}" for rung in document.rungs if rung.trials]
    lines.append(f"  cost      {cost(document)}")
    lines += [f"  refused   {one.points} of the points: {one.reason}" for one in document.refused]
    lines += [f"  left out  {one.trials} of the trials: {one.reason}" for one in document.failures]
    lines += [f"  {line}" for line in evidence(document)]
    if document.error is not None:
        lines.append(f"  error     {document.error.message} ({document.error.code})")
    if document.actions:
        lines.append(f"  possible  {', '.join(document.actions)}")
    return "\n".join(lines)


def searched(spec: Mapping[str, Any]) -> str:
    """What a study searches, in one line.

    >>> searched({"base": {"dataset": "digits", "ipc": 1}, "space": {"method": ["dm", "idm"]}})
    'digits, ipc 1, over method'
    """
    base = spec.get("base") or {}
    fixed = [str(base.get("dataset"))]
    if "ipc" in base:
        fixed.append(f"ipc {base['ipc']}")
    space = spec.get("space") or {}
    method = base.get("method")
    auto = (method.get("name") if isinstance(method, Mapping) else method) == "auto"
    return ", ".join([*fixed, "over methods and their settings" if auto else f"over {', '.join(space) or 'nothing'}"])


def rung_line(document: StudyDocument, rung: Rung) -> str:
    """How far a rung is, in one line."""
    whole = f"rung {rung.rung}, {100 * rung.share:.0f} % of the steps"
    done = f"{rung.scored} of {rung.trials} scored"
    parts = [f"{whole}: {done}"]
    if rung.ended:
        parts.append(f"{rung.ended} ended")
    best = best_on(document, rung.rung)
    if best is not None:
        parts.append(f"best {spread(best[1].accuracy, best[1].deviation)} ({best[0].title})")
    if rung.decided and rung.rung + 1 < len(document.rungs):
        parts.append(f"{rung.promoted} {'goes' if rung.promoted == 1 else 'go'} on")
    return ", ".join(parts)


def best_on(document: StudyDocument, rung: int) -> tuple[Trial, TrialScore] | None:
    """The trial with the best objective on a rung, and its score; of equal ones the first."""
    scores = [(trial, score) for trial in document.trials for score in trial.scores if score.rung == rung]
    return max(scores, key=lambda one: (one[1].objective, -one[0].index), default=None)


def spread(mean: float, deviation: float | None) -> str:
    """An accuracy in percent.

    >>> spread(81.23, 0.61), spread(81.23, None)
    ('81.2 % ± 0.6', '81.2 %')
    """
    return f"{mean:.1f} %" + ("" if deviation is None else f" ± {deviation:.1f}")


def cost(document: StudyDocument) -> str:
    """What a study has cost, and what is to come."""
    spent = document.spent
    parts = [f"{spent.jobs} {'job' if spent.jobs == 1 else 'jobs'}", f"{spent.steps:,} steps"]
    if document.full_grid_steps:
        parts[-1] += f" of the {document.full_grid_steps:,} that all trials to the end would take"
    parts.append(duration(spent.minutes * MINUTE_S))
    if document.ahead_minutes and not document.finished:
        parts.append(f"about {duration(document.ahead_minutes * MINUTE_S)} to come")
    return ", ".join(parts)


def evidence(document: StudyDocument) -> Iterator[str]:
    """The winner, what chose it, what its evaluation says, and how it stands to the best coreset; a line for each."""
    winner = document.winner
    if winner is None:
        return
    trial = next((one for one in document.trials if one.index == winner.trial), None)
    yield f"winner    {trial.title if trial else f'trial {winner.trial}'}  {winner.job_id}"
    yield f"chosen by {spread(winner.validation.accuracy, winner.validation.deviation)} on validation images"
    if winner.accuracy is not None:
        gap = "" if winner.gap is None else f", {winner.gap:+.1f} points from what chose it"
        yield f"accuracy  {spread(winner.accuracy.mean, winner.accuracy.deviation)} on the test set, networks anew{gap}"
    if winner.best_coreset is not None:
        best, score = winner.best_coreset, winner.best_coreset.validation
        yield f"coreset   {best.title}, {spread(score.accuracy, score.deviation)} on validation images"
    if winner.answer:
        yield f"answer    {winner.answer}"


def winner_line(document: StudyDocument) -> str:
    """The winner and its score in one line; empty where there is none."""
    winner = document.winner
    if winner is None:
        return ""
    title = next((one.title for one in document.trials if one.index == winner.trial), f"trial {winner.trial}")
    if winner.accuracy is None:
        return f"{title}, {spread(winner.validation.accuracy, winner.validation.deviation)} on validation images"
    return f"{title}, {spread(winner.accuracy.mean, winner.accuracy.deviation)}"


def validated(found: Mapping[str, Any]) -> str:
    """What a study would try and cost, from the answer of ``POST /v1/studies:validate``."""
    return "\n".join(_validated(found))


def _validated(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"valid     {searched(found['spec'])}"
    titles = [trial["title"] for trial in found["trials"]]
    more = f" and {len(titles) - SHOWN} more" if len(titles) > SHOWN else ""
    later = f"; {found['later']} to be proposed from their scores" if found.get("later") else ""
    yield f"trials    {len(titles)} of {found['points']:,} points: {'; '.join(titles[:SHOWN])}{more}{later}"
    minutes = found["minutes"]
    time = "unknown time" if minutes is None else f"about {duration(minutes * MINUTE_S)} of running"
    steps = f"{found['steps']:,} steps of the {found['full_grid_steps']:,} that all trials to the end would take"
    yield f"cost      {found['jobs']} {'job' if found['jobs'] == 1 else 'jobs'}, {time}, {steps}"
    yield from (f"refused   {one['points']} of the points: {one['reason']}" for one in found["refused"])
    yield from (f"warning   {text}" for text in found["warnings"])


def trial_row(trial: Trial) -> tuple[str, ...]:
    """A trial as a row of a table: number, title, state, rung, steps, validation accuracy, objective, time, job."""
    last = trial.scores[-1] if trial.scores else None
    return (
        str(trial.index),
        trial.title,
        trial.status,
        str(trial.rung),
        "" if last is None else str(last.step),
        "" if last is None else spread(last.accuracy, last.deviation),
        "" if last is None else f"{last.objective:.4g}",
        "" if trial.runtime_s is None else duration(trial.runtime_s),
        trial.jobs[0] if trial.jobs else "",
        trial.reason or "",
    )


TRIAL_COLUMNS = ("trial", "what", "state", "rung", "step", "validation", "objective", "time", "job", "reason")
"""Headings of :func:`trial_row`."""
