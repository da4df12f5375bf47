"""CMI: conditional mutual information of the synthetic set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from ddcore.spec.base import NetworkConfig, regularizer_config
from ddcore.spec.errors import Problem
from ddcore.spec.regularizers.base import Weighted, more_images
from ddcore.spec.teachers import TeacherConfig
from ddcore.spec.work import TRAINING, Load

if TYPE_CHECKING:
    from ddcore.spec.job import JobSpec


@regularizer_config
class CMIConfig(Weighted):
    """Lower the class-conditional mutual information of the synthetic set in a teacher's feature space."""

    extendable: ClassVar[bool] = True
    title: ClassVar[str] = "Class-aware conditional mutual information"
    citation: ClassVar[str] = "Zhong et al., ICLR 2025 (arXiv 2412.09945)"
    cost: ClassVar[str] = "one forward and backward of the synthetic set through a teacher a step"
    departures: ClassVar[tuple[str, ...]] = (
        "Published teachers are 200 to 1000 ResNet-18 trained for 40 epochs in batches of 256; the default is one "
        "ConvNet trained for 4 epochs in batches of 128. The presets `paper/…+cmi-…` have the published ones, 200.",
    )
    smoke: ClassVar[Mapping[str, Any]] = {"teacher": TeacherConfig.smoke}

    name: Literal["cmi"] = "cmi"
    teacher: TeacherConfig = Field(default_factory=TeacherConfig, description="Pool of pretrained networks.")

    def teachers(self, job: JobSpec) -> Iterator[tuple[TeacherConfig, int]]:  # noqa: ARG002
        """The pool."""
        yield self.teacher, self.teacher.pool

    def image_passes(self, job: JobSpec, load: Load) -> Iterator[tuple[NetworkConfig, float]]:  # noqa: ARG002
        """The synthetic images both ways through a teacher."""
        yield self.teacher.network, TRAINING * load.synthetic

    def impossible(self, job: JobSpec) -> Iterator[Problem]:
        """One image a class, which has no spread."""
        if job.fewest_images_per_class == 1:
            mosaic = "the decoder 'mosaic', " if "mosaic" in job.method.usable_decoders() else ""
            detail = (
                "CMI is identically zero with one image a class (a class of one has no spread); "
                f"use {more_images(job)}, {mosaic}or drop `cmi`"
            )
            yield Problem(self.pointer(job), "cmi_needs_several_images", detail)
