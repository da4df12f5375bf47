"""Matching of characteristic functions. Released code: github.com/gszfwsb/NCFM."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from ddcore.spec.base import method_config
from ddcore.spec.catalog import SpecModel
from ddcore.spec.errors import Problem
from ddcore.spec.memory import Batch
from ddcore.spec.methods.dm import FeatureMatchingConfig
from ddcore.spec.work import TRAINING, DataSizes, Load

if TYPE_CHECKING:
    from ddcore.spec.job import JobSpec

BY_SGD = {"lr_img": 0.01}
"""What the released code sets otherwise where the images learn by SGD."""
BY_NETWORK = {"frequencies": 256}
"""Frequencies that differ where a network makes them: the released code repeats each of them 16 times."""


class PairsConfig(SpecModel):
    """Networks of the job's architecture, each as it was drawn and after a training on the real images.

    They are found by what they depend on (data, network, augmentation, this recipe, precision, versions), so jobs share
    them. The rate falls to a fifth after two thirds of the epochs, and again after five sixths.
    """

    count: int = Field(20, ge=1, le=1000, description="How many pairs (paper: 20). All of them stay in memory.")
    epochs: int = Field(60, ge=1, le=1000, description="Training epochs (paper: 60).")
    lr: float = Field(0.01, gt=0, description="Learning rate (SGD).")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum.")
    weight_decay: float = Field(5e-4, ge=0, description="Weight decay.")
    batch_size: int = Field(128, ge=1, description="Real images a training step (released code: 128).")
    cutmix: float = Field(
        0.5, ge=0, le=1, description="Probability that CutMix (Beta(1, 1)) mixes a batch, in the place of cutout."
    )


@method_config
class NCFMConfig(FeatureMatchingConfig):
    """Match the characteristic functions of features under networks on the way through a training on real images."""

    title: ClassVar[str] = "Neural characteristic function matching"
    citation: ClassVar[str] = "Wang et al., NCFM, CVPR 2025 (arXiv 2502.20653)"
    cost: ClassVar[str] = (
        "medium: a forward pass of a large real batch and two passes of the synthetic images a step, after 20 networks "
        "that are trained on the real images"
    )
    departures: ClassVar[tuple[str, ...]] = (
        "`frequency_sampler` 'network' climbs the loss, as the paper has it. The released code adds up the slope and "
        "its negative before that step, so its network stays as it was drawn.",
        "Images are clamped to pixel values after a step instead of before one, so that those delivered are such.",
    )
    job_defaults: ClassVar[Mapping[str, Any]] = {
        "decoder": {"name": "mosaic", "factor": 2},
        "augmentation": "color_crop_cutout",
    }
    shrink: ClassVar[Literal["nearest"]] = "nearest"
    smoke: ClassVar[Mapping[str, Any]] = {
        **FeatureMatchingConfig.smoke,
        "frequencies": 16,
        "pairs": {"count": 2, "epochs": 1},
    }

    name: Literal["ncfm"] = "ncfm"
    iterations: int = Field(20_000, ge=1, le=10_000_000, description="Sweeps over all classes (paper: 20,000).")
    frequency_sampler: Literal["gaussian", "network"] = Field(
        "gaussian",
        description="Where the frequencies of a comparison come from: `gaussian`, independent N(0, 1) entries; or a "
        "`network` that follows the slope of the loss upwards after each class. The paper reports 0.7 to 10 points "
        "more with the network, which has 50 MB of weights for 2,048 features.",
    )
    frequencies: int = Field(
        4096,
        ge=2,
        le=1_000_000,
        description="Frequencies of a comparison, drawn anew for each class (paper: 4096). Default: with a `network` "
        "the 256 that differ in the released code, which repeats each 16 times.",
    )
    lr_frequencies: float = Field(1e-3, gt=0, description="Learning rate of that network (SGD).")
    momentum_frequencies: float = Field(0.5, ge=0, lt=1, description="Momentum of that network's SGD.")
    amplitude: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="Weight a of the difference of amplitudes; that of phases is 1 - a. At 0.5 their sum is the "
        "distance of the two functions (paper: 0.5).",
    )
    calibration: float = Field(
        1.0,
        ge=0,
        description="Weight of the cross-entropy of the synthetic images under the trained network, which a second "
        "sweep of a step descends; 0 for no such sweep (paper: 1).",
    )
    optimizer: Literal["adamw", "sgd"] = Field(
        "adamw",
        description="Of the images, which steps once for each class in either sweep: `adamw`, or `sgd` (released for "
        "CIFAR-100 at 10 images a class).",
    )
    lr_img: float = Field(
        1e-3,
        gt=0,
        description="Learning rate of the stored images in pixel units. Released: 0.01, of which AdamW takes a tenth. "
        "Default: that tenth, but 0.01 with `sgd`.",
    )
    momentum: float = Field(0.5, ge=0, lt=1, description="Momentum of the images' SGD.")
    weight_decay: float = Field(5e-4, ge=0, description="Weight decay of the images' AdamW, towards black.")
    patience: int | None = Field(
        500,
        ge=0,
        le=10_000_000,
        description="Steps without a better loss after which `lr_img` is halved (released code: 500; with a `network` "
        "so many that it never is); null for never.",
    )
    batch_real: int = Field(
        1024, ge=1, description="Real images of each class a step; capped at the class size (paper: 1024)."
    )
    pairs: PairsConfig = Field(
        default_factory=PairsConfig, description="Networks trained on the real images, between whose ends those lie."
    )

    def defaults_in(self, job: JobSpec) -> Mapping[str, Any]:  # noqa: ARG002 - they follow what else was given
        """What belongs to the chosen optimiser and source of frequencies."""
        by_sgd = BY_SGD if self.optimizer == "sgd" else {}
        return {**by_sgd, **(BY_NETWORK if self.frequency_sampler == "network" else {})}

    def impossible(self, job: JobSpec) -> Iterator[Problem]:
        """Pixels that are mixed, or networks whose running statistics would be."""
        yield from super().impossible(job)
        if job.whitening:
            detail = f"`{self.name}` learns and clamps pixels from 0 to 1, which `whitening` mixes; use false"
            yield Problem("/whitening", "method_without_whitening", detail)
        if getattr(job.network, "norm", None) == "batch":
            detail = (
                f"`{self.name}` matches under weights between two networks, for which the `batch` normalisation of "
                f"`{job.network.name}` has no statistics; use another `norm`, or the `convnet` network"
            )
            yield Problem("/network/norm", "method_without_batch_norm", detail)

    @property
    def networks_pretrained(self) -> int:
        """One a pair."""
        return self.pairs.count

    def pretraining_passes(self, job: JobSpec, data: DataSizes) -> float:  # noqa: ARG002 - they see real images alone
        """Training of the pairs."""
        return TRAINING * self.pairs.count * self.pairs.epochs * data.train

    def image_passes(self, load: Load) -> float:
        """The real batch forward, and the synthetic images both ways in each sweep."""
        calibrated = TRAINING * load.synthetic if self.calibration else 0
        return super().image_passes(load) + calibrated

    def batches(self, job: JobSpec, load: Load) -> Iterator[Batch]:
        """Those of a matching step, and a batch to train on."""
        yield from super().batches(job, load)
        yield Batch(job.network, min(self.pairs.batch_size, load.data.train), 1, whole=True)

    def networks_held(self, load: Load) -> int:  # noqa: ARG002 - equally many whatever the images
        """Both ends of every pair, and the one between."""
        return 2 * self.pairs.count + 1
