"""What passes before the first step of a CIFAR-10 job: starting the process and loading the images."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from benchmarks.harness import Benchmark, Way
from ddcore.data import sources

STEPS = """
import sys
from pathlib import Path
from ddcore import engine
from ddcore.runtime.callback import Callback
from ddcore.spec import parse

class Until(Callback):
    def __init__(self, steps):
        self.steps = steps

    def on_phase(self, phase, total):
        self.phase = phase

    def on_progress(self, done, total):
        if self.phase == "distilling" and done == self.steps:
            sys.exit()

cache, root, steps = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
spec = parse({"dataset": "cifar10", "ipc": 10, "method": "dm", "compile": "off"})
engine.run(spec, cache / "out", run_dir=cache / "run", data_root=root, cache=cache, callback=Until(steps))
"""


def _process(program: str, *arguments: str) -> Sequence[Tensor]:
    subprocess.run([sys.executable, "-c", program, *arguments], check=True)
    return [torch.ones(1)]


def _ways() -> Sequence[Way]:
    cache, root = TemporaryDirectory(prefix="startup-"), os.environ["DD_DATA_ROOT"]
    return [
        Way("a process that imports torch", lambda: _process("import torch")),
        Way("a job to the beginning of its first step", lambda: _process(STEPS, cache.name, root, "0")),
        Way("a job to the end of its first step, eager", lambda: _process(STEPS, cache.name, root, "1")),
    ]


def _loading() -> Sequence[Way]:
    cache, root = TemporaryDirectory(prefix="loading-"), Path(os.environ["DD_DATA_ROOT"])

    def load(folder: Path) -> Sequence[Tensor]:
        dataset = sources.load("cifar10", root, folder)
        return [dataset.train.images[::100].float()]

    def cold() -> Sequence[Tensor]:
        with TemporaryDirectory(prefix="cold-") as folder:
            return load(Path(folder))

    return [Way("decoded from parquet", cold), Way("from the cache", lambda: load(Path(cache.name)))]


BENCHMARKS = (
    Benchmark("startup", "start of a CIFAR-10 job, at most 4 s to its first step", _ways),
    Benchmark("loading", "the whole of CIFAR-10, at most 15 s decoded and 3 s from the cache", _loading),
)
