"""What taking a user's images in costs beside decoding them with Pillow on the same cores, and what it holds."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor

from benchmarks.harness import Benchmark, Way
from ddcore.data.ingest.intake import take_in
from ddcore.data.source import batches
from ddcore.spec.ingest import IngestOptions

_COUNT = 100_000
_SIDE = 64
_CLASSES = 10
_AT_ONCE = 128


def _photographs(place: Path) -> list[Path]:
    """JPEGs of 64 x 64 pixels, smooth as photographs are, in a folder for each class."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(_COUNT):
        path = place / f"class {number % _CLASSES}" / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        rough = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        rough.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC).save(path, quality=90)
        paths.append(path)
    return sorted(paths)


def _decoded(images: Sequence[Path | bytes]) -> None:
    for image in images:
        with Image.open(io.BytesIO(image) if isinstance(image, bytes) else image) as opened:
            np.asarray(opened.convert("RGB"))


def _by_pillow(images: Sequence[Path | bytes]) -> Sequence[Tensor]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(_decoded, batches(images, _AT_ONCE)))
    return [torch.tensor([float(len(images))])]


def _taken_in(place: Path) -> Sequence[Tensor]:
    with tempfile.TemporaryDirectory(prefix="ingest-") as shelf:
        report = take_in(place, Path(shelf), name="images", options=IngestOptions()).report
        return [torch.tensor([float(sum(split.images for split in report.splits.values()))])]


def _jpegs() -> Sequence[Way]:
    folder = tempfile.TemporaryDirectory(prefix="photographs-")
    paths = _photographs(Path(folder.name))
    return [
        Way("Pillow, as many threads as cores", lambda: _by_pillow(paths)),
        Way("taken in", lambda: _taken_in(Path(folder.name))),
    ]


def _cifar10() -> Sequence[Way]:
    place = Path(os.environ["DD_DATA_ROOT"]) / "cifar10"
    files = sorted(place.rglob("*.parquet"))

    def decode_all() -> Sequence[Tensor]:
        tables = [pq.read_table(file, columns=["image"])["image"] for file in files]
        rows = [row["bytes"] for table in tables for row in table.to_pylist()]
        return _by_pillow(rows)

    return [
        Way("Pillow, as many threads as cores", decode_all),
        Way("taken in", lambda: _taken_in(place)),
    ]


BENCHMARKS = (
    Benchmark("ingest-jpeg", f"{_COUNT:,} JPEGs of {_SIDE} pixels, at least 0.7 x the speed of Pillow", _jpegs, 0.7),
    Benchmark("ingest-cifar10", "the 60,000 PNGs of CIFAR-10 in parquet", _cifar10),
)
