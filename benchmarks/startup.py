"""What passes before the first step of a job: starting the process and loading the images."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from app.core.settings import Settings
from benchmarks.harness import Benchmark, Way
from benchmarks.studies import TEACHERS
from ddcore.data import sources
from worker.engine_process import EngineProcess
from worker.launching import Launcher
from worker.log_book import LogBook
from worker.run_folder import RunFolder

STEPS = """
import json
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
spec = parse({"dataset": "cifar10", "ipc": 10, "method": "dm", **json.loads(sys.argv[4])})
engine.run(spec, cache / "out", run_dir=cache / "run", data_root=root, cache=cache, callback=Until(steps))
"""


EAGER = json.dumps({"compile": "off"})


def _process(program: str, *arguments: str) -> Sequence[Tensor]:
    subprocess.run([sys.executable, "-c", program, *arguments], check=True)
    return [torch.ones(1)]


def _ways() -> Sequence[Way]:
    cache, root = TemporaryDirectory(prefix="startup-"), os.environ["DD_DATA_ROOT"]
    return [
        Way("a process that imports torch", lambda: _process("import torch")),
        Way("a job to the beginning of its first step", lambda: _process(STEPS, cache.name, root, "0", EAGER)),
        Way("a job to the end of its first step, eager", lambda: _process(STEPS, cache.name, root, "1", EAGER)),
    ]


def _first_step(name: str, **fields: Any) -> Sequence[Way]:
    """All that is made for a dataset and kept: decoded images, the network of the probe, a teacher, compiled code.

    Args:
        name: of what MIM and CMI look through.
        **fields: of both, besides their strength.
    """

    def job(terms: Sequence[str]) -> Sequence[Tensor]:
        both = {"regularizers": [{"name": term, "relative": 0.5, **fields} for term in terms]}
        with TemporaryDirectory(prefix="first-step-") as cache:
            return _process(STEPS, cache, os.environ["DD_DATA_ROOT"], "1", json.dumps(both))

    return [
        Way("DM", lambda: job([])),
        Way(f"DM with MIM and CMI, {name}", lambda: job(["mim", "cmi"])),
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


SHORT = {
    "dataset": "digits", "ipc": 1, "method": {"name": "dm", "iterations": 10},
    "network": {"name": "convnet", "width": 16},
    "evaluation": {"repeats": 1, "epochs": 10},
}  # fmt: skip
"""A job as studies have dozens of."""


def _engines() -> Sequence[Way]:
    """A short job of a worker, from its run folder to its bundle."""
    folder, numbers = TemporaryDirectory(prefix="engines-"), count()

    def engine(launcher: Launcher, settings: Settings) -> Sequence[Tensor]:
        attempt = RunFolder(Path(folder.name) / "runs", "job", next(numbers))
        attempt.create(SHORT)
        process = EngineProcess(launcher, attempt, LogBook(1, limit=10**6), settings.engine_module)
        while (code := process.poll()) is None:
            time.sleep(0.01)
        process.close()
        if code:
            raise RuntimeError(f"the engine ended with code {code}")
        return list(load_file(attempt.out / "distilled.safetensors").values())

    def way(name: str, preload: bool) -> Way:
        settings = Settings(home=Path(folder.name), engine_preload=preload)
        launcher = Launcher(settings)
        return Way(name, lambda: engine(launcher, settings))

    return [way("a process from nothing", False), way("forked", True)]


FIRST_STEP = "to the end of the first step of a CIFAR-10 job, from an empty cache"
SMALL = partial(_first_step, "a teacher of width 32", teacher=TEACHERS["width 32, 2 epochs"])
BENCHMARKS = (
    Benchmark("engine-start", "a short job on the 8x8 digits, images and audit included", _engines),
    Benchmark("startup", "start of a CIFAR-10 job, at most 4 s to its first step", _ways),
    Benchmark("first-step", FIRST_STEP, SMALL),
    Benchmark("first-step-default", FIRST_STEP, partial(_first_step, "the default teacher")),
    Benchmark("loading", "the whole of CIFAR-10, at most 15 s decoded and 3 s from the cache", _loading),
)
