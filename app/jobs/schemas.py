"""Jobs as JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints

from app.core.closed import Closed
from app.core.text import Storable
from app.models.states import Kind, State
from ddcore.spec.results import Results

LabelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_./-]{0,62}$")]
LabelValue = Annotated[str, StringConstraints(max_length=256), Storable]
Labels = Annotated[dict[LabelName, LabelValue], Field(max_length=32)]
Name = Annotated[str, StringConstraints(max_length=200), Storable]
Priority = Annotated[int, Field(ge=0, le=9)]


class Limits(Closed):
    """How long a job may take; the service's own limits apply where they are lower."""

    max_runtime_s: float | None = Field(None, gt=0, allow_inf_nan=False, description="Seconds of running, in all.")
    max_queue_s: float | None = Field(None, gt=0, allow_inf_nan=False, description="Seconds of waiting in the queue.")
    ignore_estimate: bool = Field(
        False, description="Whether to queue the job though its estimate is over a limit or over every worker's memory."
    )


class Envelope(Closed):
    """What a submission says beside the specification."""

    name: Name | None = Field(None, description="For people; need not be unique.")
    labels: Labels = Field({}, description="At most 32 names and values to filter by.")
    priority: Priority = Field(5, description="0 to 9; higher runs first.")
    limits: Limits = Field(Limits(), description="How long the job may take.")


class CheckpointDocument(BaseModel):
    """A saved state of a job, from which it can go on."""

    object: Literal["checkpoint"] = "checkpoint"
    id: str
    step: int = Field(description="Steps that it was saved after.")
    attempt: int
    size: int = Field(description="Bytes.")
    sha256: str
    metrics: dict[str, float | None] = Field(description="Last readings before it.")
    created_at: datetime


class CancelRequest(Closed):
    """How to end a job early."""

    keep_result: bool = Field(False, description="Whether to write the images as they are, unscored.")
    reason: Annotated[str, Storable] | None = Field(None, max_length=500, description="Recorded with the job's events.")


class RetryRequest(Closed):
    """How to try a failed job again."""

    from_scratch: bool = Field(False, description="Whether to ignore its checkpoints.")


class CloneRequest(Closed):
    """How a copy of a job shall differ."""

    overrides: dict[str, Any] = Field(
        {}, description="JSON merge patch (RFC 7396) over the submission: specification, name, labels, …"
    )


class ExtendRequest(Closed):
    """How far a finished job shall go on."""

    iterations: int = Field(ge=1, le=10_000_000, description="Steps to take beyond those that the job has taken.")


class PatchRequest(Closed):
    """What may be changed of a job at any time."""

    name: Name | None = None
    labels: Labels | None = Field(None, description="Replaces all labels.")
    priority: Priority | None = None


class LimitsDocument(BaseModel):
    """The limits that apply."""

    max_runtime_s: float
    max_queue_s: float
    checkpoint_every_s: float | None = Field(description="Null for jobs that save no state between.")


class PhaseAhead(BaseModel):
    """A phase of a job under way."""

    phase: str
    share: float = Field(description="Of the whole job by its estimate, 0 to 1.")
    done: float = Field(description="Finished share of the phase, 0 to 1; 1 where nothing of it is to be done.")
    remaining_s: float | None = Field(description="Seconds; null where they cannot be told.")


class Plan(BaseModel):
    """How far the job is over all its phases, trained networks included."""

    phases: list[PhaseAhead]
    done: float = Field(description="Finished share of the whole job, 0 to 1.")
    remaining_s: float | None = Field(description="Seconds until the job ends; null where they cannot be told.")


class JobProgress(BaseModel):
    """How far the job is. Steps count the distillation; ``phase_*`` count the work of the current phase."""

    step: int
    total_steps: int
    fraction: float = Field(description="Finished share of the steps, 0 to 1.")
    eta_s: float | None = Field(description="Seconds until the current phase ends, at its present speed.")
    steps_per_s: float | None = Field(description="Speed, in units of the current phase a second.")
    phase_done: int
    phase_total: int | None
    plan: Plan | None = Field(None, description="Null until the dataset is loaded, and where the job does not run.")


class LastMetrics(BaseModel):
    """Last readings; null where there is none yet, or where it was not a finite number."""

    loss: float | None = Field(None, description="Of the method alone.")
    loss_total: float | None = Field(
        None, description="With each regulariser times its weight (`loss/total`); null without regularisers."
    )
    mi_lower_bound: float | None = Field(None, description="Nats.")
    cmi: float | None = Field(None, description="Nats.")
    at_step: int


class JobCondition(BaseModel):
    """One aspect of the job's situation, in the manner of Kubernetes."""

    type: Literal["Validated", "Queued", "LeaseHeld", "CheckpointFresh", "ArtifactsReady"]
    status: bool
    last_transition_at: datetime | None


class JobError(BaseModel):
    """Why the job failed."""

    code: str
    message: str
    param: str | None = None
    retryable: bool = False
    attempt: int | None = None


class JobDocument(BaseModel):
    """A job."""

    id: str
    object: Literal["job"] = "job"
    kind: Kind = Field(
        Kind.DISTILLATION,
        description="What it does: distil a set, take a user's own images in, or score a set of others.",
    )
    dataset_id: str | None = Field(None, description="The user's own set that it is about, `set_…`.")
    name: str | None
    status: State
    phase: str | None = Field(description="validating, loading, pretraining, distilling, evaluating or finalizing.")
    spec: dict[str, Any] = Field(description="The normalised specification.")
    limits: LimitsDocument
    labels: dict[str, str]
    priority: int
    attempt: int = Field(description="Times a worker has begun it.")
    max_attempts: int = Field(description="Failures after which it is given up.")
    progress: JobProgress
    last_metrics: LastMetrics | None
    results: Results | None = Field(description="Accuracy beside its controls, once scored.")
    conditions: list[JobCondition]
    error: JobError | None
    desired: Literal["run", "pause", "cancel"]
    actions: list[str] = Field(description="What can be done with it now.")
    parent_id: str | None = Field(description="The job that it is a copy of, or goes on from.")
    study_id: str | None = Field(None, description="The study that it belongs to and that lets it go on.")
    trial: int | None = Field(None, description="Index of the point of the study's space that it tries.")
    hold_at: int | None = Field(None, description="Steps after which its study holds it; null where none does.")
    created_at: datetime
    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    runtime_s: float | None = Field(
        None, description="Seconds that workers ran it, without pauses; null before its end, and if none took it."
    )
    updated_at: datetime
    version: int = Field(description="Grows with every change of this document; also its ETag.")
    links: dict[str, str]


class PlannedPhase(BaseModel):
    """One phase of a job that has not begun."""

    phase: str
    units: int | None = Field(description="Units of its work where known: steps, networks.")
    image_passes: float | None = Field(description="Images through a network, a backward pass counting as two.")
    seconds: dict[str, float] = Field({}, description="Likely seconds by device class, where they are known.")


class Seconds(BaseModel):
    """How long a job should run: the likely value, and a span that the true one should lie in."""

    low: float
    expected: float
    high: float
    measured: bool = Field(description="Whether jobs of this installation are behind it, not the speed of any machine.")
    basis: str = Field(description="What it rests on.")


class Estimate(BaseModel):
    """What a job should cost: a model of its work, at the speed of the jobs that this installation has run."""

    image_passes: float
    flop: float = Field(description="Floating-point operations.")
    seconds: dict[str, Seconds] = Field(description="By device class: `cpu`, `cuda`.")
    peak_bytes: dict[str, int] = Field(
        description="Most memory by device class: of the whole process on `cpu`, of tensors on `cuda`."
    )
    available: list[str] = Field(
        [], description="Those of the device classes that a live worker would run it on; empty where none is alive."
    )
    distilled_bytes: int = Field(description="Size of the distilled images.")
    basis: str = Field(description="What the seconds rest on, of all device classes.")


class Validation(BaseModel):
    """What a submission would become."""

    object: Literal["validation"] = "validation"
    spec: dict[str, Any]
    warnings: list[str]
    plan: list[PlannedPhase]
    estimate: Estimate | None = Field(description="Null where the dataset's size is not known beforehand.")
