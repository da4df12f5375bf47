"""Small problems that the tests of the engine share."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ddcore.data.dataset import Dataset, ImageSet, describe
from ddcore.evaluation import similarity
from ddcore.machine.compute import Compute
from ddcore.runtime.assembly import assemble
from ddcore.runtime.context import Run
from ddcore.spec import parse
from ddcore.spec.weight_files import completed

CPU = torch.device("cpu")


@pytest.fixture
def fill() -> Callable[..., Tensor]:
    """Tensor whose element k is sin(a k + b), in float64 cast to float32.

    Tests named "printed" hold the code against figures that were worked out beforehand for such inputs: by the
    published formulas, in float32, and without this code.
    """

    def filled(*shape: int, a: float = 1.0, b: float = 0.0) -> Tensor:
        return torch.sin(a * torch.arange(math.prod(shape), dtype=torch.float64) + b).float().reshape(shape)

    return filled


def blobs(*, classes: int = 3, per_class: int = 24, shape: tuple[int, int, int] = (3, 8, 8)) -> Dataset:
    """A dataset whose classes differ in colour and gradient, easy to learn."""
    generator = torch.Generator().manual_seed(5)
    colours = torch.rand(classes, *shape, generator=generator) * 160 + 40

    def split(count: int) -> ImageSet:
        labels = torch.arange(classes).repeat(count)
        noise = torch.randn(len(labels), *shape, generator=generator) * 25
        return ImageSet(
            (colours[labels] + noise).clamp(0, 255).to(torch.uint8), labels, tuple(f"class {c}" for c in range(classes))
        )

    return describe("blobs", split(per_class), split(8))


@pytest.fixture
def make_run() -> Callable[..., Run]:
    """Context of a run on blobs, with fields of the specification as keywords, and a folder of backbones."""

    def make(
        dataset: Dataset | None = None, compute: Compute | None = None, backbones: Path | None = None, **fields: Any
    ) -> Run:
        dataset = dataset or blobs()
        spec = parse(
            {"dataset": "blobs", "ipc": 2, "method": "dm", "network": {"name": "convnet", "width": 8}, **fields}
        )
        spec = spec if backbones is None else completed(spec, backbones)
        return assemble(spec, dataset, compute or Compute(CPU), backbones=backbones)

    return make


@pytest.fixture
def plain_map(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws the map of an audit from two of the features as they are.

    t-SNE takes a second, which is most of a small job. It uses no network and no generator of the run, and is tested
    where audits are; so tests of something else that have audits in their runs can do without it.
    """
    monkeypatch.setattr(similarity, "on_plane", lambda features: features[:, :2].float().cpu())


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of teachers and decoded data that the engine's tests share."""
    return tmp_path_factory.mktemp("cache")
