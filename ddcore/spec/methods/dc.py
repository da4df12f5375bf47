"""Gradient matching, with augmentation and without.

Released code: main.py and utils.py of github.com/VICO-UoE/DatasetCondensation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from ddcore.spec.base import MethodConfig, method_config
from ddcore.spec.errors import Problem
from ddcore.spec.memory import Batch
from ddcore.spec.work import TRAINING, TWICE, Load

if TYPE_CHECKING:
    from ddcore.spec.job import JobSpec

NETWORKS = 1001
"""Outer iterations of the released code, at every number of images per class."""
MOST_STEPS = 10_000_000


class GradientMatchingConfig(MethodConfig):
    """What gradient matching can be told, with augmentation (``dsa``) and without (``dc``)."""

    extendable: ClassVar[bool] = True
    cost: ClassVar[str] = (
        "heavy: a forward and backward pass of the real batch, second derivatives of the synthetic images, and the "
        "training of a network on them"
    )
    matches_features: ClassVar[bool] = True
    stageable: ClassVar[bool] = True
    samplers: ClassVar[tuple[str, ...]] = ("random", "representative")
    smoke: ClassVar[Mapping[str, Any]] = {"inner_loop": 4, "batch_real": 8, "batch_train": 16}

    iterations: int = Field(
        10_010,
        ge=1,
        le=MOST_STEPS,
        description="Image steps; the network is new after every `outer_loop` of them. Default: those of 1001 "
        "networks, as published, which is 1,001 steps at 1 image per class, 10,010 at 10, 50,050 at 50.",
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

    def defaults_in(self, job: JobSpec) -> Mapping[str, Any]:
        """The steps of 1001 networks."""
        steps, _ = self.loops(job.images_per_class)
        return {"iterations": min(NETWORKS * steps, MOST_STEPS)}

    def loops(self, ipc: int) -> tuple[int, int]:
        """Image steps with each network, and epochs of training after each of them but the last.

        >>> [DCConfig().loops(ipc) for ipc in (1, 2, 10, 20, 30, 40, 50, 100)]
        [(1, 1), (2, 50), (10, 50), (20, 25), (30, 20), (40, 15), (50, 10), (50, 10)]
        """
        published = {1: 1, 10: 50, 20: 25, 30: 20, 40: 15}
        epochs = next((epochs for most, epochs in published.items() if ipc <= most), 10)
        return self.outer_loop or min(ipc, 50), epochs if self.inner_loop is None else self.inner_loop

    def image_passes(self, load: Load) -> float:
        """Gradients of the real batch and of frozen images, and second derivatives of those that move."""
        synthetic = TWICE * load.moving + TRAINING * (load.images - load.moving)
        return TRAINING * load.data.drawn(self.batch_real) + load.data.classes * synthetic

    def passes(self, load: Load) -> float:
        """Steps, and after all but the last of a network its training."""
        steps, epochs = self.loops(load.images)
        trained = load.steps - load.steps // steps
        return load.steps * self.image_passes(load) + trained * TRAINING * epochs * load.synthetic

    def batches(self, job: JobSpec, load: Load) -> Iterator[Batch]:
        """Of one class at a time the real images and those with second derivatives, and a batch to train on."""
        yield Batch(job.network, self.batch_real, 1)
        yield Batch(job.network, load.images, 2, whole=True)
        yield Batch(job.network, min(self.batch_train, load.synthetic), 1, whole=True)


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
