"""A set of others between two processes: the one that opens what strangers send, and the one that trains on it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from ddcore.bundle.foreign import Foreign
from ddcore.bundle.foreign.likeness import Likeness, Outline
from ddcore.errors import DataError
from ddcore.spec.results import Origin

_TENSORS, _FACTS, _OUTLINE = "set.safetensors", "set.json", "outline.json"


def write_outline(folder: Path, dataset: Likeness) -> None:
    """Say what a set has to fit."""
    (folder / _OUTLINE).write_text(json.dumps(asdict(Outline.of(dataset))), "utf-8")


def read_outline(folder: Path) -> Outline:
    """What a set has to fit."""
    found = json.loads((folder / _OUTLINE).read_text("utf-8"))
    channels, height, width = found["shape"]
    return Outline(found["name"], (channels, height, width), tuple(found["classes"]), tuple(found["class_counts"]))


def write(folder: Path, made: Foreign) -> None:
    """Store a set as plain tensors and numbers."""
    tensors = {"images": made.images.contiguous(), "labels": made.labels.contiguous()}
    if made.soft_labels is not None:
        tensors["soft_labels"] = made.soft_labels.contiguous()
    save_file(tensors, folder / _TENSORS)
    facts = {"ipc": made.ipc, "values": made.values, "origin": made.origin.model_dump(mode="json")}
    (folder / _FACTS).write_text(json.dumps(facts), "utf-8")


def read(folder: Path, dataset: Likeness) -> Foreign:
    """A set that was stored, checked once more: a decoder that was taken over could have written anything.

    Raises:
        DataError: it is none that fits the dataset.
    """
    try:
        facts: dict[str, Any] = json.loads((folder / _FACTS).read_text("utf-8"))
        tensors = load_file(folder / _TENSORS)
        images, labels, soft_labels = tensors["images"], tensors["labels"], tensors.get("soft_labels")
        origin = Origin.model_validate(facts["origin"])
        values, ipc = facts["values"], int(facts["ipc"])
    except Exception as error:  # whatever reading nonsense runs into
        raise DataError(f"the set cannot be read again ({type(error).__name__}); send it once more") from error
    count, classes = ipc * len(dataset.classes), len(dataset.classes)
    fits = (
        values in ("unit", "byte", "normalised")
        and 1 <= ipc <= min(dataset.class_counts)
        and images.shape == (count, *dataset.shape)
        and (labels.shape, labels.dtype) == ((count,), torch.int64)
        and labels.sort().values.equal(torch.arange(classes).repeat_interleave(ipc))
        and (soft_labels is None or (soft_labels.shape, soft_labels.dtype) == ((count, classes), torch.float32))
        and all(bool(tensor.isfinite().all()) for tensor in tensors.values())
    )
    if not fits:
        raise DataError("the set is not what it was when it was read; send it once more")
    return Foreign(images, labels, soft_labels, ipc, values, origin)
