"""Images that move a linear classifier on frozen features as the real ones do.

Released code: github.com/GeorgeCazenavette/linear-gradient-matching.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from ddcore.spec.backbones import BackboneConfig, two_networks
from ddcore.spec.base import MethodConfig, NetworkConfig, method_config
from ddcore.spec.errors import Problem
from ddcore.spec.memory import Batch
from ddcore.spec.teachers import TeacherConfig
from ddcore.spec.work import TRAINING, Load

if TYPE_CHECKING:
    from ddcore.spec.job import JobSpec


@method_config
class LinearGradientConfig(MethodConfig):
    """Matches the gradient that real and synthetic images give a random linear classifier on frozen features."""

    title: ClassVar[str] = "Linear gradient matching"
    citation: ClassVar[str] = (
        "Cazenavette, Torralba & Sitzmann, Dataset Distillation for Pre-Trained Self-Supervised Vision Models, NeurIPS "
        "2025 (arXiv 2511.16674)"
    )
    cost: ClassVar[str] = (
        "medium: a network trained on the real images, or a `backbone`, then a forward pass of as many real images and "
        "a forward and backward pass of `views` views of every synthetic image a step"
    )
    departures: ClassVar[tuple[str, ...]] = (
        "The source takes networks that others trained on other images without labels (DINO-v2, CLIP, EVA-02, "
        "MoCo-v3) at 224 pixels; here that is `backbone`, whose file an operator has to provide, and without it "
        "`teacher` is trained on the real images of the job.",
        "The source scores its sets by linear classifiers on the frozen features (`evaluation.protocol` "
        "'linear_probe'); here a job is scored as it asks, by default by networks trained from scratch.",
        "The source enlarges a crop of images of 256 pixels to 224; here images and their crops keep their size, and "
        "a `backbone` that takes another one sees them resized.",
        "The source mirrors images half of the time; here only those of datasets whose classes survive it.",
        "The source calls its noise with a mean of 0.5 and a deviation of 0.2, in pixel units; what it makes of the "
        "mean is not known, and here it is 0.",
    )
    job_defaults: ClassVar[Mapping[str, Any]] = {"init": "noise"}
    decoders: ClassVar[tuple[str, ...]] = ("identity",)
    extendable: ClassVar[bool] = True
    smoke: ClassVar[Mapping[str, Any]] = {
        "teacher": {"network": {"name": "convnet", "width": 4}, "epochs": 1},
        "views": 2,
        "grow_every": 2,
    }

    name: Literal["linear_gradient"] = "linear_gradient"
    iterations: int = Field(5000, ge=1, le=10_000_000, description="Steps of every image (released code: 5,000).")
    lr_img: float = Field(2e-3, gt=0, description="Learning rate of Adam on the levels that images are sums of.")
    grow_every: int = Field(
        200,
        ge=1,
        le=10_000_000,
        description="Steps after which a level of twice the side is added, from 1 x 1 pixel to the whole image.",
    )
    views: int = Field(
        10,
        ge=1,
        le=1000,
        description="Augmented views of every synthetic image in a step, and real images for each of them. The source "
        "takes 3 on ImageNet, for want of memory; here the slope is exact in groups of classes.",
    )
    smallest: float = Field(
        0.08, gt=0, le=1, description="Least area of the crop that makes a view, as a share of the image."
    )
    noise: float = Field(
        0.2, ge=0, le=10, description="Standard deviation of the Gaussian noise on every view, in pixel units."
    )
    head_std: float = Field(
        0.01,
        gt=0,
        le=100,
        description="Standard deviation of the weights of the random classifiers; their biases are 0.",
    )
    teacher: TeacherConfig = Field(
        default_factory=TeacherConfig,
        description="Network whose features the classifiers are put on, the same for all steps. The seed decides on "
        "one of the pool; only that is trained.",
    )

    backbone: BackboneConfig | None = Field(
        None,
        description="Network that others trained, in the place of `teacher`: a file of weights that lies on the "
        "machine of the engine. Null: `teacher`.",
    )

    @property
    def frozen(self) -> NetworkConfig:
        """The network that has the features."""
        return self.backbone or self.teacher.network

    def teachers(self) -> Iterator[tuple[TeacherConfig, int]]:
        """One of the pool, unless there is a backbone."""
        if self.backbone is None:
            yield self.teacher, 1

    def steps_network(self, job: JobSpec) -> NetworkConfig:  # noqa: ARG002 - it has one of its own
        """The frozen one."""
        return self.frozen

    def image_passes(self, load: Load) -> float:
        """Real images forward, views forward and backward; forward once more where they go group by group."""
        views = self.views * load.synthetic
        again = views if self._together(load) < views else 0
        return float(min(views, load.data.drawable) + TRAINING * views + again)

    def batches(self, job: JobSpec, load: Load) -> Iterator[Batch]:  # noqa: ARG002 - it has a network of its own
        """Real images without a graph, and views of some classes with one."""
        real = min(self.views * load.synthetic, load.data.drawable)
        yield Batch(self.frozen, load.data.at_once(real, 1, self.frozen))
        yield Batch(self.frozen, self._together(load), 1, whole=True)

    def _together(self, load: Load) -> int:
        """Views whose graphs are in memory at once."""
        return load.data.at_once(self.views * load.synthetic, self.views * load.images, self.frozen)

    def networks_held(self, load: Load) -> int:  # noqa: ARG002 - its network is counted elsewhere
        """None but the frozen one."""
        return 0

    def impossible(self, job: JobSpec) -> Iterator[Problem]:
        """Images to begin with that are not noise, whitened pixels, and two frozen networks."""
        if self.backbone is not None and self.teacher != TeacherConfig():
            yield two_networks("/method")
        if job.init != "noise":
            detail = (
                f"`linear_gradient` begins with noise, level by level, but `init` is '{job.init}'; use 'noise', or "
                "leave it out"
            )
            yield Problem("/init", "starts_from_noise", detail)
        if job.whitening:
            detail = "`linear_gradient` keeps pixels within their range, which `whitening` has none of; use false"
            yield Problem("/whitening", "method_without_whitening", detail)
