"""Metrics as JSON: one array for each column, which is several times smaller than one object for each row."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

Aggregate = Literal["minmax", "mean", "last", "raw"]
Number = float | None


class MetricSummary(BaseModel):
    """One series of a job."""

    name: str = Field(examples=["loss"])
    first_step: int
    last_step: int
    count: int = Field(description="Finite readings.")
    nonfinite: int = Field(description="Readings that are NaN or infinite.")
    last: Number = Field(description="Reading at `last_step`; null where it is not finite.")
    min: Number
    max: Number


class MetricList(BaseModel):
    """The series of a job, by name."""

    object: Literal["list"] = "list"
    data: list[MetricSummary]


class Series(BaseModel):
    """Part of a series; row `i` is the `i`-th entry of each array. Columns that `agg` does not ask for are absent."""

    job_id: str
    key: str
    level: int = Field(description="What the rows were made from: 0 readings, otherwise summaries of 2^level steps.")
    width: int = Field(description="Steps that a row covers at most.")
    exact: bool = Field(description="Whether each row is a single reading.")
    step_min: list[int] | None = Field(None, description="First step with a reading.")
    step_max: list[int] | None = Field(None, description="Last step with a reading.")
    n: list[int] | None = Field(None, description="Finite readings.")
    nonfinite: list[int] | list[str | None] | None = Field(
        None, description="Number of readings that are NaN or infinite; with `agg=raw`: null, `nan`, `inf` or `-inf`."
    )
    min: list[Number] | None = None
    max: list[Number] | None = None
    mean: list[Number] | None = None
    last: list[Number] | None = Field(None, description="Reading at `step_max`; null where it is not finite.")
    step: list[int] | None = Field(None, description="With `agg=raw`: the step of each reading.")
    value: list[Number] | None = Field(None, description="With `agg=raw`: the readings; null where not finite.")
    wall_time: list[str] | None = Field(None, description="With `agg=raw`: when, by the worker's clock.")
    next_step: int | None = Field(None, description="With `agg=raw`: `step_from` of the following readings, if any.")


class SeriesList(BaseModel):
    """Series of one job or of several."""

    object: Literal["metric_series"] = "metric_series"
    agg: Aggregate
    series: list[Series]
    unknown: list[str] = Field(description="Metrics asked for that have no reading (yet).")
