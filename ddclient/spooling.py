"""Images in memory as a file: arrays as npz, tables of Hugging Face as parquet, anything else image by image."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from ddclient.errors import BadInputError

_ROWS = 1024
_BYTES = 32 << 20
_TABLE_ROWS = 256
_PNG_MODES = frozenset(("1", "L", "LA", "P", "RGB", "RGBA", "I;16"))
_IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


@dataclass(frozen=True)
class Pairs:
    """Images and labels that lie apart, as a sequence of pairs.

    Raises:
        BadInputError: there are more of one than of the other, or they cannot be counted.
    """

    images: Any
    labels: Any

    def __post_init__(self) -> None:
        try:
            images, labels = len(self.images), len(self.labels)
        except TypeError:
            raise BadInputError("a pair must be (images, labels): images, and one label for each") from None
        if images != labels:
            raise BadInputError(f"there are {images:,} images but {labels:,} labels; give one label for each image")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, place: int) -> tuple[Any, Any]:
        return self.images[place], self.labels[place]


def arrays(path: Path, train: Pairs, test: Pairs | None) -> None:
    """Write arrays as they are: ``x_train``, ``y_train`` and, where there are test images, ``x_test`` and ``y_test``.

    Args:
        path: the file to make.
        train: images (N, H, W), (N, H, W, C) or (N, C, H, W), and labels (N,), of NumPy or torch.
        test: the same.

    Raises:
        BadInputError: they hold Python objects.
    """
    columns: dict[str, Any] = {}
    for split, pair in (("train", train), ("test", test)):
        if pair is not None:
            columns[f"x_{split}"] = np.ascontiguousarray(_array(pair.images, "images"))
            columns[f"y_{split}"] = _array(pair.labels, "labels")
    np.savez(path, **columns)


def table(path: Path, images: Any) -> None:
    """Write a ``datasets.Dataset`` with all its columns, class names and encoded images.

    The library's own ``to_parquet`` leaves images out that lie in files.
    """
    from datasets.table import embed_table_storage

    with pq.ParquetWriter(path, images.features.arrow_schema) as writer:
        for batch in images.with_format("arrow").iter(_TABLE_ROWS):
            writer.write_table(embed_table_storage(batch))


def items(path: Path, images: Any, classes: Sequence[str] | None, channels: str | None, what: str) -> None:
    """Write a sequence of pairs (image, label), each image packed without loss.

    Args:
        path: the parquet file to make.
        images: the sequence. An image is one of Pillow, or (H, W), (C, H, W) or (H, W, C) of uint8, bool, or floats
            from 0 to 1; a label is a whole number or a word.
        classes: what whole numbers stand for.
        channels: ``first`` or ``last``, where the shape of an array leaves that open.
        what: the user's name for the sequence, for messages.

    Raises:
        BadInputError: there are none, or an item is no such pair; with its place.
    """
    rows = _rows(images, classes, channels, what)
    first = next(rows, None)
    if first is None:
        raise BadInputError(f"{what} holds no images; give some")
    label = pa.string() if isinstance(first[1], str) else pa.int64()
    schema = pa.schema({"image": _IMAGE, "label": label}, _described(classes if label == pa.int64() else None))
    with pq.ParquetWriter(path, schema) as writer:
        for some in _batches(first, rows):
            odd = next((label for _, label in some if isinstance(label, str) != isinstance(first[1], str)), None)
            if odd is not None:
                raise BadInputError(f"the labels of {what} are both {first[1]!r} and {odd!r}; give all alike")
            columns = {"image": [{"bytes": data, "path": None} for data, _ in some], "label": [row[1] for row in some]}
            writer.write_table(pa.table(columns, schema))


def _rows(
    images: Any, classes: Sequence[str] | None, channels: str | None, what: str
) -> Iterator[tuple[bytes, int | str]]:
    for place, item in enumerate(_each(images)):
        where = f"item {place} of {what}"
        if not (isinstance(item, tuple | list) and len(item) >= 2):
            raise BadInputError(f"{where} is a {type(item).__name__}, but must be a pair (image, label)")
        label = _label(item[1], where)
        if classes is not None and isinstance(label, int) and not 0 <= label < len(classes):
            raise BadInputError(
                f"the label of {where} is {label}, but there are {len(classes)} classes; it must be 0 to "
                f"{len(classes) - 1}"
            )
        yield _packed(item[0], channels, where), label


def _each(images: Any) -> Iterable[Any]:
    """All items, by number where that is possible; a Dataset need not raise at its end."""
    if hasattr(images, "__getitem__") and hasattr(images, "__len__"):
        return (images[place] for place in range(len(images)))
    if hasattr(images, "__iter__"):
        return (item for item in images)
    raise BadInputError(
        f"`images` is a {type(images).__name__}, but must be a path, a pair (images, labels) of arrays, a Dataset of "
        "torch or of Hugging Face, or a sequence of pairs (image, label)"
    )


def _batches(first: tuple[bytes, int | str], rows: Iterator[tuple[bytes, int | str]]) -> Iterator[list[Any]]:
    some, held = [first], len(first[0])
    for row in rows:
        if len(some) == _ROWS or held >= _BYTES:
            yield some
            some, held = [], 0
        some.append(row)
        held += len(row[0])
    yield some


def _described(classes: Sequence[str] | None) -> dict[str, str]:
    """Class names as Hugging Face's libraries store them."""
    if classes is None:
        return {}
    label = {"names": [str(name) for name in classes], "_type": "ClassLabel"}
    return {"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}, "label": label}}})}


def _label(label: Any, where: str) -> int | str:
    value = label.item() if hasattr(label, "item") else label
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    raise BadInputError(f"the label of {where} is {value!r}, but must be a whole number or a word")


def _packed(image: Any, channels: str | None, where: str) -> bytes:
    """An image without loss: as PNG, or as TIFF where PNG has no such pixels."""
    picture = image if isinstance(image, Image.Image) else _picture(image, channels, where)
    out = io.BytesIO()
    if picture.mode in _PNG_MODES:
        picture.save(out, "png", compress_level=1)
    else:
        try:
            picture.save(out, "tiff")
        except (OSError, KeyError) as error:
            raise BadInputError(f"{where} is an image of the mode {picture.mode}; convert it to RGB") from error
    return out.getvalue()


def _picture(image: Any, channels: str | None, where: str) -> Image.Image:
    values = _array(image, where)
    if values.dtype.kind in "iu" and values.dtype not in (np.uint8, np.uint16):
        if values.size and not 0 <= values.min() <= values.max() <= 255:
            raise BadInputError(f"{where} has values from {values.min()} to {values.max()}, outside 0 to 255")
        values = values.astype(np.uint8)
    if values.dtype.kind == "f":
        values = _eight_bits(values, where)
    if values.dtype.kind == "b":
        values = values.astype(np.uint8) * np.uint8(255)
    values = _channels_last(values, hasattr(image, "detach"), channels, where)
    if values.dtype == np.uint16 and values.ndim == 3:
        raise BadInputError(f"{where} is coloured and has 16 bits a pixel; give uint8, or floats from 0 to 1")
    try:
        return Image.fromarray(values)
    except (TypeError, ValueError) as error:
        raise BadInputError(f"{where} has the shape {values.shape} of {values.dtype}, which is no image") from error


def _eight_bits(values: NDArray[Any], where: str) -> NDArray[np.uint8]:
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if not (low >= 0 and high <= 1):  # NaN too
        raise BadInputError(
            f"{where} has pixels from {low:g} to {high:g}, but floats must run from 0 to 1; leave out what normalises "
            "them, or give uint8"
        )
    return np.rint(values.astype(np.float64) * 255).astype(np.uint8)


def _channels_last(values: NDArray[Any], of_torch: bool, channels: str | None, where: str) -> NDArray[Any]:
    """(H, W), (C, H, W) or (H, W, C) as (H, W) or (H, W, C). Where both could be, torch has channels first."""
    if values.ndim == 2:
        return values
    fit = (1, 3, 4)
    first, last = values.ndim == 3 and values.shape[0] in fit, values.ndim == 3 and values.shape[2] in fit
    if not (first or last):
        raise BadInputError(f"{where} has the shape {values.shape}, but must be (H, W), (C, H, W) or (H, W, C)")
    if first and last:
        first = channels == "first" if channels is not None else of_torch
    if first:
        values = values.transpose(1, 2, 0)
    return np.ascontiguousarray(values[:, :, 0] if values.shape[2] == 1 else values)


def _array(values: Any, what: str) -> NDArray[Any]:
    """An array of NumPy, of whatever can become one."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    try:
        found = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise BadInputError(f"{what}: a {type(values).__name__} cannot become an array ({error})") from error
    if found.dtype == object and all(isinstance(value, str) for value in found.flat):
        found = found.astype(np.str_)
    if found.dtype.hasobject:
        raise BadInputError(f"{what}: an array of Python objects cannot be sent; give numbers, or words as labels")
    return found
