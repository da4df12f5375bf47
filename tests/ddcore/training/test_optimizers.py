"""The optimisers step as the classes of torch.optim do, to the bit, and load nothing for it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from ddcore.training.optimizers import SGD, Adam, AdamW, Optimizer

CASES: Sequence[tuple[type[SGD] | type[Adam], type[torch.optim.Optimizer], Mapping[str, float]]] = (
    (SGD, torch.optim.SGD, {}),
    (SGD, torch.optim.SGD, {"momentum": 0.9}),
    (SGD, torch.optim.SGD, {"momentum": 0.5, "weight_decay": 0.01}),
    (Adam, torch.optim.Adam, {}),
    (Adam, torch.optim.Adam, {"weight_decay": 0.01}),
    (AdamW, torch.optim.AdamW, {"weight_decay": 0.0}),
    (AdamW, torch.optim.AdamW, {"weight_decay": 0.3}),
)


def weights(fill: Callable[..., Tensor]) -> list[Tensor]:
    return [fill(4, 3, b=number).requires_grad_() for number in range(3)]


def pull(of: Sequence[Tensor], step: int, fill: Callable[..., Tensor]) -> None:
    """Gradients of a step; the last weight has none at every third one, and none at all at first."""
    for number, weight in enumerate(of):
        weight.grad = None if number == 2 and step % 3 == 0 else fill(4, 3, a=step + 1.0, b=number)


@pytest.mark.parametrize(("ours", "theirs", "fields"), CASES)
def test_steps_are_those_of_torch(
    fill: Callable[..., Tensor], ours: Any, theirs: Any, fields: Mapping[str, float]
) -> None:
    """Through a change of the rate, and on from what an earlier optimiser remembered."""
    mine, reference = weights(fill), weights(fill)
    optimizer: Optimizer = ours(mine, 0.1, **fields)
    expected = theirs(reference, lr=0.1, **fields)
    for step in range(12):
        if step == 5:
            optimizer.lr = expected.param_groups[0]["lr"] = 0.03
        if step == 8:
            remembered, optimizer = optimizer.velocity, ours(mine, 0.03, **fields)
            optimizer.velocity = remembered
        for each, who in ((mine, optimizer), (reference, expected)):
            pull(each, step, fill)
            who.step()
        assert all(torch.equal(a, b) for a, b in zip(mine, reference, strict=True)), step
    assert {place: set(known) for place, known in optimizer.velocity.items()} == {
        place: set(known) for place, known in expected.state_dict()["state"].items()
    }
    optimizer.zero_grad()
    assert [weight.grad for weight in mine] == [None, None, None]


def test_training_does_not_load_the_compiler() -> None:
    """It takes as long to load as all the rest of the engine."""
    program = """
import sys, torch
from ddcore.training.optimizers import SGD, Adam
weight = torch.zeros(2, requires_grad=True)
for kind in (SGD, Adam):
    optimizer = kind([weight], 0.1)
    weight.grad = torch.ones(2)
    optimizer.step()
    optimizer.zero_grad()
from ddcore.spec import parse
from ddcore.engine import run
from pathlib import Path
import tempfile
with tempfile.TemporaryDirectory() as folder:
    spec = parse({
        "dataset": "digits", "ipc": 1, "method": {"name": "dm", "iterations": 1, "batch_real": 8}, "compile": "off",
        "network": {"name": "convnet", "width": 4}, "regularizers": {"mim": 1}, "metrics": {"probe": "random"},
        "evaluation": {"repeats": 1, "epochs": 1, "audit": False, "controls": []},
    })
    assert run(spec, Path(folder) / "out", run_dir=Path(folder) / "run").results.accuracy is not None
sys.exit("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
