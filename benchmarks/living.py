"""A set that grows by two classes while a third changes: distilled as an extension, beside all twelve classes anew.

Ten classes are scikit-learn's digits, with 40 training images of 3 left out; the next version of the set has them, and
two new signs, the mirrored 2 and the mirrored 7. A round is a seed: both ways run in it, in turn, in this process.
Timed is everything but the scoring; accuracies are of fresh networks on the test images of all twelve classes.
"""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import Benchmark, Measurement
from ddcore import bundle, engine
from ddcore.data import digits
from ddcore.data.dataset import ImageSet
from ddcore.spec import parse

MIRRORED = (2, 7)
CHANGED, LACKING = 3, 40
NETWORKS = 3
"""Trained on each set."""
JOB: dict[str, Any] = {
    "ipc": 10,
    "method": {"name": "dm", "iterations": 400, "batch_real": 128},
    "network": {"name": "convnet", "width": 32},
    "compile": "off",
    "metrics": {"every": 400, "probe": "random"},
    "snapshots": {"every": 400},
    "evaluation": {"repeats": 0, "epochs": 100, "audit": False},
}
TARGET = 1 / 0.45
"""Times as fast that the extension should be."""


def before() -> dict[str, Tensor]:
    """The ten classes, as arrays that the engine reads."""
    train, test = _splits()
    kept = torch.ones(len(train), dtype=torch.bool)
    kept[(train.labels == CHANGED).nonzero().flatten()[:LACKING]] = False
    return _arrays(train.images[kept], train.labels[kept], test.images, test.labels)


def now() -> dict[str, Tensor]:
    """The twelve."""
    parts = [tensor for split in _splits() for tensor in _with_mirrored(split)]
    return _arrays(*parts)


def _splits() -> tuple[ImageSet, ImageSet]:
    found = digits.read()
    return found.train, found.test


def _with_mirrored(split: ImageSet) -> tuple[Tensor, Tensor]:
    images, labels = [split.images], [split.labels]
    for number, label in enumerate(MIRRORED):
        of_class = split.images[split.labels == label]
        images.append(of_class.flip(3))
        labels.append(torch.full((len(of_class),), 10 + number))
    return torch.cat(images), torch.cat(labels)


def _arrays(images: Tensor, labels: Tensor, test_images: Tensor, test_labels: Tensor) -> dict[str, Tensor]:
    return {
        "x_train": images.squeeze(1), "y_train": labels, "x_test": test_images.squeeze(1), "y_test": test_labels,
    }  # fmt: skip


class Bench:
    """Runs jobs on both versions of the set.

    Args:
        folder: for datasets, caches and bundles.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "data").mkdir()
        for name, arrays in (("ten", before()), ("twelve", now())):
            images = {key: value.numpy() for key, value in arrays.items()}
            np.savez(folder / "data" / f"{name}.npz", allow_pickle=False, **images)

    def distil(self, dataset: str, seed: int, parent: str | None = None) -> tuple[str, float]:
        """Distil a set, anew or as an extension: the name of its bundle, and the seconds."""
        name = f"{dataset}-{seed}-{parent}"
        spec = parse(JOB | {"dataset": dataset, "seed": seed})
        start = time.perf_counter()
        engine.run(
            spec,
            self._folder / name,
            run_dir=self._folder / f"{name}.run",
            data_root=self._folder / "data",
            cache=self._folder / "cache",
            parent=None if parent is None else self._folder / parent,
        )
        return name, time.perf_counter() - start

    def accuracy(self, name: str) -> float:
        """Percent of the test images of all classes, of fresh networks."""
        scored = bundle.train_on(
            self._folder / name,
            repeats=NETWORKS,
            data_root=self._folder / "data",
            cache=self._folder / "cache",
        )
        if scored.accuracy is None:
            raise ValueError(f"no network was trained on {name}")
        return scored.accuracy.mean

    def kept(self, child: str, parent: str) -> int:
        """Classes of an extension that have the very images of its parent."""
        new, old = (bundle.read(self._folder / name) for name in (child, parent))
        return sum(torch.equal(new.images[new.labels == c], old.images[old.labels == c]) for c in range(10))


def measured(rounds: int) -> list[Measurement]:
    """Both ways with so many seeds."""
    anew = Measurement("12 classes anew")
    extended = Measurement("2 new and 1 changed, 9 kept")
    with TemporaryDirectory(prefix="living-") as folder:
        bench = Bench(Path(folder))
        bench.distil("ten", rounds)  # what the first run of a process and of a dataset has to do
        bench.distil("twelve", rounds)
        for seed in range(rounds):
            parent, _ = bench.distil("ten", seed)
            ways = [(anew, None), (extended, parent)]
            for measurement, of in ways if seed % 2 == 0 else ways[::-1]:
                name, seconds = bench.distil("twelve", seed, of)
                measurement.seconds.append(seconds)
                measurement.numbers.append(bench.accuracy(name))
                if of is not None and bench.kept(name, of) != 9:
                    raise ValueError(f"{bench.kept(name, of)} of 9 unchanged classes have kept their images")
            for measurement in (anew, extended):
                measurement.ratios.append(anew.seconds[-1] / measurement.seconds[-1])
    return [anew, extended]


BENCHMARKS = (
    Benchmark(
        "living",
        "a set of 10 classes that gains 2 and changes 1; numbers are accuracies by seed, in percent",
        list,
        target=TARGET,
        measured=measured,
    ),
)
