"""Matching under networks in training: IDM and BACON.

Released code: github.com/uitrbn/IDM and github.com/zhouzhengqd/BACON, with the settings in their command.txt.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from ddcore.spec.base import method_config
from ddcore.spec.errors import Problem
from ddcore.spec.memory import Batch
from ddcore.spec.methods.dm import COMPARISON, FeatureComparison, FeatureMatchingConfig
from ddcore.spec.regularizers.bacon import BACON_TRADE_OFF, BACON_VARIANT
from ddcore.spec.work import TRAINING, Load

if TYPE_CHECKING:
    from ddcore.spec.job import JobSpec


class QueueMatchingConfig(FeatureMatchingConfig):
    """What matching under a queue of networks in training can be told (``idm``, ``bacon``)."""

    cost: ClassVar[str] = (
        "medium: a forward pass of the real batch, and `networks_trained` x `network_steps` training steps of networks "
        "on real images"
    )
    departures: ClassVar[tuple[str, ...]] = (
        "Defaults are those of CIFAR-10. For CIFAR-100 published are `ce_weight` 0.1 from 10 images a class, and "
        "`network_steps` 50 at 10 and 40 (`idm`) or 50 (`bacon`) at 50; the presets `paper/idm-cifar100-…` and "
        "`paper/bacon-cifar100-…` hold them.",
        "Between 1, 10 and 50 images a class nothing is published; the setting of the next smaller number holds.",
    )
    job_defaults: ClassVar[Mapping[str, Any]] = {"decoder": {"name": "mosaic", "factor": 2}}
    smoke: ClassVar[Mapping[str, Any]] = {
        **FeatureMatchingConfig.smoke,
        "queue_size": 4,
        "grow_every": 1,
        "network_steps": 2,
        "eval_interval": 4,
        "batch_train": 16,
    }

    iterations: int = Field(20_000, ge=1, le=10_000_000, description="Image steps (paper: 20,000).")
    lr_img: float = Field(
        0.2,
        gt=0,
        description="Learning rate of the images (published: 0.2), whose optimiser steps once for each class: at a "
        "momentum of 0.5, that goes twice as far as one step for all.",
    )
    momentum: float = Field(0.5, ge=0, lt=1, description="Momentum of the image optimiser (SGD).")
    batch_real: int = Field(
        256,
        ge=1,
        description="Real images of each class a step; capped at the class size. Default: as published for CIFAR-10, "
        "256, but 5000 (the whole class) at 1 image a class.",
    )
    ce_weight: float = Field(
        0.5,
        ge=0,
        description="w: the cross-entropy of the synthetic images weighs w x the accuracy of the network in percent, "
        "0 to 100. Default: as published for CIFAR-10, 0.5, but 0.1 from 50 images a class (of CIFAR-100: from 10).",
    )
    queue_start: int = Field(3, ge=1, le=1000, description="Networks in the queue before the first step.")
    queue_size: int = Field(
        100,
        ge=1,
        le=1000,
        description="Networks in the queue at most; the oldest makes room. Memory and every checkpoint hold weights "
        "and momentum of each: 256 MB for 100 ConvNets of width 128 on 32 x 32 images of 10 classes.",
    )
    grow_every: int = Field(
        30,
        ge=1,
        description="G: steps from one new network to the next. Default: as published, 30, but 5 at 1 image a class.",
    )
    networks_trained: int = Field(2, ge=1, le=1000, description="Networks of the queue trained after each step.")
    network_steps: int = Field(
        10, ge=1, le=10_000, description="M: training steps of each of them (published: 10; 50 or 40 for CIFAR-100)."
    )
    batch_train: int = Field(256, ge=1, description="Real images of mixed classes in such a step.")
    lr_net: float = Field(0.01, gt=0, description="Learning rate of the networks (SGD).")
    momentum_net: float = Field(0.9, ge=0, lt=1, description="Momentum of the networks.")
    weight_decay: float = Field(5e-4, ge=0, description="Weight decay of the networks.")
    eval_interval: int = Field(
        100,
        ge=1,
        description="Steps after which the accuracy of every network is counted anew. The released code does so at "
        "each of its evaluations; until it has been trained again, a network has an accuracy of 0 and no "
        "cross-entropy. How often a job evaluates does not matter here. Default: as published for CIFAR-10, 100, but "
        "500 from 50 images a class.",
    )

    def defaults_in(self, job: JobSpec) -> Mapping[str, Any]:
        """What the released commands for CIFAR-10 have at 1, 10 and 50 images of each class; ours in between."""
        if job.ipc == 1:
            return {"batch_real": 5000, "grow_every": 5}
        return {"ce_weight": 0.1, "eval_interval": 500} if job.ipc >= 50 else {}

    def impossible(self, job: JobSpec) -> Iterator[Problem]:
        """A queue that starts longer than it may become."""
        yield from super().impossible(job)
        if self.queue_start > self.queue_size:
            detail = (
                f"`method.queue_start` is {self.queue_start}, but `method.queue_size` allows {self.queue_size}; "
                "start with fewer networks or allow more"
            )
            yield Problem("/method/queue_start", "queue_overfull", detail)

    def image_passes(self, load: Load) -> float:
        """The real batch forward, the synthetic images both ways, and the training of networks."""
        batch = min(self.batch_train, load.data.drawable)
        training = TRAINING * min(self.networks_trained, self.queue_size) * self.network_steps * batch
        return super().image_passes(load) + training

    def batches(self, job: JobSpec, load: Load) -> Iterator[Batch]:
        """Those of a matching step, and a batch to train on."""
        yield from super().batches(job, load)
        yield Batch(job.network, min(self.batch_train, load.data.drawable), 1, whole=True)

    def networks_held(self, load: Load) -> int:
        """Weights and momentum of every network of the queue."""
        return 2 * min(self.queue_size, self.queue_start - (-load.steps // self.grow_every))


@method_config
class IDMConfig(QueueMatchingConfig):
    """Match class means under networks in training, and have these classify the synthetic images."""

    title: ClassVar[str] = "Improved distribution matching"
    citation: ClassVar[str] = "Zhao, Li, Qin & Yu, CVPR 2023 (arXiv 2307.09742)"

    name: Literal["idm"] = "idm"
    distance: FeatureComparison = Field("mean", description=COMPARISON)

    @property
    def comparison(self) -> FeatureComparison:
        """How the features of a class are compared."""
        return self.distance


@method_config
class BACONConfig(QueueMatchingConfig):
    """IDM with a Bayesian bound on the risk in place of the distance of the class means."""

    title: ClassVar[str] = "Bayesian optimal condensation"
    citation: ClassVar[str] = "Zhou et al., 2024 (arXiv 2406.01112)"

    name: Literal["bacon"] = "bacon"
    variant: Literal["released", "paper"] = Field("released", description=BACON_VARIANT)
    trade_off: float = Field(0.8, ge=0, le=1, description=BACON_TRADE_OFF)

    @property
    def comparison(self) -> FeatureComparison:
        """How the features of a class are compared."""
        return "bacon" if self.variant == "released" else "bacon_paper"
