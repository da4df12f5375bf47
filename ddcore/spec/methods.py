"""What every distillation method can be told. Sources: methods/matching, one section a method."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from ddcore.spec.base import MethodConfig, method_config
from ddcore.spec.errors import Problem
from ddcore.spec.regularizers import TeacherConfig

if TYPE_CHECKING:
    from ddcore.spec.job import JobSpec


@method_config
class DMConfig(MethodConfig):
    """Match the class means of the embeddings of real and synthetic images under random networks."""

    title: ClassVar[str] = "Distribution matching"
    citation: ClassVar[str] = "Zhao & Bilen, WACV 2023 (arXiv 2110.04181)"
    cost: ClassVar[str] = "light: one forward pass of the real batch a step, no second derivatives"

    name: Literal["dm"] = "dm"
    iterations: int = Field(20_000, ge=1, le=10_000_000, description="Image steps (paper: 20,000).")
    lr_img: float = Field(
        1.0, gt=0, description="Learning rate of the images; 1 presumes losses summed over features and classes."
    )
    momentum: float = Field(0.5, ge=0, lt=1, description="Momentum of the image optimiser (SGD).")
    batch_real: int = Field(256, ge=1, description="Real images of each class a step; capped at the class size.")


class GradientMatchingConfig(MethodConfig):
    """What gradient matching can be told, with augmentation (``dsa``) and without (``dc``)."""

    cost: ClassVar[str] = (
        "heavy: a forward and backward pass of the real batch, second derivatives of the synthetic images, and the "
        "training of a network on them"
    )

    iterations: int = Field(
        10_010,
        ge=1,
        le=10_000_000,
        description="Image steps; the network is new after every `outer_loop` of them. The papers use 1001 networks: "
        "1,001 steps at 1 image per class, 10,010 at 10, 50,050 at 50.",
    )
    outer_loop: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="T: image steps with each network, which is trained on the synthetic images between them. "
        "Default: `ipc`, at most 50, as published.",
    )
    inner_loop: int | None = Field(
        None,
        ge=0,
        le=10_000,
        description="Epochs of that training after each image step but the last of a network. Default by `ipc`, as "
        "published for the largest of each range: 2-10: 50, 11-20: 25, 21-30: 20, 31-40: 15, from 41: 10; at 1 the "
        "network is never trained.",
    )
    distance: Literal["ours", "mse", "cos"] = Field(
        "ours",
        description="How gradients are compared: 1 - cosine summed over output nodes, without biases (`ours`, as "
        "published); sum of squared differences of all parameters (`mse`); 1 - cosine of all parameters as one "
        "vector (`cos`).",
    )
    lr_img: float = Field(0.1, gt=0, description="Learning rate of the images (papers: 0.1; 0.01 with an MLP).")
    momentum: float = Field(0.5, ge=0, lt=1, description="Momentum of the image optimiser (SGD).")
    lr_net: float = Field(0.01, gt=0, description="Learning rate of the network (SGD without momentum or decay).")
    batch_real: int = Field(256, ge=1, description="Real images of each class a step; capped at the class size.")
    batch_train: int = Field(256, ge=1, description="Synthetic images a training step of the network.")

    def loops(self, ipc: int) -> tuple[int, int]:
        """Image steps with each network, and epochs of training after each of them but the last.

        >>> [DCConfig().loops(ipc) for ipc in (1, 2, 10, 20, 30, 40, 50, 100)]
        [(1, 1), (2, 50), (10, 50), (20, 25), (30, 20), (40, 15), (50, 10), (50, 10)]
        """
        published = {1: 1, 10: 50, 20: 25, 30: 20, 40: 15}
        epochs = next((epochs for most, epochs in published.items() if ipc <= most), 10)
        return self.outer_loop or min(ipc, 50), epochs if self.inner_loop is None else self.inner_loop

    def image_passes(self, ipc: int, classes: int, class_size: int) -> float:
        """Gradients of the real batch, second derivatives of the synthetic images, and training on these."""
        steps, epochs = self.loops(ipc)
        real, trained = 3 * min(self.batch_real, class_size), 3 * epochs * ipc * (steps - 1) / steps
        return classes * (real + 9 * ipc + trained)


@method_config
class DCConfig(GradientMatchingConfig):
    """Match the gradients that real and synthetic images give a network, along its training on the latter."""

    title: ClassVar[str] = "Gradient matching"
    citation: ClassVar[str] = "Zhao, Mopuri & Bilen, Dataset Condensation, ICLR 2021 (arXiv 2006.05929)"
    job_defaults: ClassVar[Mapping[str, Any]] = {"init": "noise", "augmentation": "none"}

    name: Literal["dc"] = "dc"

    def impossible(self, job: JobSpec) -> Iterator[Problem]:
        """Augmentation, which makes it ``dsa``."""
        if job.augmentation != "none":
            detail = (
                f"`dc` matches images as they are, but `augmentation` is '{job.augmentation}'; use 'none', or the "
                "method `dsa` (`evaluation.augmentation` is free)"
            )
            yield Problem("/augmentation", "method_without_augmentation", detail)


@method_config
class DSAConfig(GradientMatchingConfig):
    """Match gradients under one and the same random augmentation of real and synthetic images."""

    title: ClassVar[str] = "Gradient matching with Siamese augmentation"
    citation: ClassVar[str] = "Zhao & Bilen, DSA, ICML 2021 (arXiv 2102.08259)"

    name: Literal["dsa"] = "dsa"

    def impossible(self, job: JobSpec) -> Iterator[Problem]:
        """No augmentation, which makes it ``dc``."""
        if job.augmentation == "none":
            detail = "`dsa` without augmentation is `dc`; use 'auto' or some operations, or the method `dc`"
            yield Problem("/augmentation", "method_needs_augmentation", detail)


class CoresetConfig(MethodConfig):
    """What every rule that keeps real images shares."""

    decoders: ClassVar[tuple[str, ...]] = ("identity",)

    iterations: int = Field(0, ge=0, le=0, description="A coreset takes no steps.")

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

    teacher: TeacherConfig = Field(
        default_factory=lambda: TeacherConfig(pool=20),
        description="Networks whose features are compared. The seed decides on one of the pool; only that is trained.",
    )


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
