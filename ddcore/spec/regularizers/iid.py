"""IID: relations between samples and between features."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from ddcore.spec.base import NetworkConfig, regularizer_config
from ddcore.spec.errors import Problem
from ddcore.spec.regularizers.base import Weighted, more_images
from ddcore.spec.teachers import TeacherConfig
from ddcore.spec.work import TRAINING, Load

if TYPE_CHECKING:
    from ddcore.spec.job import JobSpec


@regularizer_config
class IIDConfig(Weighted):
    """Gather the images of a class in a teacher's feature space, and match how channels of features vary together.

    ``weight`` or ``relative`` scales the sum of both parts; at a weight of 1 their coefficients are the two lambdas
    of the paper.
    """

    extendable: ClassVar[bool] = True
    title: ClassVar[str] = "Inter-sample and inter-feature relations"
    citation: ClassVar[str] = "Deng et al., CVPR 2024 (arXiv 2404.00563)"
    cost: ClassVar[str] = (
        "one forward and backward of the synthetic set through the method's network, and one through a teacher, a step"
    )
    compares_features: ClassVar[bool] = True
    departures: ClassVar[tuple[str, ...]] = (
        "Published teachers are 1000 ResNet-18 trained for 40 epochs in batches of 256 with a weight decay of 5e-4; "
        "the default is one ConvNet trained for 4 epochs in batches of 128 with 1e-3. The presets `paper/…+iid-…` have "
        "the published ones, but fewer.",
        "Coefficients are published for CIFAR-10 at 10 images a class alone.",
    )
    smoke: ClassVar[Mapping[str, Any]] = {"teacher": TeacherConfig.smoke}

    name: Literal["iid"] = "iid"
    covariance: float = Field(
        0.01,
        ge=0,
        description="lambda_CM, coefficient of covariance matching; 0 leaves it out. Default: as published for "
        "CIFAR-10 at 10 images per class, 0.03 beside `idm` and `bacon`, 0.01 (that with DM) beside others.",
    )
    centralization: float = Field(
        0.05,
        ge=0,
        description="lambda_CC, coefficient of class centralisation; 0 leaves it out, and needs no teachers. Default: "
        "as published, 0.01 beside `idm` and `bacon`, 0.05 (that with DM) beside others.",
    )
    teacher: TeacherConfig = Field(default_factory=TeacherConfig, description="Pool of pretrained networks.")

    def defaults_in(self, job: JobSpec) -> Mapping[str, Any]:
        """The coefficients that the authors' commands have with IDM, which BACON is but for its distance."""
        with_idm = job.method.matcher.name in ("idm", "bacon")
        return {"covariance": 0.03, "centralization": 0.01} if with_idm else {}

    @model_validator(mode="after")
    def _some_part(self) -> IIDConfig:
        if not self.covariance and not self.centralization:
            raise ValueError("`iid` has a `covariance` and a `centralization` of 0, which leaves nothing; raise one")
        return self

    def teachers(self, job: JobSpec) -> Iterator[tuple[TeacherConfig, int]]:  # noqa: ARG002
        """The pool, where a part of the term looks through one."""
        if self.centralization:
            yield self.teacher, self.teacher.pool

    def image_passes(self, job: JobSpec, load: Load) -> Iterator[tuple[NetworkConfig, float]]:
        """The synthetic images both ways through the network of the method, through a teacher, or through both."""
        if self.covariance:
            yield job.network, TRAINING * load.synthetic
        if self.centralization:
            yield self.teacher.network, TRAINING * load.synthetic

    def reads_real_features(self) -> bool:
        """For the covariances only."""
        return self.covariance > 0

    def impossible(self, job: JobSpec) -> Iterator[Problem]:
        """One image a class, and a network that mixes the images of a batch."""
        if job.fewest_images_per_class == 1:
            detail = (
                "IID does nothing with one image a class (a class of one has neither spread nor covariance); "
                f"use {more_images(job)}, the decoder 'mosaic', or drop `iid`"
            )
            yield Problem(self.pointer(job), "iid_needs_several_images", detail)
        if self.covariance and getattr(job.network, "norm", None) == "batch":
            detail = (
                "`iid` compares covariances class by class, but batch normalisation lets the classes of a batch "
                "influence each other; use `network.norm`: 'instance', or `covariance`: 0"
            )
            yield Problem(self.pointer(job), "iid_needs_single_images", detail)
