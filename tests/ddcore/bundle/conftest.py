"""A small distilled set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ddcore import bundle
from ddcore.spec import parse
from ddcore.spec.results import Results

CLASSES = ("t-shirt/top", "dress: long", "été")


def make(ipc: int = 2, channels: int = 3, classes: tuple[str, ...] = CLASSES, **fields: Any) -> bundle.Distilled:
    """Random images from -0.5 to 1.5 pixel units."""
    generator = torch.Generator().manual_seed(0)
    reference = bundle.DatasetReference(
        name="garments",
        digest="ab" * 32,
        shape=(channels, 6, 5),
        classes=classes,
        mean=(0.4,) * channels,
        std=(0.25,) * channels,
        flip=True,
        train_images=600,
        test_images=60,
    )
    content: dict[str, Any] = {
        "images": torch.rand(len(classes) * ipc, channels, 6, 5, generator=generator) * 2 - 0.5,
        "labels": torch.arange(len(classes)).repeat_interleave(ipc),
        "spec": parse({"dataset": "garments", "ipc": ipc, "method": "dm", "regularizers": {"mim": 0.8}, "seed": 3}),
        "dataset": reference,
        "results": {
            "accuracy": {"mean": 61.25, "std": 0.5, "networks": 2, "values": [60.75, 61.75]},
            "controls": {"random": {"mean": 40.0, "std": 1.0, "networks": 2, "values": [39.0, 41.0]}},
            "network": {"name": "convnet"},
            "epochs": 300,
            "checkpoint": "last",
            "probe": {"cmi": float("nan")},
        },
        "compute": {"device": "cpu", "precision": "fp32", "compiled": False, "threads": 2},
    }
    content |= fields
    return bundle.Distilled(**{**content, "results": Results.model_validate(content["results"])})


@pytest.fixture
def distilled() -> Callable[..., bundle.Distilled]:
    """Maker of a distilled set; keywords replace its fields."""
    return make


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Folder of a freshly written bundle."""
    folder = tmp_path / "out"
    bundle.write(folder, make())
    return folder
