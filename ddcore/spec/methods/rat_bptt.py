"""Distillation as a bilevel problem, by back-propagation through windows of a training.

Released code: github.com/fengyzpku/Simple_Dataset_Distillation (RaT-BPTT) and github.com/GH209515338/AT-BPTT.
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

ADAM_PLACES = 3
"""Networks' worth of numbers at each place of a training by Adam: the network and two moments."""


@method_config
class RatBPTTConfig(MethodConfig):
    """Lower the loss that a fresh network has on real images, at a random place of its training."""

    extendable: ClassVar[bool] = True
    rates: ClassVar[tuple[str, ...]] = ("inner_lr", "lr_img")
    title: ClassVar[str] = "Random truncated back-propagation through time"
    citation: ClassVar[str] = (
        "Feng, Vedantam & Kempe, Embarrassingly Simple Dataset Distillation, ICLR 2024 (arXiv 2311.07025)"
    )
    cost: ClassVar[str] = (
        "heaviest: a network trained from scratch, a double backward pass of `window` of its steps, and a large real "
        "batch, a step"
    )
    departures: ClassVar[tuple[str, ...]] = (
        "Published figures for CIFAR are of whitened images under flips and rotations; a job is not whitened unless it "
        "gives `whitening`: true, and is augmented by `auto` unless it gives `augmentation`: 'flip_rotate'.",
        "The released command takes 60,000 passes over the real images, of 10 steps for CIFAR-10; the default is "
        "12,000 steps.",
        "A window is drawn in each step; the released command draws one for all steps of a pass over the real images.",
        "A real batch has equally many images of each class where the classes have so many.",
    )
    job_defaults: ClassVar[Mapping[str, Any]] = {"init": "noise"}
    trains_networks: ClassVar[bool] = True
    smoke: ClassVar[Mapping[str, Any]] = {"student_steps": 4, "window": 2, "batch_real": 8}

    name: Literal["rat_bptt"] = "rat_bptt"
    iterations: int = Field(12_000, ge=1, le=10_000_000, description="Image steps (released command: 600,000).")
    student_steps: int = Field(
        200, ge=1, le=10_000, description="T: training steps of a network at most (released: 200, 300)."
    )
    window: int = Field(
        60,
        ge=1,
        le=10_000,
        description="M: how many of its last training steps are differentiated through (released: 60, 100; AT-BPTT: "
        "40, 100). Memory grows by three networks with each.",
    )
    min_start: int = Field(
        0,
        ge=0,
        le=10_000,
        description="Training steps before the window at least; there are `min_start` to `student_steps` - `window` of "
        "them, at random (released: 0).",
    )
    window_rule: Literal["uniform", "at"] = Field(
        "uniform",
        description="How windows are chosen. `uniform`: the start at random. `at` (AT-BPTT), in three stages that "
        "follow the accuracy on real batches: at large gradients of a whole training that is done for this alone, "
        "longer where they change; then at random and long; then short, and late where gradients are large early.",
    )
    window_spread: int = Field(
        10,
        ge=0,
        le=10_000,
        description="By how much windows of `at` are shorter or longer than `window` (released: 10; CIFAR-100: 20).",
    )
    inner_lr: float = Field(1e-3, gt=0, description="Learning rate of the networks (Adam); it is not learned.")
    batch_syn: int = Field(
        10,
        ge=1,
        description="Synthetic images of each class a training step; capped at what a class has (released: 10, 1).",
    )
    batch_real: int = Field(
        500,
        ge=1,
        description="Real images of each class that the network is tested on (released: 5,000 in all; AT-BPTT on "
        "CIFAR-100: 1,000 in all).",
    )
    classes_per_step: int | None = Field(
        None, ge=2, description="Classes that take part in a training step, drawn anew each time. Default: all."
    )
    lr_img: float = Field(1e-3, gt=0, description="Learning rate of the images (Adam; released: 0.001, 0.0003).")
    clip_factor: float = Field(
        2.0,
        gt=0,
        description="The gradient of the images, regularisers included, is cut to so many times the running mean of "
        "its norm.",
    )
    clip_decay: float = Field(0.9, ge=0, lt=1, description="Weight of the earlier norms in that mean.")
    labels: Literal["hard", "learned"] = Field(
        "hard",
        description="Labels of the synthetic images: their class, or a weight of 0 or more for each class, learned "
        "with the images from the class on. These weights need not add up to 1.",
    )
    lr_labels: float | None = Field(
        None, gt=0, description="Learning rate of learned labels (Adam). Default: that of the images."
    )

    @property
    def label_rate(self) -> float:
        """Learning rate of learned labels."""
        return self.lr_img if self.lr_labels is None else self.lr_labels

    @property
    def own_labels(self) -> Literal["soft"] | None:
        """What was learned in the place of the classes."""
        return "soft" if self.labels == "learned" else None

    @property
    def longest_window(self) -> int:
        """Steps of the longest window."""
        return self.window + self.window_spread * (self.window_rule == "at")

    def impossible(self, job: JobSpec) -> Iterator[Problem]:
        """A window that does not fit into the training, and labels for images that a decoder makes."""
        room = self.student_steps - self.min_start
        most_spread = min(self.window - 1, room - self.window)
        if room < 1:
            detail = (
                f"`min_start` is {self.min_start}, but a network is trained for `student_steps` = {self.student_steps} "
                f"steps at most, which leaves none for a window; choose 0 to {self.student_steps - 1}"
            )
            yield Problem("/method/min_start", "window_beyond_training", detail)
        elif self.window > room:
            detail = (
                f"`window` is {self.window}, but a network is trained for `student_steps` = {self.student_steps} steps "
                f"at most, {self.min_start} of them before the window (`min_start`); choose 1 to {room}"
            )
            yield Problem("/method/window", "window_beyond_training", detail)
        elif self.window_rule == "at" and self.window_spread > most_spread:
            detail = (
                f"`window_spread` is {self.window_spread}, but windows of `window` = {self.window} steps cannot be so "
                f"much shorter and longer: at least 1 step, at most {room} (`student_steps` without `min_start`); "
                f"choose 0 to {most_spread}, or another `window`"
            )
            yield Problem("/method/window_spread", "window_beyond_training", detail)
        if self.labels == "learned" and job.decoder.name != "identity":
            detail = (
                f"`labels` is 'learned', which gives each stored image one label, but the decoder '{job.decoder.name}' "
                "makes several images of each; use 'hard' or the decoder 'identity'"
            )
            yield Problem("/method/labels", "labels_of_decoded_images", detail)

    def image_passes(self, load: Load) -> float:
        """Training up to the end of a window, the walk back through it, and the real batch.

        The rule ``at`` is taken in its third stage, where it ends up, and trains a network for its windows alone.
        """
        window, probe = self.window, 0
        if self.window_rule == "at":
            window, probe = self.window - self.window_spread, self.student_steps
        start = (self.min_start + self.student_steps - window) / 2
        trained = (probe + start + window) * self._images(load)
        return TRAINING * (trained + load.data.drawn(self.batch_real)) + TWICE * window * self._images(load)

    def way_back(self, load: Load) -> float:
        """Through the steps of a window."""
        return TWICE * self.window * self._images(load)

    def batches(self, job: JobSpec, load: Load) -> Iterator[Batch]:
        """A batch to train on, with second derivatives on the way back, and the real images."""
        yield Batch(job.network, self._images(load), 2)
        yield Batch(job.network, load.data.drawn(self.batch_real), 1)

    def networks_held(self, load: Load) -> int:  # noqa: ARG002 - equally many whatever the images
        """The network and its moments after each step of a window, and what the way back carries of all three."""
        return ADAM_PLACES * (self.longest_window + 1) + ADAM_PLACES * WAY_BACK // 2

    def _images(self, load: Load) -> int:
        """Synthetic images of a training step."""
        classes = min(self.classes_per_step or load.data.classes, load.data.classes)
        return classes * min(self.batch_syn, load.images)
