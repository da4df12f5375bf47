"""How far compiled steps are from the limit of the processor: the same arithmetic as one large matrix product."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch

from benchmarks import dm, gradients, idc, training
from benchmarks.forward import NETWORK, SHAPE
from benchmarks.harness import Benchmark, Measurement, Work, policy, seconds
from ddcore.machine.compute import CONVNET3_MACS, Compute, Precision
from ddcore.nets import Functional, build
from ddcore.spec import parse
from ddcore.spec.work import TRAINING, DataSizes, Load

DTYPES: Mapping[Precision, torch.dtype] = {"bf16": torch.bfloat16, "fp32": torch.float32}
COLUMNS = 2048
"""Of the matrices; rows are as many as make as much arithmetic."""
LOAD = Load(DataSizes(SHAPE, (gradients.IMAGES_PER_CLASS,) * 10, 10), steps=1, images=dm.IPC, moving=dm.IPC)


def _idc_passes() -> float:
    decoded, batch = 4 * dm.IPC, idc.CONFIG.batch_train
    trained = -(-idc.CONFIG.train_images // batch) * batch
    return idc.CONFIG.image_passes(Load(LOAD.data, 1, decoded, decoded)) + TRAINING * trained


@dataclass(frozen=True)
class Part:
    """What is measured.

    Attributes:
        title: in words.
        passes: of images through ConvNet-3, by the cost model.
        make: the work, by the policy that it is done with.
    """

    title: str
    passes: float
    make: Callable[[Compute], Work]

    def measured(self, precision: Precision, rounds: int) -> list[Measurement]:
        """The work and the product in turn; ratios are seconds of the work to those of the product."""
        compute = policy(precision, compiled=True)
        work, rows = self.make(compute), round(self.passes * CONVNET3_MACS / COLUMNS**2)
        tall, square = (
            torch.ones((n, COLUMNS), dtype=DTYPES[precision], device=compute.device) for n in (rows, COLUMNS)
        )
        ours, limit = Measurement(f"engine, compiled {precision}"), Measurement("its arithmetic as one product")
        work()  # compiles
        for _ in range(rounds):
            for way, found in ((work, ours), (lambda: tall @ square, limit)):
                way()
                found.seconds.append(seconds(way))
            ours.ratios.append(1.0)
            limit.ratios.append(ours.seconds[-1] / limit.seconds[-1])
        return [ours, limit]


def _network(compute: Compute) -> Functional:
    return Functional(build(NETWORK, SHAPE, 10), compute)


PARTS: Mapping[str, Part] = {
    "dm": Part("DM iteration", dm.SPEC.method.image_passes(LOAD), dm.ours),
    "matching": Part(
        "image step of DSA",
        parse({"dataset": "cifar10", "ipc": dm.IPC, "method": "dsa"}).method.image_passes(LOAD),
        lambda compute: gradients.ours(_network(compute)),
    ),
    "idc": Part("IDC sweep and training", _idc_passes(), idc.ours),
    "teacher": Part(
        "training on 2,560 images",
        TRAINING * 2560,
        lambda compute: training.ours(_network(compute), 2560, training.TEACHER),
    ),
    "evaluation": Part(
        "evaluation training on 100 images",
        TRAINING * 100 * training.EVALUATION.epochs,
        lambda compute: training.ours(_network(compute), 100, training.EVALUATION),
    ),
}

BENCHMARKS = tuple(
    Benchmark(
        f"limit-{name}-{precision}",
        f"{part.title}, beside its arithmetic as one matrix product",
        list,
        measured=partial(part.measured, precision),
    )
    for name, part in PARTS.items()
    for precision in DTYPES
)
