"""How many images a pass should take at a time: what :mod:`ddcore.machine.compute` chooses per device rests on this."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch

from benchmarks.forward import (
    NETWORK,
    REAL,
    REFERENCE_BATCH,
    SHAPE,
    features,
    plain_features,
    plain_training_slope,
    training_slope,
)
from benchmarks.harness import Benchmark, Way, Work, policy
from ddcore.machine.compute import Precision
from ddcore.nets import Functional, build

PRECISIONS: tuple[Precision, ...] = ("bf16", "fp32")


def _functional(precision: Precision, size: int) -> Functional:
    compute = replace(policy(precision, compiled=True), piece=size, training_piece=size)
    return Functional(build(NETWORK, SHAPE, 10), compute)


def _forward(precision: Precision, size: int) -> Work:
    return features(_functional(precision, size))


def _training(precision: Precision, size: int) -> Work:
    return training_slope(_functional(precision, size))


def _ways(reference: Callable[[], Work], work: Callable[[Precision, int], Work], precision: Precision) -> Sequence[Way]:
    sizes = (256, 1024, 4096) if torch.cuda.is_available() else (8, 16, 32, 64, 128)
    ways = [Way(f"{size} images a piece", work(precision, size)) for size in sizes]
    return [Way("module, eager fp32", reference()), *ways]


BENCHMARKS = tuple(
    Benchmark(f"{name}-{precision}", f"{title}, compiled {precision}", partial(_ways, reference, work, precision))
    for name, title, reference, work in (
        ("pieces", f"features of {REAL} images", plain_features, _forward),
        ("pieces-training", f"slope in the weights of {REFERENCE_BATCH} images", plain_training_slope, _training),
    )
    for precision in PRECISIONS
)
