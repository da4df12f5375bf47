"""Matching of training trajectories at the difficulty that a set has room for.

Released code: github.com/NUS-HPC-AI-Lab/DATM.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from ddcore.spec.base import method_config
from ddcore.spec.errors import Problem
from ddcore.spec.methods.trajectory import ExpertsConfig, TrajectoryConfig
from ddcore.spec.work import DataSizes

if TYPE_CHECKING:
    from ddcore.spec.job import JobSpec


def _flat() -> ExpertsConfig:
    return ExpertsConfig(rho=0.01, alpha=0.3)


@method_config
class DATMConfig(TrajectoryConfig):
    """Trajectory matching with learned labels, along windows that move to later, harder epochs of flat experts."""

    title: ClassVar[str] = "Difficulty-aligned trajectory matching"
    citation: ClassVar[str] = "Guo et al., DATM, ICLR 2024 (arXiv 2310.05773); experts of Du et al., FTD, CVPR 2023"
    starts_real: ClassVar[bool] = True
    stageable: ClassVar[bool] = False
    decoders: ClassVar[tuple[str, ...]] = ("identity",)
    departures: ClassVar[tuple[str, ...]] = (
        "Published figures are of whitened images; a job is not whitened unless it gives `whitening`: true.",
        "`student_steps`, `min_start`, `early_start`, `max_start`, `expansion`, `lr_img`, `lr_lr` and `lr_labels` are "
        "published for each dataset and number of images; the presets `paper/datm-…` hold them. Steps at default rates "
        "are limited (`max_move`, `max_change`), published ones are not.",
        "An image that no expert classifies right begins with the mean of all their logits, where the released code "
        "divides by zero.",
    )

    name: Literal["datm"] = "datm"
    iterations: int = Field(10_000, ge=1, le=10_000_000, description="Image steps (paper: 10,000).")
    student_steps: int = Field(
        80, ge=1, le=10_000, description="N: training steps of the student on the synthetic images (paper: 20 to 100)."
    )
    min_start: int = Field(
        0, ge=0, le=999, description="First snapshot that a student may start from (paper: 0 to 70)."
    )
    early_start: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="At step 0 the student starts before this snapshot; the end then grows to `max_start`. "
        "Default: `max_start` from the first step on.",
    )
    expansion: int = Field(1000, ge=1, le=10_000_000, description="Steps until that end has grown to `max_start`.")
    lr_labels: float = Field(2.0, gt=0, description="Learning rate of the logits of the labels (SGD; paper: 2 to 10).")
    momentum_labels: float = Field(0.9, ge=0, lt=1, description="Momentum of its optimiser.")
    threshold: float = Field(
        1.0, gt=0, description="A step whose loss is above this moves nothing (paper: 1; on CIFAR-10 at one image 1.1)."
    )
    labels: Literal["learned"] = Field(  # type: ignore[assignment] # other labels than those of the base
        "learned", description="Labels are learned with the images; they begin as what the experts say of them."
    )
    gradient: Literal["exact", "tesla"] = Field("exact", description="As for `mtt`.")
    experts: ExpertsConfig = Field(
        default_factory=_flat, description="Networks trained on the real images, by default to flat minima."
    )

    @property
    def own_labels(self) -> Literal["soft"] | None:
        """Those that it learns."""
        return "soft"

    def starts(self, index: int) -> range:
        """Snapshots that the student of a step may start from.

        >>> config = DATMConfig(min_start=0, early_start=10, max_start=20, expansion=1000)
        >>> [config.starts(index).stop for index in (0, 500, 1000, 5000)]
        [10, 15, 20, 20]
        """
        early = self.max_start if self.early_start is None else self.early_start
        grown = early + (self.max_start - early) * index // self.expansion
        return range(self.min_start, min(grown, self.max_start))

    def pretraining_passes(self, job: JobSpec, data: DataSizes) -> float:
        """The experts, one of which looks at all real images, and all at those that are kept."""
        kept = job.ipc * data.classes
        return super().pretraining_passes(job, data) + data.train + self.experts.count * kept

    def impossible(self, job: JobSpec) -> Iterator[Problem]:
        """Windows that are empty, or end before they begin, and images to start from that are not real."""
        yield from super().impossible(job)
        early = self.max_start if self.early_start is None else self.early_start
        if early > self.max_start:
            detail = f"`early_start` is {early}, above `max_start` = {self.max_start}; choose 1 to {self.max_start}"
            yield Problem("/method/early_start", "window_shrinks", detail)
        elif early <= self.min_start:
            detail = (
                f"students start at snapshot {self.min_start} (`min_start`) or later, but before snapshot {early}, so "
                f"there is none; choose `min_start` of at most {early - 1}"
            )
            yield Problem("/method/min_start", "empty_window", detail)
        if job.init != "real":
            detail = (
                f"`{self.name}` begins with real images that experts classify right, but `init` is '{job.init}'; use "
                "'real'"
            )
            yield Problem("/init", "starts_real", detail)
