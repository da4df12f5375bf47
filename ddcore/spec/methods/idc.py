"""Gradient matching of decoded images, with a network trained on real ones.

Released code: github.com/snu-mllab/Efficient-Dataset-Condensation (IDC) and github.com/Yanqing0327/DREAM.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from ddcore.spec.base import MethodConfig, Shrink, method_config
from ddcore.spec.errors import Problem
from ddcore.spec.memory import Batch
from ddcore.spec.work import TRAINING, TWICE, Load

if TYPE_CHECKING:
    from ddcore.spec.job import JobSpec


@method_config
class IDCConfig(MethodConfig):
    """Match the gradients that real images and tiles of stored mosaics give a network in training on the former."""

    extendable: ClassVar[bool] = True
    title: ClassVar[str] = "Efficient synthetic-data parameterisation"
    citation: ClassVar[str] = "Kim et al., IDC, ICML 2022 (arXiv 2205.14959)"
    cost: ClassVar[str] = (
        "heavy: a forward and backward pass of the real batch, second derivatives of the decoded images, and training "
        "on `train_images` real images a step"
    )
    departures: ClassVar[tuple[str, ...]] = (
        "Defaults are those of CIFAR. Published for SVHN: `train_images` 500; for MNIST and Fashion-MNIST: that, "
        "`distance` 'l1' and `lr_img` 1e-4; and mosaics of MNIST are matched under color and crop alone, without "
        "CutMix. The presets hold them.",
    )
    job_defaults: ClassVar[Mapping[str, Any]] = {"decoder": "mosaic", "augmentation": "color_crop_cutout"}
    samplers: ClassVar[tuple[str, ...]] = ("random", "representative")
    stageable: ClassVar[bool] = True
    shrink: ClassVar[Shrink] = "nearest"
    smoke: ClassVar[Mapping[str, Any]] = {
        "steps_per_network": 4,
        "batch_real": 8,
        "train_images": 32,
        "batch_train": 16,
    }

    name: Literal["idc"] = "idc"
    iterations: int = Field(
        200_000,
        ge=1,
        le=10_000_000,
        description="Sweeps over all classes (paper: 2000 networks of 100 sweeps; 500 of 100 on ImageNet).",
    )
    steps_per_network: int = Field(
        100, ge=1, le=100_000, description="Sweeps with each network; the images are clamped after them (paper: 100)."
    )
    distance: Literal["mse", "l1"] = Field(
        "mse",
        description="How gradients of convolution weights are compared: sum of squared (`mse`) or of absolute (`l1`) "
        "differences. Paper: `mse` for CIFAR and SVHN, `l1` for MNIST, Fashion-MNIST and ImageNet.",
    )
    lr_img: float = Field(
        5e-3,
        gt=0,
        description="Learning rate of the stored images in pixel units, for 10 images a class of `lr_side` pixels; it "
        "is multiplied by ipc / 10 and by (height / `lr_side`)^2 (papers: 5e-3; with `l1` 1e-4 to 3e-3).",
    )
    lr_side: int = Field(
        32, ge=1, description="Side of images that `lr_img` is meant for (paper: 32; MNIST 28; ImageNet 224)."
    )
    momentum: float = Field(
        0.5, ge=0, lt=1, description="Momentum of the image optimiser (SGD), which steps once for each class."
    )
    batch_real: int = Field(64, ge=1, description="Real images of each class a sweep; capped at the class size.")
    batch_syn: int = Field(
        128, ge=1, description="Decoded images of each class a sweep, drawn at random where there are more."
    )
    train_images: int = Field(
        2000,
        ge=1,
        description="Real images that the network is trained on after a sweep, rounded up to whole batches (paper: "
        "2000 for CIFAR, 500 otherwise).",
    )
    batch_train: int = Field(64, ge=1, description="Real images a training step of the network.")
    pretrain_epochs: int = Field(
        0, ge=0, le=1000, description="Epochs on all real images before a network is matched with (ImageNet-10: 10)."
    )
    lr_net: float = Field(0.01, gt=0, description="Learning rate of the network (SGD).")
    momentum_net: float = Field(0.9, ge=0, lt=1, description="Momentum of the network's SGD.")
    weight_decay: float = Field(5e-4, ge=0, description="Weight decay of the network's SGD.")
    cutmix: float = Field(
        0.5, ge=0, le=1, description="Probability that CutMix (Beta(1, 1)) mixes a batch the network is trained on."
    )

    def image_passes(self, load: Load) -> float:
        """Gradients of the real batch and of frozen images, and second derivatives of those that move."""
        picked = min(load.images, self.batch_syn)
        moving = picked * load.moving / load.images
        synthetic = TWICE * moving + TRAINING * (picked - moving)
        return TRAINING * load.data.drawn(self.batch_real) + load.data.classes * synthetic

    def passes(self, load: Load) -> float:
        """Steps, after all but the last of a network its training, and what it begins with."""
        of_one, data = self.steps_per_network, load.data
        networks, trained = -(-load.steps // of_one), load.steps - load.steps // of_one
        batches = -(-self.train_images // self.batch_train) * self.batch_train
        training = trained * min(batches, data.drawable) + networks * self.pretrain_epochs * data.drawable
        return load.steps * self.image_passes(load) + TRAINING * training

    def batches(self, job: JobSpec, load: Load) -> Iterator[Batch]:
        """Of one class at a time the real images and those with second derivatives, and a batch to train on."""
        yield Batch(job.network, self.batch_real, 1)
        yield Batch(job.network, min(load.images, self.batch_syn), 2, whole=True)
        yield Batch(job.network, min(self.batch_train, load.data.drawable), 1, whole=True)

    def impossible(self, job: JobSpec) -> Iterator[Problem]:
        """A network without convolutions, whose weights are all that is compared."""
        if job.network.name == "mlp":
            detail = (
                f"`{self.name}` matches the gradients of convolutions, and the network 'mlp' has none; use 'convnet'"
            )
            yield Problem("/network", "method_needs_convolutions", detail)
        if job.whitening:
            detail = f"`{self.name}` learns and clamps pixels from 0 to 1, which `whitening` mixes; use false"
            yield Problem("/whitening", "method_without_whitening", detail)


@method_config
class DREAMConfig(IDCConfig):
    """IDC with batches that represent their class, and from a start that does."""

    title: ClassVar[str] = "Representative matching"
    citation: ClassVar[str] = "Liu et al., DREAM, ICCV 2023 (arXiv 2302.14416)"
    departures: ClassVar[tuple[str, ...]] = (
        *IDCConfig.departures,
        "The sampler clusters 1,000 normalised images of a class in 5 steps of k-means; the released code all of them, "
        "unnormalised, until it converges. The presets take all, unnormalised.",
    )
    job_defaults: ClassVar[Mapping[str, Any]] = {
        **IDCConfig.job_defaults,
        "sampler": "representative",
        "init": "k_means",
    }

    name: Literal["dream"] = "dream"  # type: ignore[assignment]
    batch_real: int = Field(
        128, ge=1, description="Real images of each class a sweep, and clusters that they represent (paper: 128)."
    )
    batch_train: int = Field(128, ge=1, description="Real images a training step of the network (released code: 128).")
