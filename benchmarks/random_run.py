"""The context of a run on random pixels of CIFAR-10's shape: the work does not depend on them."""

from __future__ import annotations

import torch

from benchmarks.forward import SHAPE
from ddcore.augment import siamese
from ddcore.data.dataset import Dataset, ImageSet, describe
from ddcore.data.sampling import ClassSampler
from ddcore.machine.compute import Compute
from ddcore.nets import Functional, build
from ddcore.run.callback import Callback
from ddcore.run.context import Run
from ddcore.run.randomness import Randomness
from ddcore.spec import JobSpec


def random_run(spec: JobSpec, compute: Compute, classes: int = 10, images_per_class: int = 1000) -> Run:
    """A run of a job of CIFAR-10, whose dataset has that many classes and training images a class."""
    dataset = _dataset(classes, images_per_class)
    return Run(
        spec=spec,
        dataset=dataset,
        compute=compute,
        functional=Functional(build(spec.network, dataset.shape, classes), compute),
        strategy=siamese.strategy_for(spec.augmentation, dataset.flip),
        random=Randomness(0, compute.device),
        sampler=ClassSampler(dataset.train.labels, classes),
        cache=None,
        callback=Callback(),
        check_stop=lambda: None,
    )


def _dataset(classes: int, images_per_class: int) -> Dataset:
    def split(per_class: int) -> ImageSet:
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (classes * per_class, *SHAPE), dtype=torch.uint8, generator=generator)
        return ImageSet(images, torch.arange(classes).repeat(per_class), tuple(map(str, range(classes))))

    return describe("cifar10", split(images_per_class), split(1))
