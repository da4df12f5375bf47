"""Whether a step takes more memory with more classes: 10 and 100, with 10 synthetic and 26 real images of each.

Features are matched with the graphs of up to 512 synthetic images in memory; 50 images a class, where that is so for 10
classes already, show that it stays at that. The network has a width of 32, so that 100 classes take a minute.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from benchmarks.harness import Benchmark, Way, Work, peak_bytes, policy
from benchmarks.random_run import random_run
from ddcore.methods import build_method
from ddcore.regularizers import build_regularizer
from ddcore.spec import parse

NETWORK = {"name": "convnet", "width": 32}
TEACHER = {"network": NETWORK, "epochs": 1}
STEPS: dict[str, dict[str, Any]] = {
    "dm": {"method": "dm", "ipc": 50},
    "dc": {"method": "dc"},
    "dsa": {"method": "dsa"},
    "cafe": {"method": "cafe"},
    "cmi": {"method": "dm", "ipc": 50, "regularizers": [{"name": "cmi", "weight": 1.0, "teacher": TEACHER}]},
    "iid": {"method": "dm", "ipc": 50, "regularizers": [{"name": "iid", "weight": 1.0, "teacher": TEACHER}]},
}


def _work(classes: int, **fields: Any) -> Work:
    """A step of a method without the network's training, or of a regulariser alone where the job has one.

    Returns the peak of tensor memory that it adds, in MiB, beside the gradient of the images itself.
    """
    spec = parse({"dataset": "cifar100", "ipc": 10, "network": NETWORK, **fields})
    spec = spec.model_copy(update={"method": spec.method.model_copy(update={"batch_real": 26})})
    run = random_run(spec, policy("fp32", compiled=False), classes, images_per_class=100)
    method = build_method(spec.method, run)
    terms = [build_regularizer(config, run) for config in spec.regularizers]
    method.prepare()
    for term in terms:
        term.prepare()
    synthetic = method.start()
    own = synthetic.stored.numel() * synthetic.stored.element_size()
    step = method.draw(0, synthetic)

    def backward() -> None:
        synthetic.begin_step()
        if not terms:
            method.backward(step)
        for term in terms:
            term.backward(step, 1.0)

    return lambda: [torch.tensor([(peak_bytes(backward) - own) / 2**20])]


def _ways(fields: dict[str, Any]) -> Sequence[Way]:
    return [Way(f"{classes} classes", _work(classes, **fields)) for classes in (10, 100)]


BENCHMARKS = tuple(
    Benchmark(
        f"{name}-classes",
        f"peak memory of a step of {name} (MiB; the difference is what 90 classes add)",
        partial(_ways, fields),
        timed=False,
    )
    for name, fields in STEPS.items()
)
