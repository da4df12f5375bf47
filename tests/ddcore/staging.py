"""Small jobs that learn in stages, and their steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from ddcore.methods import build_method
from ddcore.methods.staged import Staged
from ddcore.runtime.context import Run
from ddcore.synthetic.set import SyntheticSet

Make = Callable[..., Run]
MTT = {"name": "mtt", "student_steps": 3, "max_start": 2, "lr_init": 0.05, "lr_lr": 1e-3, "lr_img": 5.0}
MTT |= {"experts": {"count": 2, "batch_size": 24, "lr": 0.05}}
GRADIENTS = {"batch_real": 8, "lr_img": 0.5}
ALONG_REAL = {**GRADIENTS, "steps_per_network": 2, "train_images": 24, "batch_train": 12}
BASES: dict[str, dict[str, Any]] = {
    "mtt": MTT,
    "tesla": {**MTT, "name": "tesla"},
    "dc": {"name": "dc", **GRADIENTS, "inner_loop": 1},
    "dsa": {"name": "dsa", **GRADIENTS, "inner_loop": 1},
    "idc": {"name": "idc", **ALONG_REAL},
    "dream": {"name": "dream", **ALONG_REAL},
}
STEPS = 3


def method_fields(base: str | dict[str, Any] = "mtt", stages: int = 3, **fields: Any) -> dict[str, Any]:
    base = BASES[base] if isinstance(base, str) else base
    return {"name": "seqmatch", "stages": stages, "base": base, "iterations": stages * STEPS, "epochs": 4, **fields}


def staged(make_run: Make, base: str | dict[str, Any] = "mtt", stages: int = 3, **fields: Any) -> Staged:
    job = {"ipc": 2 * stages, "method": method_fields(base, stages), **fields}
    method = build_method((run := make_run(**job)).spec.method, run)
    assert isinstance(method, Staged)
    method.prepare()
    return method


def steps(method: Any, synthetic: SyntheticSet, count: int) -> Iterator[int]:
    """Take steps as the engine does; yields before each, once its stage has begun."""
    for index in range(count):
        method.enter(index, synthetic)
        yield index
        synthetic.begin_step()
        step = method.draw(index, synthetic)
        method.backward(step)
        synthetic.step()
        method.advance(step)


def by_class(synthetic: SyntheticSet) -> Tensor:
    images: Tensor = synthetic.stored.detach().unflatten(0, (synthetic.classes, synthetic.ipc)).clone()
    return images
