"""Decoded datasets on disk, so that images are decoded once and memory-mapped ever after."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ddcore.data.dataset import ImageSet, digest_of
from ddcore.machine.cache import note_use

_logger = logging.getLogger(__name__)
_FORMAT = 2
"""1 dropped transparency and the lower half of 16-bit pixels."""
_FACTS = "dataset.json"


@dataclass(frozen=True)
class Decoded:
    """Both splits and the digest of :func:`ddcore.data.dataset.digest_of`."""

    train: ImageSet
    test: ImageSet
    digest: str


def cached(cache: Path | None, files: Sequence[Path], build: Callable[[], tuple[ImageSet, ImageSet]]) -> Decoded:
    """Read a decoded dataset from the cache, or build it and leave it there.

    The key is the path, size and modification time of every source file, so replacing a file makes a
    new entry. Several processes may build the same entry at once; one of them wins. A cache that
    cannot be written is reported to the log and done without.

    Args:
        cache: folder shared by jobs; ``None`` builds in memory.
        files: what the dataset is built from.
        build: reads and decodes the files.

    Returns:
        Images that lie in memory-mapped files where there is a cache; changing them changes no file.
    """
    if cache is None:
        return _decoded(*build())
    folder = cache / "datasets" / _key(files)
    found = _read(folder)
    if found is not None:
        note_use(folder)
        return found
    built = _decoded(*build())
    try:
        _write(folder, built)
    except OSError as error:
        _logger.warning("cannot keep the decoded dataset in %s: %s", folder, error)
        return built
    return _read(folder) or built


def _decoded(train: ImageSet, test: ImageSet) -> Decoded:
    return Decoded(train, test, digest_of(train, test))


def _key(files: Sequence[Path]) -> str:
    digest = hashlib.sha256(f"decoded {_FORMAT}\n".encode())
    for file in files:
        facts = file.stat()
        digest.update(f"{file.resolve()}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _read(folder: Path) -> Decoded | None:
    """The entry, or ``None`` where there is none or it is damaged."""
    try:
        facts = json.loads((folder / _FACTS).read_text("utf-8"))
        classes = tuple(facts["classes"])
        train, test = (_read_split(folder, split, classes, facts["remarks"][split]) for split in ("train", "test"))
        return Decoded(train, test, facts["digest"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        _logger.warning("decoding again: the entry in %s is damaged (%s)", folder, error)
        return None


def _read_split(folder: Path, split: str, classes: tuple[str, ...], remarks: Sequence[str]) -> ImageSet:
    # Copy-on-write, because torch does not accept read-only memory without a complaint.
    images = np.load(folder / f"{split}-images.npy", mmap_mode="c", allow_pickle=False)
    labels = np.load(folder / f"{split}-labels.npy", allow_pickle=False)
    return ImageSet(torch.from_numpy(images), torch.from_numpy(labels), classes, tuple(remarks))


def _write(folder: Path, decoded: Decoded) -> None:
    """Write an entry beside its place and move it there in one step."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=folder.parent, ignore_cleanup_errors=True) as scratch:
        entry = Path(scratch) / "entry"
        entry.mkdir()
        for split, images in (("train", decoded.train), ("test", decoded.test)):
            _save(entry / f"{split}-images.npy", images.images)
            _save(entry / f"{split}-labels.npy", images.labels)
        remarks = {"train": decoded.train.remarks, "test": decoded.test.remarks}
        facts = {"format": _FORMAT, "classes": decoded.train.classes, "digest": decoded.digest, "remarks": remarks}
        (entry / _FACTS).write_text(json.dumps(facts), "utf-8")
        _replace(entry, folder, Path(scratch) / "damaged")


def _replace(entry: Path, folder: Path, aside: Path) -> None:
    try:
        entry.rename(folder)
    except OSError:
        if _read(folder) is not None:
            return  # another process was faster, with the same content
        folder.rename(aside)
        entry.rename(folder)


def _save(path: Path, values: torch.Tensor) -> None:
    with path.open("wb") as file:
        np.save(file, values.numpy(), allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
