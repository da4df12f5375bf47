"""Studies as JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from datetime import datetime
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, JsonValue, StringConstraints, ValidationError, field_validator, model_validator

from app.core.closed import Closed
from app.jobs.schemas import Labels, Name, Priority
from app.models.states import StudyState, TrialState
from ddcore.spec.errors import problems

MOST_JOBS = 256
"""Jobs that a study may have."""
MOST_VALUES = 10_000
"""Values of one path of a space."""
MOST_PATHS = 20

_PATH = r"^[a-z][a-z0-9_]*(\.[a-z0-9_]+)*$"
_FIELDS = ("from", "to", "count", "scale")
Path = Annotated[str, StringConstraints(pattern=_PATH, max_length=200)]
Objective = Literal["accuracy", "accuracy_per_minute", "accuracy_per_byte"]


class Range(Closed):
    """Numbers at equal distances, or at equal ratios with `scale`: `log`."""

    start: float | int = Field(alias="from", allow_inf_nan=False, description="The first value.")
    end: float | int = Field(alias="to", allow_inf_nan=False, description="The last value.")
    count: int = Field(ge=2, le=MOST_VALUES, description="How many values, both ends included.")
    scale: Literal["linear", "log"] = Field("linear", description="`log`: each value is the same multiple of the last.")

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.start >= self.end:
            raise ValueError(f"`from` is {self.start} and `to` {self.end}; `from` must be the smaller one")
        if self.scale == "log" and self.start <= 0:
            raise ValueError(f"`from` is {self.start}, but a `log` scale needs values above 0")
        values = self.values()
        if any(a == b for a, b in pairwise(values)):
            raise ValueError(
                f"{self.count} whole numbers from {self.start} to {self.end} are not all different; "
                "lower `count`, or write the ends as decimals, such as 1.5"
            )
        return self

    def values(self) -> tuple[float | int, ...]:
        """The values, rising: whole numbers where both ends are, to ten digits otherwise.

        >>> Range.model_validate({"from": 1, "to": 10, "count": 3}).values()
        (1, 6, 10)
        >>> Range.model_validate({"from": 0.1, "to": 10, "count": 3, "scale": "log"}).values()
        (0.1, 1.0, 10.0)
        """
        low, high, last = self.start, self.end, self.count - 1
        if self.scale == "log":
            found = [low * math.pow(high / low, i / last) for i in range(last)]
        else:
            found = [low + (high - low) * i / last for i in range(last)]
        if isinstance(low, int) and isinstance(high, int):
            # Halves go up: Python's own rounding would take 0.5 and 1.5 in different directions.
            return (*(math.floor(value + 0.5) for value in found), high)
        return (*(float(f"{value:.10g}") for value in found), float(high))


class Budget(Closed):
    """What a study may use; at least one of both."""

    jobs: int | None = Field(None, ge=1, le=MOST_JOBS, description="Jobs at most: points of the space times `seeds`.")
    minutes: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="Minutes that its jobs may run, added up. Afterwards nothing is promoted any more, and the best of "
        "the highest rung that was decided goes on to its end.",
    )

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.jobs is None and self.minutes is None:
            raise ValueError("`budget` is empty; give `jobs`, such as 27, or `minutes`, such as 20")
        return self


class Scoring(Closed):
    """How jobs are scored at a rung: small networks, tested on training images that no job learns from."""

    networks: int = Field(3, ge=1, le=10, description="Networks that are averaged.")
    epochs: int = Field(100, ge=1, le=10_000, description="E of these networks, by the schedule of the evaluation.")
    validation: float = Field(0.1, gt=0, lt=1, description="Share of each class that is held out of all jobs.")


Seed = Annotated[int, Field(ge=0, lt=2**63)]


class StudyRequest(Closed):
    """A study: a job with some fields left open, what to try there, and how to choose."""

    name: Name | None = Field(None, description="For people; need not be unique.")
    labels: Labels = Field({}, description="Of the study and of its jobs.")
    priority: Priority = Field(4, description="Of its jobs, 0 to 9; one below that of single jobs by default.")
    base: dict[str, Any] = Field(
        description="Body of a job in any spelling: what all jobs of the study share. `iterations` beside `method` "
        "holds for all methods that take steps. `method`: `auto` is an automatic study."
    )
    space: dict[Path, list[JsonValue] | Range] = Field(
        {},
        max_length=MOST_PATHS,
        description="What to try, by dotted path into the body of a job, such as `method`, `ipc` or "
        "`regularizers.mim.weight`: a list of values (null leaves the field out), or a range.",
    )
    seeds: tuple[Seed, ...] = Field(
        (0,), min_length=1, max_length=20, description="Each point is tried with each of them."
    )
    objective: Objective = Field(
        "accuracy",
        description="What is best: accuracy on the validation images; or that by the minutes that a job should take, "
        "by its estimate when the study was made; or by the bytes of its images.",
    )
    budget: Budget = Field(description="What it may use.")
    sampler: Literal["grid", "random", "tpe"] = Field(
        "grid",
        description="`grid`: all points. `random`: as many different points as the budget has room for. `tpe`: as "
        "many, of which the first ones are drawn, and the others are proposed by Optuna from what was scored in the "
        "first rung.",
    )
    seed: Seed = Field(0, description="Of `sampler`: `random` and `tpe`.")
    rungs: int = Field(3, ge=1, le=10, description="How often jobs are scored and the best go on; the last is the end.")
    reduction: int = Field(3, ge=2, le=100, description="Of so many trials one goes on from a rung.")
    scoring: Scoring = Field(Scoring(), description="How jobs are scored at a rung.")

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if "\\u0000" in json.dumps([self.base, self.model_dump(mode="json")["space"]]):
            raise ValueError("`base` or `space` holds the character U+0000, which no text can have; leave it out")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"`seeds` are {list(self.seeds)}; list each once")
        return self

    @field_validator("space", mode="before")
    @classmethod
    def _read_paths(cls, space: object) -> object:
        """Read ranges here, so that a fault names its path and not every way in which it could be meant."""
        if not isinstance(space, dict):
            raise ValueError('`space` is an object of values by path, such as {"ipc": [1, 10]}')
        return {path: _read_values(path, space[path]) for path in in_order(space)}


def in_order(space: Iterable[str]) -> list[str]:
    """The paths of a space in one order, since PostgreSQL forgets that of keys: what a trial does first, then by path.

    >>> in_order(["method.lr_img", "ipc", "method"])
    ['method', 'ipc', 'method.lr_img']
    """
    return sorted(space, key=lambda path: (path not in ("method", "preset"), path))


_AS_PATH = re.compile(_PATH)


def _read_values(path: str, values: object) -> object:
    if _AS_PATH.fullmatch(path) is None:
        raise ValueError(f"`{path}` is no path into a job; write one such as `ipc` or `regularizers.mim.weight`")
    if isinstance(values, dict):
        try:
            return Range.model_validate(values)
        except ValidationError as error:
            raise ValueError(f"`space.{path}`: {'; '.join(p.detail for p in problems(error, _FIELDS))}") from None
    if isinstance(values, list):
        _check_values(path, values)
    elif not isinstance(values, Range):
        raise ValueError(
            f"`space.{path}` is {values!r}; give a list of values, or a range such as "
            '{"from": 0.1, "to": 10, "count": 5, "scale": "log"}'
        )
    return values


def _check_values(path: str, values: list[JsonValue]) -> None:
    if not values:
        raise ValueError(f"`space.{path}` has no values; list some, or leave the path out")
    if len(values) > MOST_VALUES:
        raise ValueError(f"`space.{path}` has {len(values)} values; the most are {MOST_VALUES}")
    if len({json.dumps(value, sort_keys=True) for value in values}) < len(values):
        raise ValueError(f"`space.{path}` lists a value twice; list each once")


class RungScore(BaseModel):
    """What a trial was scored with at one rung."""

    rung: int
    step: int = Field(description="After which it was scored.")
    accuracy: float = Field(description="Percent of the validation images; over seeds, their mean.")
    deviation: float | None = Field(
        description="Standard deviation in points: over the networks of the one seed, or over the means of several "
        "seeds. Null where there was one network only."
    )
    networks: int = Field(description="Over all seeds.")
    objective: float = Field(description="What trials are ranked by.")


class TrialDocument(BaseModel):
    """A point of the space."""

    index: int = Field(description="0, 1, … in the order of the space.")
    values: dict[str, Any] = Field(description="What it sets, by dotted path into the body of a job.")
    title: str = Field(description="The same in words.")
    iterations: int = Field(description="Steps that each of its jobs takes if it goes to the end; 0 for a coreset.")
    rung: int = Field(description="The rung that it is in, or was in at its end.")
    status: TrialState
    scores: list[RungScore] = Field(description="One for each rung in which it was scored.")
    jobs: list[str] = Field(description="One for each seed, in their order.")
    runtime_s: float = Field(description="Seconds that its jobs have run, as far as is recorded.")
    reason: str | None = Field(description="Why it was dropped or failed; null otherwise.")


class RungDocument(BaseModel):
    """A level of successive halving."""

    rung: int
    share: float = Field(description="Of its steps that a trial has taken there, 0 to 1.")
    trials: int = Field(description="That came so far.")
    scored: int
    ended: int = Field(description="That failed, expired or were cancelled there.")
    promoted: int = Field(description="That go on from there; in the last rung, the winner.")
    decided: bool


class ValidationScore(BaseModel):
    """Accuracy on the validation images in the last rung that a trial was scored in."""

    accuracy: float = Field(description="Percent.")
    deviation: float | None


class TestScore(BaseModel):
    """Accuracy on the test images, by networks and seeds that no rung saw."""

    mean: float = Field(description="Percent of the whole test set.")
    deviation: float = Field(description="Standard deviation over the networks, in points.")
    networks: int


class BestCoreset(BaseModel):
    """The best of the trials that keep real images as they are."""

    trial: int
    title: str
    validation: ValidationScore


class Winner(BaseModel):
    """The trial that won."""

    trial: int
    job_id: str
    validation: ValidationScore
    accuracy: TestScore | None = Field(description="Null until it is evaluated.")
    gap: float | None = Field(description="Points by which the test accuracy is above that on validation images.")
    best_coreset: BestCoreset | None = Field(description="Null where no coreset was tried and scored.")
    answer: str = Field(description="The outcome in one sentence.")


class Spent(BaseModel):
    """What the jobs have used, as far as is recorded."""

    jobs: int = Field(description="That a worker has begun.")
    steps: int
    minutes: float


class Refused(BaseModel):
    """Points of the space that are no jobs."""

    reason: str
    points: int


class Failures(BaseModel):
    """Trials that gave no score."""

    reason: str
    trials: int


class StudyError(BaseModel):
    """Why a study failed."""

    code: str
    message: str


class StudyDocument(BaseModel):
    """A study."""

    id: str
    object: Literal["study"] = "study"
    name: str | None
    labels: dict[str, str]
    priority: int
    status: StudyState
    spec: dict[str, Any] = Field(description="The request, with all defaults.")
    rungs: list[RungDocument]
    trials: list[TrialDocument]
    winner: Winner | None = Field(description="Null until the last rung is decided.")
    spent: Spent
    full_grid_steps: int = Field(description="Steps that all jobs would take if each went to its end.")
    ahead_minutes: float | None = Field(
        description="Minutes of running that are left by estimate, over all jobs; null where they cannot be told."
    )
    refused: list[Refused] = Field(description="Why points of the space are no trials.")
    failures: list[Failures] = Field(description="Why trials gave no score.")
    error: StudyError | None
    actions: list[str] = Field(description="What can be done with it now.")
    created_at: datetime
    finished_at: datetime | None
    updated_at: datetime
    version: int = Field(description="Grows with every change of this document; also its ETag.")
    links: dict[str, str]


class PlannedTrial(BaseModel):
    """A trial that a study would have."""

    index: int
    values: dict[str, Any]
    title: str
    iterations: int
    minutes: float | None = Field(description="That one of its jobs should take to its end; null where not known.")


class StudyValidation(BaseModel):
    """What a request would become."""

    object: Literal["study_validation"] = "study_validation"
    spec: dict[str, Any] = Field(description="The request, with all defaults.")
    points: int = Field(description="Of the whole space.")
    jobs: int
    trials: list[PlannedTrial]
    later: int = Field(0, description="Trials that `sampler`: `tpe` proposes once those are scored.")
    rungs: list[list[int]] = Field(description="For each rung, the step at which each trial is held there.")
    steps: int = Field(description="Steps of all jobs together, if as many go on as the rule says and no more.")
    full_grid_steps: int = Field(description="Steps that all jobs would take if each went to its end.")
    minutes: float | None = Field(description="Of running by estimate, over all jobs; null where it cannot be told.")
    refused: list[Refused]
    warnings: list[str]
