"""What the pages show of a study, worked out from its document."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.core.ordering import ordered_like
from app.dashboard.job_list import Column
from app.dashboard.rung_drawing import Course, Fate, Level, RungDrawing, draw_rungs
from app.dashboard.wording import spread
from app.models.states import STUDY_TERMINAL, TrialState
from app.studies.schemas import RungDocument, RungScore, StudyDocument, StudyRequest, TrialDocument, in_order
from ddcore.spec import JobSpec
from ddcore.spec.ranges import write_values

MINUTE_S = 60

STATES: Mapping[TrialState, tuple[str, str]] = {
    TrialState.WAITING: ("waiting", "queued"),
    TrialState.RUNNING: ("running", "running"),
    TrialState.HELD: ("scored", "queued"),
    TrialState.PROMOTED: ("goes on", "ready"),
    TrialState.FINALIST: ("at the end", "ready"),
    TrialState.WINNER: ("winner", "succeeded"),
    TrialState.DROPPED: ("left behind", "cancelled"),
    TrialState.FAILED: ("failed", "failed"),
}
"""Status of a trial: what the page says, and the class of its chip."""
FATES: Mapping[TrialState, Fate] = {
    TrialState.WINNER: "winner",
    TrialState.DROPPED: "left",
    TrialState.FAILED: "failed",
}
OBJECTIVES = {
    "accuracy": "accuracy",
    "accuracy_per_minute": "accuracy per minute",
    "accuracy_per_byte": "accuracy per byte",
}
COLUMNS: Mapping[str, Column] = {
    "trial": Column("Trial", "trial", number=True),
    "what": Column("What", "what"),
    "state": Column("State", "state", largest_first=True),
    "rung": Column("Rung", "rung", largest_first=True, number=True),
    "score": Column("Validation accuracy", "score", largest_first=True, number=True),
    "objective": Column("Objective", "objective", largest_first=True, number=True),
    "time": Column("Time", "time", largest_first=True, number=True),
    "jobs": Column("Jobs"),
}
"""Columns of the table of trials."""
BEST_FIRST = "-state"


@dataclass(frozen=True)
class TrialRow:
    """A trial as a row of the table."""

    trial: TrialDocument
    last: RungScore | None
    word: str
    style: str


@dataclass(frozen=True)
class RungRow:
    """A rung as a row of a table."""

    rung: RungDocument
    best: TrialRow | None


@dataclass(frozen=True)
class StudyView:
    """A study as the pages show it."""

    study: StudyDocument
    rows: Sequence[TrialRow]

    @property
    def title(self) -> str:
        """Its name, or what it searches."""
        return self.study.name or f"{self.dataset}: {self.searched}"

    @property
    def status(self) -> str:
        """Its status, as a word."""
        return self.study.status.value

    @property
    def active(self) -> bool:
        """Whether it may still change."""
        return self.study.status not in STUDY_TERMINAL

    @property
    def base(self) -> Mapping[str, Any]:
        """The job that all trials share."""
        base: Mapping[str, Any] = self.study.spec["base"]
        return base

    @property
    def request(self) -> dict[str, Any]:
        """What was asked for, with its fields in the order in which they are declared."""
        pattern = {**dict.fromkeys(StudyRequest.model_fields), "base": dict.fromkeys(JobSpec.model_fields)}
        ordered: dict[str, Any] = ordered_like(self.study.spec, pattern)
        return ordered

    @property
    def dataset(self) -> str:
        """Name of the dataset."""
        return str(self.base.get("dataset", "?"))

    @property
    def space(self) -> Sequence[tuple[str, str]]:
        """The space: path and values in one line."""
        space = self.study.spec["space"]
        return [(path, write_values(space[path])) for path in in_order(space)]

    @property
    def searched(self) -> str:
        """What it searches, in words."""
        return " × ".join(path for path, _ in self.space) or "methods and their settings"

    @property
    def objective(self) -> str:
        """What trials are ranked by."""
        return OBJECTIVES[self.study.spec["objective"]]

    @property
    def by_accuracy(self) -> bool:
        """Whether the objective is the accuracy itself."""
        return self.objective == "accuracy"

    @property
    def level(self) -> RungDocument | None:
        """The highest rung that some trial has reached."""
        return next((one for one in reversed(self.study.rungs) if one.trials), None)

    @property
    def activity(self) -> str:
        """What it does now, in words."""
        if not self.active:
            return ""
        if self.study.winner is not None:
            return "The winner is evaluated in full"
        level = self.level
        if level is None:
            return "No trial has begun yet"
        done = f"{level.scored} of {level.trials} trials scored"
        return f"Rung {level.rung}, {100 * level.share:.0f} % of the steps: {done}"

    @property
    def share(self) -> float:
        """How far it is, 0 to 1: rungs decided, and the trials scored on the one under way."""
        if not self.active:
            return 1.0
        whole = len(self.study.rungs) + 1
        if self.study.winner is not None:
            return 1 - 0.5 / whole
        level = self.level
        return 0.0 if level is None else (level.rung + (level.scored + level.ended) / (level.trials or 1)) / whole

    @property
    def winner_row(self) -> TrialRow | None:
        """The row of the winner."""
        winner = self.study.winner
        return None if winner is None else next((row for row in self.rows if row.trial.index == winner.trial), None)

    @property
    def winner_words(self) -> str:
        """The winner's score and where it comes from."""
        winner = self.study.winner
        if winner is None:
            return ""
        if winner.accuracy is None:
            return f"{spread(winner.validation.accuracy, winner.validation.deviation)} on validation images"
        return f"{spread(winner.accuracy.mean, winner.accuracy.deviation)} on the test images"

    @property
    def coreset(self) -> str:
        """What the best of the trials that keep real images scored; empty where there is none."""
        best = None if self.study.winner is None else self.study.winner.best_coreset
        return "" if best is None else spread(best.validation.accuracy, best.validation.deviation)

    @property
    def spent_s(self) -> float:
        """Seconds that its jobs have run."""
        return self.study.spent.minutes * MINUTE_S

    @property
    def ahead_s(self) -> float | None:
        """Seconds that they should still run."""
        return None if self.study.ahead_minutes is None or not self.active else self.study.ahead_minutes * MINUTE_S

    @property
    def saved(self) -> str:
        """What was not computed, beside all trials to the end."""
        whole = self.study.full_grid_steps
        return f"{100 * self.study.spent.steps / whole:.0f} % of all trials to the end" if whole else ""

    @property
    def rungs(self) -> Sequence[RungRow]:
        """Its rungs, the lowest first."""
        return [RungRow(one, self._best_on(one.rung)) for one in self.study.rungs]

    @property
    def picture(self) -> RungDrawing | None:
        """The drawing of its rungs."""
        courses = [
            Course(
                row.trial.index,
                row.trial.title,
                FATES.get(row.trial.status, "going"),
                [(score.rung, score.accuracy, score.deviation) for score in row.trial.scores],
            )
            for row in sorted(self.rows, key=lambda row: row.trial.index)
        ]
        return draw_rungs(courses, [Level(one.share, one.trials) for one in self.study.rungs])

    @property
    def picture_words(self) -> str:
        """The drawing, for readers of text."""
        counts = ", ".join(f"{one.scored} at {100 * one.share:.0f} % of the steps" for one in self.study.rungs)
        return f"Validation accuracy of the trials on each rung; scored are {counts}"

    @property
    def compared(self) -> str:
        """Identifiers of jobs to compare: the first of each trial on the highest rung."""
        top = max((row.trial.rung for row in self.rows if row.trial.scores), default=0)
        return ",".join(row.trial.jobs[0] for row in self.rows if row.trial.jobs and row.trial.rung == top)

    def _best_on(self, rung: int) -> TrialRow | None:
        found = [
            (score.objective, -row.trial.index, TrialRow(row.trial, score, row.word, row.style))
            for row in self.rows
            for score in row.trial.scores
            if score.rung == rung
        ]
        return max(found, key=lambda one: one[:2])[2] if found else None


def view(study: StudyDocument, sort: str = BEST_FIRST) -> StudyView:
    """A study as the pages show it.

    Args:
        study: its document.
        sort: a column of the trials, with ``-`` before it the largest first; an unknown one is the usual.
    """
    descending, name = sort.startswith("-"), sort.lstrip("-")
    rows = [_row(trial) for trial in study.trials]
    rows.sort(key=lambda row: row.trial.index)
    rows.sort(key=_KEYS.get(name, _KEYS["state"]), reverse=descending if name in _KEYS else True)
    return StudyView(study, rows)


def _row(trial: TrialDocument) -> TrialRow:
    return TrialRow(trial, trial.scores[-1] if trial.scores else None, *STATES[trial.status])


def _standing(row: TrialRow) -> tuple[bool, bool, int, float]:
    """How far a trial is ahead of others: the winner first, then by rung and score; those that failed last."""
    status = row.trial.status
    return status is TrialState.WINNER, status is not TrialState.FAILED, row.trial.rung, _objective(row)


def _objective(row: TrialRow) -> float:
    return float("-inf") if row.last is None else row.last.objective


def _accuracy(row: TrialRow) -> float:
    return float("-inf") if row.last is None else row.last.accuracy


_KEYS: Mapping[str, Callable[[TrialRow], Any]] = {
    "trial": lambda row: row.trial.index,
    "what": lambda row: row.trial.title.casefold(),
    "state": _standing,
    "rung": lambda row: (row.trial.rung, _objective(row)),
    "score": _accuracy,
    "objective": _objective,
    "time": lambda row: row.trial.runtime_s or 0.0,
}


def sorted_by(column: Column, sort: str) -> str:
    """Which way a column sorts the table now, in ARIA's words."""
    if not column.sort or sort.lstrip("-") != column.sort:
        return "none"
    return "descending" if sort.startswith("-") else "ascending"


def next_sort(column: Column, sort: str) -> str:
    """How the table is sorted once the title of a column is chosen: its usual way first, then the other."""
    usual = f"{'-' if column.largest_first else ''}{column.sort}"
    other = f"{'' if column.largest_first else '-'}{column.sort}"
    return other if sort == usual else usual
