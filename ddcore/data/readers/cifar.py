"""CIFAR-10 and CIFAR-100 as their authors publish them, in the binary and in the Python version."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ddcore.data.plain_pickle import load_plain
from ddcore.data.readers import reader
from ddcore.data.source import Choices, Guess, Labels, Part, RawImage, Source
from ddcore.errors import DataError
from ddcore.spec.datasets import DATASETS
from ddcore.spec.listing import listed

_PIXELS = 3 * 32 * 32
_ROWS = 1024
_PICKLE = b"\x80"


@dataclass(frozen=True)
class _Version:
    """How one of the four archives is laid out."""

    name: str
    folder: str
    train: tuple[str, ...]
    test: str
    meta: str
    label_key: str
    names_key: str
    label_bytes: int = 0
    """Bytes before the pixels of a record, of which the last is the label; 0 in pickles."""

    @property
    def title(self) -> str:
        return DATASETS[self.name].title

    @property
    def files(self) -> tuple[str, ...]:
        return (*self.train, self.test)

    def looks_right(self, file: Path) -> bool:
        if not file.is_file():
            return False
        if self.label_bytes:
            size = file.stat().st_size
            return size > 0 and size % (self.label_bytes + _PIXELS) == 0
        try:
            with file.open("rb") as opened:
                return opened.read(1) == _PICKLE
        except OSError:
            return False


_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
_VERSIONS = (
    _Version(
        "cifar10", "cifar-10-batches-bin", tuple(f"{name}.bin" for name in _BATCHES), "test_batch.bin",
        "batches.meta.txt", "", "", 1,
    ),
    _Version("cifar10", "cifar-10-batches-py", _BATCHES, "test_batch", "batches.meta", "labels", "label_names"),
    _Version("cifar100", "cifar-100-binary", ("train.bin",), "test.bin", "fine_label_names.txt", "", "", 2),
    _Version("cifar100", "cifar-100-python", ("train",), "test", "meta", "fine_labels", "fine_label_names"),
)  # fmt: skip


@reader("cifar")
class Cifar:
    """Reads the folders ``cifar-10-batches-bin``, ``cifar-10-batches-py``, ``cifar-100-binary`` and
    ``cifar-100-python``.

    CIFAR-100 has its hundred fine classes. The Python version consists of pickles, from which numbers and text are
    taken and nothing is run.
    """

    heeds: ClassVar[frozenset[str]] = frozenset()

    def sniff(self, place: Path) -> Guess | None:
        """Sure where the authors' names of files occur, and what they hold has the right length or first byte."""
        try:
            found = _found(place)
        except OSError:
            return None
        if not found:
            return None
        folder, version = found[0]
        return Guess(0.95, f"{folder.name} holds batches of {version.title}")

    def read(self, place: Path, choices: Choices) -> Source:  # noqa: ARG002 - there is nothing to choose
        """All batches, with the classes in the authors' order.

        Raises:
            DataError: a batch is missing or damaged, labels name no class, a pickle holds more than numbers and text,
                or CIFAR-10 and CIFAR-100 lie side by side.
        """
        found = _found(place)
        if not found:
            raise DataError(f"{place} holds no batches of CIFAR-10 or CIFAR-100; give the folder that holds them")
        folder, version = found[0]
        other = next(((inner, one) for inner, one in found if one.name != version.name), None)
        if other is not None:
            raise DataError(
                f"{place} holds {version.title} ({folder.name}) and {other[1].title} ({other[0].name}); give one of "
                "them"
            )
        missing = [name for name in version.files if not (folder / name).is_file()]
        if missing:
            raise DataError(
                f"{folder} lacks {', '.join(missing)}; {version.title} consists of {', '.join(version.files)}, so "
                "unpack its archive again"
            )
        names = _class_names(folder / version.meta, version)
        parts = [_part(folder / name, version, names) for name in version.files]
        listing = listed(place)
        used = [(folder / name).relative_to(place) for name in (*version.files, version.meta)]
        return Source(parts, listing.left_alone(used))


def _found(place: Path) -> list[tuple[Path, _Version]]:
    """Versions that lie in a folder, or in folders in it that have the authors' names."""
    places = [(place, version) for version in _VERSIONS]
    places += [(place / version.folder, version) for version in _VERSIONS]
    return [(folder, version) for folder, version in places if folder.is_dir() and _present(folder, version)]


def _present(folder: Path, version: _Version) -> bool:
    files = [folder / name for name in version.files if (folder / name).is_file()]
    named = bool(version.label_bytes) and (folder / version.meta).is_file()
    return bool(files) and (named or any(version.looks_right(file) for file in files))


def _class_names(meta: Path, version: _Version) -> tuple[str, ...]:
    if not meta.is_file():
        return DATASETS[version.name].classes
    names: Any
    if version.label_bytes:
        try:
            names = [line.strip() for line in meta.read_text("utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{meta} is no readable text ({error}); copy it again, or remove it") from error
    else:
        names = load_plain(meta).get(version.names_key)
        if isinstance(names, list):
            names = [name.decode("utf-8", "replace") if isinstance(name, bytes) else name for name in names]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise DataError(f"{meta} lists no names of classes; copy it again, or remove it to use the authors' names")
    return tuple(names)


def _part(file: Path, version: _Version, names: tuple[str, ...]) -> Part:
    numbers = _binary_labels(file, version) if version.label_bytes else _pickled(file, version)[1]
    odd = np.flatnonzero((numbers < 0) | (numbers >= len(names)))
    if len(odd):
        raise DataError(
            f"{file.name} image {odd[0]}: the label {numbers[odd[0]]} is outside 0 to {len(names) - 1}; {len(names)} "
            f"classes are known, so correct {version.meta} or copy {file.name} again"
        )
    return Part(
        "test" if file.name == version.test else "train",
        file.name,
        Labels(numbers, names, declared=True),
        partial(_images, file, version),
        lambda number: f"{file.name} image {number}",
    )


def _images(file: Path, version: _Version) -> Iterator[Sequence[RawImage]]:
    rows = _records(file, version)[:, version.label_bytes :] if version.label_bytes else _pickled(file, version)[0]
    for start in range(0, len(rows), _ROWS):
        batch = np.array(rows[start : start + _ROWS])
        yield list(batch.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def _binary_labels(file: Path, version: _Version) -> NDArray[np.int64]:
    return _records(file, version)[:, version.label_bytes - 1].astype(np.int64)


def _records(file: Path, version: _Version) -> NDArray[np.uint8]:
    size, row = file.stat().st_size, version.label_bytes + _PIXELS
    if not size or size % row:
        raise DataError(
            f"{file} has {size:,} bytes, which is no multiple of the {row:,} of a record of {version.title}; copy it "
            "again"
        )
    try:
        return np.memmap(file, np.uint8, "r").reshape(-1, row)
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}); allow it, or copy it again") from error


def _pickled(file: Path, version: _Version) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    found = load_plain(file)
    pixels, labels = found.get("data"), found.get(version.label_key)
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (_PIXELS,):
        raise DataError(f"{file} holds no `data` of uint8 (N, {_PIXELS}); unpack the archive of {version.title} again")
    if isinstance(labels, list) and all(type(label) is int for label in labels):
        labels = np.array(labels, dtype=np.int64) if max(map(abs, labels), default=0) < 2**31 else None
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu" or labels.shape != pixels.shape[:1]:
        raise DataError(
            f"{file} holds no `{version.label_key}` with a whole number for each of its {len(pixels)} images; unpack "
            f"the archive of {version.title} again"
        )
    return pixels, labels.astype(np.int64)
