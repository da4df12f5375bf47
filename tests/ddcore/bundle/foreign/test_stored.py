"""A set on its way between two processes, and what is not let through."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ddcore.bundle import foreign
from ddcore.bundle.foreign import stored
from ddcore.bundle.foreign.likeness import Outline
from ddcore.data.dataset import Dataset
from ddcore.errors import DataError

SOFT = torch.tensor([[0.5, 0.25, 0.25], [0.75, 0.25, 0.0], [0.0, 1.0, 0.0]]).repeat_interleave(2, 0)


@pytest.fixture
def written(tmp_path: Path, dataset: Dataset, pixels: Tensor) -> Path:
    """A folder with a set that has labels for each class."""
    torch.save({"images": pixels, "labels": torch.arange(3).repeat_interleave(2), "soft_labels": SOFT},
               tmp_path / "set.pt")  # fmt: skip
    stored.write_outline(tmp_path, dataset)
    stored.write(tmp_path, foreign.read(tmp_path / "set.pt", stored.read_outline(tmp_path), "unit"))
    return tmp_path


def test_it_comes_back_as_it_was(written: Path, dataset: Dataset, pixels: Tensor) -> None:
    assert stored.read_outline(written) == Outline("garments", (3, 6, 5), dataset.classes, (4, 4, 4))
    back = stored.read(written, dataset)
    direct = foreign.read(written / "set.pt", dataset, "unit")
    assert back.images.equal(pixels)
    assert back.soft_labels is not None
    assert back.soft_labels.equal(SOFT)
    assert (back.labels.tolist(), back.ipc, back.values, back.origin) == (
        [0, 0, 1, 1, 2, 2], 2, "unit", direct.origin,
    )  # fmt: skip


def without(name: str) -> Callable[[dict[str, Tensor]], None]:
    return lambda tensors: tensors.__delitem__(name)


DAMAGE: dict[str, Callable[[dict[str, Tensor]], object]] = {
    "no labels": without("labels"),
    "another shape": lambda tensors: tensors.update(images=tensors["images"][:, :, :5].contiguous()),
    "fewer images": lambda tensors: tensors.update(images=tensors["images"][:3].contiguous()),
    "labels of no class": lambda tensors: tensors.update(labels=tensors["labels"] + 1),
    "one class twice": lambda tensors: tensors.update(labels=torch.zeros(6, dtype=torch.int64)),
    "labels that are no integers": lambda tensors: tensors.update(labels=tensors["labels"].float()),
    "NaN": lambda tensors: tensors["images"].view(-1)[0].fill_(float("nan")),
    "soft labels of others": lambda tensors: tensors.update(soft_labels=torch.ones(6, 2)),
    "infinite soft labels": lambda tensors: tensors["soft_labels"].fill_(float("inf")),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_a_decoder_that_was_taken_over_writes_is_refused(damage: str, written: Path, dataset: Dataset) -> None:
    tensors = load_file(written / "set.safetensors")
    DAMAGE[damage](tensors)
    save_file(tensors, written / "set.safetensors")
    with pytest.raises(DataError, match="send it once more"):
        stored.read(written, dataset)


@pytest.mark.parametrize("facts", ["[]", "{", json.dumps({"ipc": 9, "values": "unit", "origin": {"file": "x"}})])
def test_so_are_numbers_that_cannot_be(facts: str, written: Path, dataset: Dataset) -> None:
    (written / "set.json").write_text(facts)
    with pytest.raises(DataError, match="send it once more"):
        stored.read(written, dataset)
