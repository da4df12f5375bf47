"""Rules that keep real images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from ddcore.spec.base import MethodConfig, NetworkConfig, method_config
from ddcore.spec.errors import Problem
from ddcore.spec.memory import Batch
from ddcore.spec.teachers import TeacherConfig
from ddcore.spec.work import DataSizes, Load

if TYPE_CHECKING:
    from ddcore.spec.job import JobSpec


class CoresetConfig(MethodConfig):
    """What every rule that keeps real images shares."""

    classes_apart: ClassVar[bool] = True
    decoders: ClassVar[tuple[str, ...]] = ("identity",)
    starts_real: ClassVar[bool] = True
    keeps_real_pixels: ClassVar[bool] = True

    iterations: int = Field(0, ge=0, le=0, description="A coreset takes no steps.")

    def image_passes(self, load: Load) -> float:  # noqa: ARG002 - there are no steps
        """None."""
        return 0.0

    def batches(self, job: JobSpec, load: Load) -> Iterator[Batch]:  # noqa: ARG002 - there are no steps
        """None."""
        yield from ()

    def networks_held(self, load: Load) -> int:  # noqa: ARG002 - there are no steps
        """None but that of the teacher."""
        return 0

    def impossible(self, job: JobSpec) -> Iterator[Problem]:
        """Noise to start from."""
        if job.init != "real":
            detail = f"`{self.name}` keeps real images, but `init` is '{job.init}'; use 'real'"
            yield Problem("/init", "coreset_is_real", detail)


@method_config
class RandomConfig(CoresetConfig):
    """Keep real images drawn uniformly from each class: the floor that distillation has to beat."""

    title: ClassVar[str] = "Random subset"
    citation: ClassVar[str] = "baseline of every table; Cui et al., DC-BENCH, NeurIPS 2022 (arXiv 2207.09639)"
    cost: ClassVar[str] = "free: nothing is optimised"

    name: Literal["random"] = "random"


class FeatureCoresetConfig(CoresetConfig):
    """What the rules that look at features of a trained network share."""

    cost: ClassVar[str] = "light: a network trained on the real images, then one forward pass of them"
    smoke: ClassVar[Mapping[str, Any]] = {"teacher": {**TeacherConfig.smoke, "pool": 20}}

    teacher: TeacherConfig = Field(
        default_factory=lambda: TeacherConfig(pool=20),
        description="Networks whose features are compared. The seed decides on one of the pool; only that is trained.",
    )

    def teachers(self) -> Iterator[tuple[TeacherConfig, int]]:
        """One of the pool."""
        yield self.teacher, 1

    def looks(self, job: JobSpec, data: DataSizes) -> Iterator[tuple[NetworkConfig, float]]:  # noqa: ARG002 - any job
        """Every real image, for its features."""
        yield self.teacher.network, data.train


@method_config
class HerdingConfig(FeatureCoresetConfig):
    """Keep the real images whose running mean stays closest to their class mean in feature space."""

    title: ClassVar[str] = "Herding"
    citation: ClassVar[str] = "Welling, ICML 2009; Rebuffi et al., iCaRL, CVPR 2017 (arXiv 1611.07725)"

    name: Literal["herding"] = "herding"


@method_config
class KCenterConfig(FeatureCoresetConfig):
    """Keep real images that leave none of their class far away in feature space, greedily."""

    title: ClassVar[str] = "K-Center"
    citation: ClassVar[str] = "Sener & Savarese, ICLR 2018 (arXiv 1708.00489); Farahani & Hekmatfar, 2009"

    name: Literal["k_center"] = "k_center"


@method_config
class KMeansConfig(FeatureCoresetConfig):
    """Keep the real images nearest to the centroids of their class's k-means clusters in feature space."""

    title: ClassVar[str] = "K-means"
    citation: ClassVar[str] = "Cui et al., DC-BENCH, NeurIPS 2022 (arXiv 2207.09639)"

    name: Literal["k_means"] = "k_means"
