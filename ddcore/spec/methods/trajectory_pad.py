"""Matching of training trajectories of experts that saw images of fitting difficulty, in the deeper layers alone.

Released code: github.com/NUS-HPC-AI-Lab/PAD.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from ddcore.spec.base import NetworkConfig, method_config
from ddcore.spec.curriculum import CurriculumConfig
from ddcore.spec.methods.trajectory_datm import DATMConfig
from ddcore.spec.teachers import TeacherConfig
from ddcore.spec.work import DataSizes

if TYPE_CHECKING:
    from ddcore.spec.job import JobSpec


@method_config
class PADConfig(DATMConfig):
    """DATM along experts that saw easy images first and hard ones last, compared without their shallow layers."""

    title: ClassVar[str] = "Prioritized alignment of trajectories"
    citation: ClassVar[str] = (
        "Li et al., Prioritize Alignment in Dataset Distillation (PAD), 2024 (arXiv 2408.03360); on DATM of Guo et "
        "al., ICLR 2024"
    )
    cost: ClassVar[str] = "as `datm`, and `curriculum.scorers` networks more for the difficulty of the images"
    departures: ClassVar[tuple[str, ...]] = (
        *DATMConfig.departures,
        "The source reads the difficulty of the images from a file that another project made; here "
        "`curriculum.scorers` are trained on the job's images.",
        "Its paper and its released configurations disagree on `depth_ratio` and on some windows; the default is the "
        "paper's at 10 and 50 images a class of CIFAR-10.",
    )
    smoke: ClassVar[Mapping[str, Any]] = {
        **DATMConfig.smoke,
        "curriculum": {
            "initial": 0.5,
            "added_by": 1,
            "first_removal": 1,
            "scorers": {"network": {"name": "convnet", "width": 4}, "epochs": 1, "pool": 2},
        },
    }

    name: Literal["pad"] = "pad"  # type: ignore[assignment] # a method of its own, under its own name
    depth_ratio: float = Field(
        0.25,
        ge=0,
        lt=1,
        description="Share of the network's parameters, from the first layer on, that student and expert are not "
        "compared in (paper: 0 at one image, 0.25 to 0.75 with more).",
    )
    curriculum: CurriculumConfig = Field(
        default_factory=CurriculumConfig, description="Which real images each epoch of the experts takes."
    )

    @property
    def expert_curriculum(self) -> CurriculumConfig:
        """As given."""
        return self.curriculum

    def teachers(self) -> Iterator[tuple[TeacherConfig, int]]:
        """All that say how hard images are."""
        yield self.curriculum.scorers, self.curriculum.scorers.pool

    def looks(self, job: JobSpec, data: DataSizes) -> Iterator[tuple[NetworkConfig, float]]:  # noqa: ARG002 - theirs
        """All real images, through each of them."""
        yield self.curriculum.scorers.network, float(self.curriculum.scorers.pool * data.train)

    def _images_of_expert(self, data: DataSizes) -> int:
        epochs = range(self.trained_to)
        return sum(len(self.curriculum.part(epoch, count)) for epoch in epochs for count in data.counts)
