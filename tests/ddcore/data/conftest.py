"""Parquet files with images, good and bad."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image


def random_pixels(seed: int, height: int = 6, width: int = 5, channels: int = 3) -> NDArray[np.uint8]:
    """Random (C, H, W) pixels."""
    return np.random.default_rng(seed).integers(0, 256, (channels, height, width), dtype=np.uint8)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """PNG file of (C, H, W) pixels."""
    buffer = io.BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0).copy()).save(buffer, "PNG")
    return buffer.getvalue()


def write_table(
    path: Path,
    images: Sequence[Any],
    labels: Any,
    *,
    classes: Sequence[str] | None = None,
    columns: tuple[str, str] = ("image", "label"),
    binary: bool = False,
) -> None:
    """Write encoded images and their labels in Hugging Face layout."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = images if binary else [{"bytes": data, "path": None} for data in images]
    kind = pa.binary() if binary else pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    labels = labels if isinstance(labels, pa.Array) else pa.array(labels)
    table = pa.table({columns[0]: pa.array(cells, kind), columns[1]: labels})
    if classes is not None:
        features = {columns[0]: {"_type": "Image"}, columns[1]: {"_type": "ClassLabel", "names": list(classes)}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path)


class Toy:
    """A data root with the dataset ``toy``, whose splits a test may replace."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "toy"

    def images(self, count: int, seed: int = 0, **shape: int) -> list[bytes]:
        """Encoded images; ``shape`` gives height, width and channels."""
        return [png(random_pixels(seed + n, **shape)) for n in range(count)]

    def write(self, split: str, images: Sequence[Any], labels: Any, part: str = "00000-of-00001", **how: Any) -> Path:
        """Write one file of a split."""
        path = self.folder / f"{split}-{part}.parquet"
        write_table(path, images, labels, **how)
        return path


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    """Six training and four test images (3 x 6 x 5), alternately of the classes cat and dog."""
    toy = Toy(tmp_path / "data root")
    toy.write("train", toy.images(6), [0, 1] * 3, classes=["cat", "dog"])
    toy.write("test", toy.images(4, seed=50), [0, 1] * 2, classes=["cat", "dog"])
    return toy


@pytest.fixture
def pixels() -> Callable[..., NDArray[np.uint8]]:
    """The pixels behind the n-th image of :meth:`Toy.images`."""
    return random_pixels
