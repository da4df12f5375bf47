"""Feature alignment. Released code: distill.py of github.com/kaiwang960112/CAFE."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from ddcore.spec.base import MethodConfig, method_config
from ddcore.spec.errors import Problem
from ddcore.spec.memory import Batch
from ddcore.spec.work import TRAINING, Load

if TYPE_CHECKING:
    from ddcore.spec.job import JobSpec


@method_config
class CAFEConfig(MethodConfig):
    """Align class means at every level of a network in training, which synthetic centres also have to classify."""

    extendable: ClassVar[bool] = True
    title: ClassVar[str] = "Feature alignment"
    citation: ClassVar[str] = "Wang et al., CAFE, CVPR 2022 (arXiv 2203.01531)"
    cost: ClassVar[str] = (
        "heavy: every image step trains a network for some 10 epochs and tests it on 128 real images of each class "
        "after each of them"
    )
    departures: ClassVar[tuple[str, ...]] = (
        "`max_image_steps` and `max_network_epochs` are ours: the released loops need not end.",
    )
    job_defaults: ClassVar[Mapping[str, Any]] = {"init": "noise", "augmentation": "none"}
    matches_features: ClassVar[bool] = True
    smoke: ClassVar[Mapping[str, Any]] = {
        "window": 3,
        "query_images": 16,
        "max_image_steps": 4,
        "max_network_epochs": 4,
        "batch_real": 8,
        "batch_train": 16,
    }

    name: Literal["cafe"] = "cafe"
    iterations: int = Field(
        200_100,
        ge=1,
        le=10_000_000,
        description="Image steps, at most: the run also ends after `networks`. The released code counts only these, "
        "each with as many image steps as it takes, from `window` on; the default is so many that they decide.",
    )
    networks: int | None = Field(
        2001,
        ge=1,
        le=10_000_000,
        description="Networks (outer iterations) after which the run ends if `iterations` have not been taken by "
        "then (released code: 2001); null for none.",
    )
    lr_img: float = Field(0.1, gt=0, description="Learning rate of the images (released code: 0.1).")
    halve_at: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (1200, 1600, 1800),
        description="Numbers of finished networks at which the learning rate of the images is halved, whatever "
        "`iterations` and `networks` are (released code: 1200, 1600 and 1800 of 2001).",
    )
    momentum: float = Field(0.5, ge=0, lt=1, description="Momentum of the image optimiser (SGD).")
    weight_early: float = Field(
        0.1,
        ge=0,
        description="Weight of the squared distance of class means before the pooling of every block but the last "
        "(released code: 0.1).",
    )
    weight_late: float = Field(
        1.0,
        ge=0,
        description="The same for the last block, before its pooling and after it, and for the features, which "
        "repeat the latter (released code: 1).",
    )
    weight_discrimination: float = Field(
        0.01,
        ge=0,
        description="Weight of the cross-entropy, summed over real images, of classifying them by the inner products "
        "of their features with the synthetic class means (released code: 0.01).",
    )
    lambda_1: float = Field(
        0.04,
        ge=0,
        description="A network is replaced when the last `window` query accuracies after its image steps differ by "
        "less than this (released code: 0.04).",
    )
    lambda_2: float = Field(
        0.03,
        ge=0,
        description="Training of the network between two image steps ends when the last `window` query accuracies "
        "after its epochs differ by more than this (released code: 0.03).",
    )
    window: int = Field(10, ge=2, le=1000, description="Query accuracies that are compared (released code: 10).")
    leaky: bool = Field(
        True,
        description="Whether each query accuracy adds a share of the one before, a_t = acc_t + a_{t-1} / classes, as "
        "the released code does: `lambda_1` and `lambda_2` then act on a slightly larger, smoother signal.",
    )
    query_images: int = Field(
        128,
        ge=1,
        description="Real training images of each class that a query draws anew and scores, un-augmented; capped at "
        "the class size (released code: 128).",
    )
    max_image_steps: int = Field(
        100,
        ge=1,
        le=10_000_000,
        description="Image steps after which a network is replaced in any case. Ours: the released loop may not end.",
    )
    max_network_epochs: int = Field(
        100,
        ge=1,
        le=1_000_000,
        description="Epochs of training between two image steps, at most. Ours: the released loop does not end once "
        "a network's accuracy has become flat.",
    )
    lr_net: float = Field(0.01, gt=0, description="Learning rate of the network (SGD without momentum or decay).")
    batch_real: int = Field(256, ge=1, description="Real images of each class a step; capped at the class size.")
    batch_train: int = Field(256, ge=1, description="Synthetic images a training step of the network.")

    def learning_rate(self, networks: int) -> float:
        """Learning rate of the images once so many networks are finished.

        >>> [CAFEConfig().learning_rate(n) for n in (0, 1199, 1200, 1600, 2000)]
        [0.1, 0.1, 0.05, 0.025, 0.0125]
        """
        return self.lr_img * 0.5 ** sum(networks >= milestone for milestone in self.halve_at)

    def impossible(self, job: JobSpec) -> Iterator[Problem]:
        """Batch normalisation, through which the classes could not be taken one by one."""
        if getattr(job.network, "norm", None) == "batch":
            detail = (
                f"`cafe` takes classes one by one, but the `batch` normalisation of `{job.network.name}` mixes them; "
                "use another `norm`, or the `convnet` network"
            )
            yield Problem("/network/norm", "method_without_batch_norm", detail)

    def image_passes(self, load: Load) -> float:
        """The real batch, the synthetic images forward and then both ways, and a query after it."""
        return load.data.drawn(self.batch_real) + (1 + TRAINING) * load.synthetic + self._query(load)

    def passes(self, load: Load) -> float:
        """Steps, and after all but the last of a network the least training and querying of it."""
        steps = load.steps if self.networks is None else min(load.steps, self.networks * self.max_image_steps)
        trained = steps - steps // self.max_image_steps
        epochs = min(self.window, self.max_network_epochs)
        return steps * self.image_passes(load) + trained * epochs * (TRAINING * load.synthetic + self._query(load))

    def batches(self, job: JobSpec, load: Load) -> Iterator[Batch]:
        """Those of a matching step, the images of a query, and a batch to train on."""
        yield from super().batches(job, load)
        yield Batch(job.network, load.data.scored(self._query(load)))
        yield Batch(job.network, min(self.batch_train, load.synthetic), 1, whole=True)

    def _query(self, load: Load) -> int:
        return load.data.drawn(self.query_images)
