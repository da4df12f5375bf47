"""Comparisons as JSON."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from app.compare.probes import Comparable
from app.models.states import State
from ddcore.spec.results import Score

Number = float | None


class NamedScore(BaseModel):
    """The score of a control."""

    name: str = Field(description="Of the control, such as `herding`.")
    score: Score


class ComparedJob(BaseModel):
    """What came of one job. Scores are those of its first architecture; null where there are none (yet)."""

    id: str
    name: str | None
    status: State
    dataset: str
    method: str
    ipc: int = Field(description="Images per class.")
    seed: int
    kind: int = Field(description="Position in `kinds`; jobs of one kind differ in the seed only.")
    step: int = Field(description="Steps taken.")
    total_steps: int | None
    accuracy: Score | None
    random: Score | None = Field(description="Of random real images under the identical recipe.")
    best_coreset: NamedScore | None = Field(
        description="The control `best_coreset`; where a job has none, the best of the real subsets that it scored."
    )
    minutes: Number = Field(description="Of running, without pauses; null before its end.")
    bytes: int | None = Field(description="Size of the file of the distilled images.")
    teacher_bytes: int | None = Field(None, description="Size of the teacher that labels every batch; null for none.")
    label_bytes: int | None = Field(None, description="Size of its labels of epochs, stored instead; null for none.")
    loss: Number = Field(description="Last reading; null where it is not finite.")
    mi_lower_bound: Number = Field(description="Nats; last reading.")
    cmi: Number = Field(description="Nats; last reading.")


class Spread(BaseModel):
    """A score over several jobs, or over the networks of one."""

    mean: float = Field(description="Percent.")
    std: float = Field(description="Population standard deviation, in points.")
    n: int
    over: Literal["seeds", "networks"] = Field(description="What the deviation is over.")


class KindOfJob(BaseModel):
    """Jobs that differ in the seed only, and what came of them together."""

    label: str = Field(examples=["dm + cmi 2000, ipc 10"], description="What tells it from the other kinds.")
    made_by: str = Field(examples=["dm + cmi 2000"], description="Method and regularisers, with their strengths.")
    dataset: str
    ipc: int
    job_ids: list[str]
    seeds: list[int]
    accuracy: Spread | None
    random: Spread | None
    best_coreset: Spread | None
    minutes: Number = Field(description="Mean over the jobs that have ended.")
    bytes: Number = Field(description="Mean over the jobs.")


class DifferingField(BaseModel):
    """A field of the specification that is not the same in all jobs."""

    path: str = Field(examples=["method.iterations"], description="As `ddctl submit --set` takes it.")
    values: dict[str, Any] = Field(description="By job; a job whose specification has no such field is absent.")


class Curve(BaseModel):
    """A metric that some of the jobs report, and whether its levels compare."""

    key: str
    title: str
    unit: str
    comparable: Comparable
    note: str | None = Field(description="Why it does not compare, or what to heed.")
    random: Number = Field(
        description="The same of random real images, mean over jobs; null where there is none, or where jobs differ in "
        "dataset, images per class or recipe."
    )
    best_coreset: Number = Field(description="The same of the best coreset, likewise.")


class Comparison(BaseModel):
    """Jobs side by side."""

    object: Literal["comparison"] = "comparison"
    jobs: list[ComparedJob] = Field(description="In the order in which they were asked for.")
    kinds: list[KindOfJob]
    differences: list[DifferingField] = Field(description="Empty where all specifications are the same.")
    curves: list[Curve]
    recipes: int = Field(
        description="By how many recipes the jobs train the networks that score them. Accuracies compare within one."
    )
    link: str = Field(description="The page that shows it.")


class Band(BaseModel):
    """A metric of the jobs of one kind; point `i` is the `i`-th entry of each array.

    A point joins the same steps of all the jobs. `mean` is the mean over jobs, `std` their population standard
    deviation, `low` and `high` are the least and the greatest single reading.
    """

    kind: int = Field(description="Position in `kinds` of the comparison.")
    label: str
    job_ids: list[str] = Field(description="Jobs with readings.")
    exact: bool = Field(description="Whether each point is a single reading of each job.")
    step_min: list[int]
    step_max: list[int]
    n: list[int] = Field(description="Jobs with a finite reading.")
    nonfinite: list[int]
    mean: list[Number]
    std: list[Number]
    low: list[Number]
    high: list[Number]


class Bands(BaseModel):
    """One metric of several jobs, those that differ in the seed only joined."""

    object: Literal["metric_bands"] = "metric_bands"
    key: str
    comparable: Comparable
    note: str | None = Field(description="Why the bands are not there, or what to heed.")
    bands: list[Band] = Field(description="Empty where the readings do not compare.")
