"""The context of a run on random pixels of CIFAR-10's shape: the work does not depend on them."""

from __future__ import annotations

import torch

from benchmarks.forward import SHAPE
from ddcore.data.dataset import Dataset, ImageSet, describe
from ddcore.machine.compute import Compute
from ddcore.runtime.assembly import assemble
from ddcore.runtime.context import Run
from ddcore.spec import JobSpec


def random_run(spec: JobSpec, compute: Compute, classes: int = 10, images_per_class: int = 1000) -> Run:
    """A run of a job of CIFAR-10, whose dataset has that many classes and training images a class."""
    return assemble(spec, _dataset(classes, images_per_class), compute)


def _dataset(classes: int, images_per_class: int) -> Dataset:
    def split(per_class: int) -> ImageSet:
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (classes * per_class, *SHAPE), dtype=torch.uint8, generator=generator)
        return ImageSet(images, torch.arange(classes).repeat(per_class), tuple(map(str, range(classes))))

    return describe("cifar10", split(images_per_class), split(1), published=True)
