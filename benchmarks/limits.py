"""How far compiled steps are from the limit of the processor: the same arithmetic as one large matrix product."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from benchmarks import dm, gradients, idc, training
from benchmarks.forward import SHAPE, functional
from benchmarks.harness import Benchmark, Measurement, Work, policy, seconds
from ddcore.machine.compute import CONVNET3_MACS
from ddcore.spec import parse
from ddcore.spec.work import TRAINING, DataSizes, Load

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
        make: the work, compiled in bf16.
    """

    title: str
    passes: float
    make: Callable[[], Work]

    def measured(self, rounds: int) -> list[Measurement]:
        """The work and the product in turn; ratios are seconds of the work to those of the product."""
        work, rows = self.make(), round(self.passes * CONVNET3_MACS / COLUMNS**2)
        device = policy("bf16", compiled=False).device
        tall, square = (torch.ones((size, COLUMNS), dtype=torch.bfloat16, device=device) for size in (rows, COLUMNS))
        ours, limit = Measurement("engine, compiled bf16"), Measurement("its arithmetic as one product")
        work()  # compiles
        for _ in range(rounds):
            for way, found in ((work, ours), (lambda: tall @ square, limit)):
                way()
                found.seconds.append(seconds(way))
            ours.ratios.append(1.0)
            limit.ratios.append(ours.seconds[-1] / limit.seconds[-1])
        return [ours, limit]


PARTS: Mapping[str, Part] = {
    "dm": Part("DM iteration", dm.SPEC.method.image_passes(LOAD), lambda: dm.ours(policy("bf16", compiled=True))),
    "matching": Part(
        "image step of DSA",
        parse({"dataset": "cifar10", "ipc": dm.IPC, "method": "dsa"}).method.image_passes(LOAD),
        lambda: gradients.ours(functional("bf16", compiled=True)),
    ),
    "idc": Part("IDC sweep and training", _idc_passes(), lambda: idc.ours(policy("bf16", compiled=True))),
    "teacher": Part(
        "training on 2,560 images",
        TRAINING * 2560,
        lambda: training.ours(functional("bf16", compiled=True), 2560, training.TEACHER),
    ),
    "evaluation": Part(
        "evaluation training on 100 images",
        TRAINING * 100 * training.EVALUATION.epochs,
        lambda: training.ours(functional("bf16", compiled=True), 100, training.EVALUATION),
    ),
}

BENCHMARKS = tuple(
    Benchmark(
        f"limit-{name}", f"{part.title}, beside its arithmetic as one matrix product", list, measured=part.measured
    )
    for name, part in PARTS.items()
)
