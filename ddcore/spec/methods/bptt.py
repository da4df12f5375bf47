"""Distillation as a bilevel problem, by back-propagation through time.

Released code: github.com/princetonvisualai/RememberThePast-DatasetDistillation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from ddcore.spec.base import MethodConfig, method_config
from ddcore.spec.errors import Problem
from ddcore.spec.memory import Batch
from ddcore.spec.work import TRAINING, TWICE, WAY_BACK, Load

if TYPE_CHECKING:
    from ddcore.spec.job import JobSpec


@method_config
class BPTTConfig(MethodConfig):
    """Lower the loss that a fresh network has on real images after its training on the synthetic ones."""

    extendable: ClassVar[bool] = True
    rates: ClassVar[tuple[str, ...]] = ("inner_lr", "lr_img")
    title: ClassVar[str] = "Back-propagation through time"
    citation: ClassVar[str] = "Deng & Russakovsky, Remember the Past, NeurIPS 2022 (arXiv 2206.02916)"
    cost: ClassVar[str] = "heaviest: a network trained from scratch and a double backward pass of all its steps, a step"
    departures: ClassVar[tuple[str, ...]] = (
        "The published figure for CIFAR-10 at 1 image a class without memories is of whitened images; a job is not "
        "whitened unless it gives `whitening`: true.",
        "The authors take up to 500,000 image steps, the default 10,000.",
    )
    job_defaults: ClassVar[Mapping[str, Any]] = {"init": "noise", "augmentation": "none"}
    decoders: ClassVar[tuple[str, ...]] = ("identity", "mosaic", "addressed")
    trains_networks: ClassVar[bool] = True
    smoke: ClassVar[Mapping[str, Any]] = {"student_steps": 3, "window": 3, "batch_real": 8}

    name: Literal["bptt"] = "bptt"
    iterations: int = Field(10_000, ge=1, le=10_000_000, description="Image steps (paper: up to 500,000).")
    student_steps: int = Field(150, ge=1, le=10_000, description="T: training steps of each network (paper: 150).")
    window: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="How many of the last training steps are differentiated through. Default: all, as published.",
    )
    inner_lr: float = Field(0.01, gt=0, description="Learning rate of the networks; it is not learned.")
    inner_momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of the networks' training (SGD).")
    batch_syn: int = Field(
        10,
        ge=1,
        description="Synthetic images of each class a training step; capped at what a class has (paper: 10, 32).",
    )
    batch_real: int = Field(64, ge=1, description="Real images of each class that the trained network is tested on.")
    classes_per_step: int | None = Field(
        None, ge=2, description="Classes that take part in a step, drawn anew each time. Default: all (paper: 10)."
    )
    lr_img: float = Field(0.1, gt=0, description="Learning rate of what is stored of the images.")
    momentum: float = Field(0.5, ge=0, lt=1, description="Momentum of the image optimiser (SGD).")
    max_norm: float = Field(
        2.0, gt=0, description="The gradient of all that is learned is cut to this norm, regularisers included."
    )
    penalty: float = Field(
        0.0,
        ge=0,
        description="Weight of the norm of the coefficients in the loss, with the decoder `addressed` (the paper's "
        "1e-4 was added where it has no effect).",
    )
    penalty_norm: Literal["l1", "l2"] = Field("l2", description="Which norm; `l2` is not squared.")

    def impossible(self, job: JobSpec) -> Iterator[Problem]:
        """A window longer than the training, and a penalty on what is not there."""
        if self.window is not None and self.window > self.student_steps:
            detail = (
                f"`window` is {self.window}, but a network is trained for `student_steps` = {self.student_steps} steps "
                f"only; choose 1 to {self.student_steps}, or none"
            )
            yield Problem("/method/window", "window_beyond_training", detail)
        if self.penalty and job.decoder.name != "addressed":
            detail = (
                f"`penalty` is {self.penalty}, but only the decoder 'addressed' has coefficients and this job has "
                f"'{job.decoder.name}'; use 0 or the decoder 'addressed'"
            )
            yield Problem("/method/penalty", "nothing_to_penalise", detail)

    def image_passes(self, load: Load) -> float:
        """Training, the walk back through it, and the real batch."""
        taking_part = self._classes(load)
        training = TRAINING * self.student_steps * taking_part * min(self.batch_syn, load.images)
        tested = TRAINING * load.data.drawn(self.batch_real) * taking_part / load.data.classes
        return training + self.way_back(load) + tested

    def way_back(self, load: Load) -> float:
        """Through the steps of the window."""
        images = self._classes(load) * min(self.batch_syn, load.images)
        return TWICE * (self.window or self.student_steps) * images

    def batches(self, job: JobSpec, load: Load) -> Iterator[Batch]:
        """A batch to train on, with second derivatives on the way back, and the real images."""
        yield Batch(job.network, self._classes(load) * min(self.batch_syn, load.images), 2)
        yield Batch(job.network, load.data.drawn(self.batch_real) * self._classes(load) // load.data.classes, 1)

    def networks_held(self, load: Load) -> int:  # noqa: ARG002 - equally many whatever the images
        """The network after each step of the window, and what the way back carries."""
        return (self.window or self.student_steps) + 1 + WAY_BACK

    def _classes(self, load: Load) -> int:
        """Classes that take part in a step."""
        return min(self.classes_per_step or load.data.classes, load.data.classes)
