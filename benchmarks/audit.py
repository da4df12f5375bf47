"""What an audit takes: ``python -m benchmarks.audit [DATASET …] [--rounds N]``.

Of ten random real images a class, compared with all training images in pixels and in the features of an untrained
probe, which cost what those of a trained one do. Beside it stands a pass of all training images through that probe, in
turn with it: seconds of the processor, medians of the rounds.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch

from ddcore.engine.preparation import Prepared, prepare
from ddcore.evaluation.audit import audit
from ddcore.runtime.callback import Callback
from ddcore.runtime.context import PIECE
from ddcore.spec import parse
from ddcore.synthetic.initial import real_rows

IPC = 10


def examine(name: str, rounds: int, cache: Path) -> None:
    """Print the figures of one dataset."""
    root = os.environ.get("DD_DATA_ROOT")
    spec = parse({"dataset": name, "ipc": IPC, "method": "random", "metrics": {"probe": "random"}, "compile": "off"})
    prepared = prepare(
        spec, data_root=None if root is None else Path(root), cache=cache, backbones=None, parent=None,
        callback=Callback(), check_stop=lambda: None, fresh=True,
    )  # fmt: skip
    prepared.probe.prepare()
    train = prepared.whole.dataset.train
    rows = real_rows(train, IPC, torch.Generator().manual_seed(1))
    images, labels = prepared.whole.pixels(rows), train.labels[rows]
    audits, passes = list[float](), list[float]()
    for _ in range(rounds):
        audits.append(_seconds(lambda: audit(prepared.whole, prepared.probe, images, labels)))
        passes.append(_seconds(lambda: _pass(prepared)))
    ratio = median(one / other for one, other in zip(audits, passes, strict=True))
    print(
        f"{name}: the audit of {len(rows)} images takes {median(audits):.1f} s of a processor, {ratio:.2f} times a "
        f"pass of all {len(train):,} training images through the probe ({median(passes):.1f} s)",
        flush=True,
    )


def _pass(prepared: Prepared) -> None:
    """All training images through the probe."""
    run = prepared.whole
    for rows in torch.arange(len(run.dataset.train)).split(PIECE):
        prepared.probe.features(run.real_images(rows))


def _seconds(work: Callable[[], Any]) -> float:
    """Seconds of the processor, of all threads."""
    before = time.process_time()
    work()
    return time.process_time() - before


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.audit", description=__doc__)
    parser.add_argument("datasets", nargs="*", default=["digits", "cifar10"], metavar="DATASET")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with TemporaryDirectory() as cache:
        for name in arguments.datasets:
            examine(name, arguments.rounds, Path(cache))


if __name__ == "__main__":
    main()
