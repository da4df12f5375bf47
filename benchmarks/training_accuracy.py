"""Whether the trainer costs accuracy: networks trained on real CIFAR-10 by a plain loop in eager fp32, and by ours.

``python -m benchmarks.training_accuracy [evaluation] [teacher]``: for each seed both start from the same weights and
see the same batches and augmentations, so they differ by rounding, and by what training makes of it.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from torch import Generator, Tensor

from benchmarks.harness import RESULTS, machine, policy
from benchmarks.training import STRATEGY, TEACHER, plain
from ddcore.data import sources
from ddcore.data.dataset import Dataset
from ddcore.nets import Functional, Params, build
from ddcore.spec import ConvNetConfig
from ddcore.synthetic.initial import real_rows
from ddcore.training.trainer import Recipe, accuracy, train


@dataclass(frozen=True)
class Study:
    """Networks of one kind.

    Attributes:
        title: in words.
        recipe: that they are trained by.
        per_class: real images of each class that they are trained on; all of them where ``None``.
        width: of the ConvNet-3.
        seeds: how many networks.
    """

    title: str
    recipe: Recipe
    per_class: int | None
    width: int
    seeds: int


STUDIES: Mapping[str, Study] = {
    "evaluation": Study(
        "300 epochs on 100 real images with augmentation, width 64",
        Recipe(epochs=301, batch_size=256, strategy=STRATEGY, drops=(152,)),
        per_class=10,
        width=64,
        seeds=5,
    ),
    "teacher": Study(
        "2 epochs on 50,000 images, width 64", replace(TEACHER, epochs=2), per_class=None, width=64, seeds=3
    ),
}


def run(study: Study, dataset: Dataset) -> dict[str, Any]:
    """Accuracies in percent on the test set and seconds of training, seed by seed."""
    trainers = {"plain loop, eager fp32": _plainly, "trainer, compiled bf16": _by_the_trainer}
    results: dict[str, dict[str, list[float]]] = {name: {"accuracy": [], "seconds": []} for name in trainers}
    for seed in range(study.seeds):
        for name, trained in trainers.items():
            start = time.process_time()
            functional, params = trained(study, dataset, seed)
            results[name]["seconds"].append(round(time.process_time() - start, 1))
            test = dataset.test
            score = accuracy(functional, params, test.images, test.labels, normalize=dataset.normalize)
            results[name]["accuracy"].append(round(score, 2))
            print(f"seed {seed}, {name}: {score:.2f} %, {results[name]['seconds'][-1]} s of a core", flush=True)
    return {"title": study.title, "trainers": results}


def _functional(study: Study, dataset: Dataset, *, ours: bool) -> Functional:
    network = build(ConvNetConfig(width=study.width), dataset.shape, len(dataset.classes))
    return Functional(network, policy("bf16" if ours else "fp32", compiled=ours))


def _rows(study: Study, dataset: Dataset, seed: int) -> Tensor:
    if study.per_class is None:
        return torch.arange(len(dataset.train))
    return real_rows(dataset.train, study.per_class, Generator().manual_seed(seed))


def _plainly(study: Study, dataset: Dataset, seed: int) -> tuple[Functional, Params]:
    functional, rows = _functional(study, dataset, ours=False), _rows(study, dataset, seed)
    net = build(ConvNetConfig(width=study.width), dataset.shape, len(dataset.classes)).to(functional.compute.device)
    net.load_state_dict(functional.new(Generator().manual_seed(seed)))
    images, labels = dataset.normalize(dataset.train.images[rows]), dataset.train.labels[rows]
    plain(net, images, labels, study.recipe, Generator().manual_seed(seed))
    return functional, {name: value.detach() for name, value in net.state_dict().items()}


def _by_the_trainer(study: Study, dataset: Dataset, seed: int) -> tuple[Functional, Params]:
    functional, rows = _functional(study, dataset, ours=True), _rows(study, dataset, seed)
    params = functional.new(Generator().manual_seed(seed))
    images, labels = dataset.train.images[rows], dataset.train.labels[rows]
    train(functional, params, images, labels, study.recipe, Generator().manual_seed(seed), normalize=dataset.normalize)
    return functional, params


def _summary(trainers: Mapping[str, Mapping[str, list[float]]]) -> str:
    def line(name: str, scores: list[float]) -> str:
        return f"{name}: {mean(scores):.2f} +- {stdev(scores):.2f}"

    return "; ".join(line(name, result["accuracy"]) for name, result in trainers.items())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training_accuracy", description=__doc__)
    parser.add_argument("studies", nargs="*", metavar="STUDY", help=f"some of: {', '.join(STUDIES)}; default: all")
    parser.add_argument("--cache", type=Path, help="folder for decoded data")
    arguments = parser.parse_args()
    dataset = sources.load("cifar10", Path(os.environ["DD_DATA_ROOT"]), arguments.cache)
    for name in arguments.studies or STUDIES:
        document = {
            "study": name,
            "command": f"python -m benchmarks.training_accuracy {name}",
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            **run(STUDIES[name], dataset),
        }
        print(f"{name}: {_summary(document['trainers'])}", flush=True)
        (RESULTS / "quality" / f"training-{name}.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
