"""A dataset of three classes that are told apart by name only, and a distilled set of it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ddcore.data.dataset import Dataset, ImageSet, describe

CLASSES = ("t-shirt/top", "dress: long", "coat")


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    """Four training images a class, (3, 6, 5)."""
    images = torch.randint(256, (12, 3, 6, 5), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    split = ImageSet(images, torch.arange(3).repeat(4), CLASSES)
    return describe("garments", split, split)


@pytest.fixture(scope="session")
def pixels() -> Tensor:
    """Two images a class in the order of the classes, whole multiples of 1/255, (6, 3, 6, 5) float32."""
    return torch.randint(256, (6, 3, 6, 5), generator=torch.Generator().manual_seed(1)).float() / 255
