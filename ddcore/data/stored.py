"""Sets as they are kept: uint8 arrays that are memory-mapped, and the report of what was taken in.

A folder holds ``dataset.json`` and for each split ``<split>-images.npy`` (N, C, H, W) and ``<split>-labels.npy`` (N,):
one file a split, so that it can be mapped as one tensor, however large it is.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ddcore.data.dataset import ImageSet
from ddcore.spec.ingest import DatasetReport
from ddcore.spec.local_sets import STORED_FACTS, STORED_FORMAT

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredSet:
    """A set that has been taken in.

    Attributes:
        train: images to learn from, in memory-mapped files; changing them changes no file.
        test: images that score.
        report: what was found in the user's files.
    """

    train: ImageSet
    test: ImageSet
    report: DatasetReport

    def told_by(self, report: DatasetReport) -> StoredSet:
        """The same pixels with the report of other files that held them, or of the same files under another name."""
        return StoredSet(replace(self.train, remarks=tuple(report.remarks)), self.test, report)


def read(folder: Path) -> StoredSet | None:
    """The set in a folder, or ``None`` where there is none or it is damaged."""
    try:
        facts = json.loads((folder / STORED_FACTS).read_text("utf-8"))
        if facts["format"] != STORED_FORMAT:
            return None
        report = DatasetReport.model_validate(facts["report"])
        classes = tuple(report.classes)
        train = _read_split(folder, "train", classes, tuple(report.remarks))
        return StoredSet(train, _read_split(folder, "test", classes, ()), report)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        _logger.warning("the set in %s is damaged and is taken in again (%s)", folder, error)
        return None


def _read_split(folder: Path, split: str, classes: tuple[str, ...], remarks: tuple[str, ...]) -> ImageSet:
    # Copy-on-write, because torch does not accept read-only memory without a complaint.
    images = np.load(folder / f"{split}-images.npy", mmap_mode="c", allow_pickle=False)
    labels = np.load(folder / f"{split}-labels.npy", allow_pickle=False)
    return ImageSet(torch.from_numpy(images), torch.from_numpy(labels), classes, remarks)


def write_facts(folder: Path, report: DatasetReport) -> None:
    """Complete a folder that holds the arrays."""
    write_safely(folder / STORED_FACTS, json.dumps({"format": STORED_FORMAT, "report": report.model_dump(mode="json")}))


def write_safely(path: Path, text: str) -> None:
    """Write a text that is on disk when this returns."""
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
