"""Small sets of every layout that we read."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.io
from numpy.typing import NDArray
from PIL import Image

COUNT = 20
LABELS = np.arange(COUNT) % 2


def pixels(side: int = 6, channels: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (COUNT, side, side, channels), dtype=np.uint8)


def encoded(values: NDArray[np.uint8], kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, kind)
    return buffer.getvalue()


def parquet(place: Path) -> None:
    images = [encoded(image, "PNG") for image in pixels()]
    pq.write_table(pa.table({"image": images, "label": LABELS}), place / "train.parquet")


def npz(place: Path) -> None:
    np.savez_compressed(place / "set.npz", images=pixels(), labels=LABELS)


def folders(place: Path) -> None:
    for number, image in enumerate(pixels()):
        path = (
            place / f"class {number % 2}" / f"{number}.{('png', 'jpg', 'gif', 'webp', 'tif', 'bmp')[number // 2 % 6]}"
        )
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(path)


def table(place: Path) -> None:
    folders(place)
    lines = (f'"{path.relative_to(place)}",{path.parent.name}' for path in sorted(place.rglob("*.*")))
    (place / "table.csv").write_text("file,label\n" + "\n".join(lines))


def json_lines(place: Path) -> None:
    folders(place)
    lines = (
        f'{{"file_name": "{path.relative_to(place)}", "label": "{path.parent.name}"}}'
        for path in sorted(place.rglob("*.*"))
    )
    (place / "metadata.jsonl").write_text("\n".join(lines))


def idx(place: Path) -> None:
    for name, head, data in (
        ("train-images-idx3-ubyte", [0x803, COUNT, 6, 6], pixels(channels=1)),
        ("train-labels-idx1-ubyte", [0x801, COUNT], LABELS.astype(np.uint8)),
    ):
        (place / name).write_bytes(np.array(head, dtype=">i4").tobytes() + data.tobytes())


def cifar_binary(place: Path) -> None:
    rows = np.concatenate([LABELS[:, None], LABELS[:, None], pixels(32).reshape(COUNT, -1)], axis=1).astype(np.uint8)
    for name in ("train.bin", "test.bin"):
        (place / name).write_bytes(rows.tobytes())
    (place / "fine_label_names.txt").write_text("cat\ndog\n")


def cifar_python(place: Path) -> None:
    content = {"data": pixels(32).reshape(COUNT, -1), "fine_labels": LABELS.tolist()}
    for name in ("train", "test"):
        (place / name).write_bytes(pickle.dumps(content, protocol=2))
    (place / "meta").write_bytes(pickle.dumps({"fine_label_names": ["cat", "dog"]}, protocol=2))


def svhn(place: Path) -> None:
    for split in ("train", "test"):
        values = {"X": pixels(32).transpose(1, 2, 3, 0), "y": np.arange(COUNT)[:, None] % 10 + 1}
        scipy.io.savemat(place / f"{split}_32x32.mat", values)


def tiny_imagenet(place: Path) -> None:
    (place / "wnids.txt").write_text("n01\nn02\n")
    for number, image in enumerate(pixels()):
        path = place / "train" / f"n0{number % 2 + 1}" / "images" / f"{number}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)


SAMPLES: Mapping[str, tuple[Callable[[Path], None], ...]] = {
    "arrays": (npz,),
    "cifar": (cifar_binary, cifar_python),
    "class folders": (folders,),
    "idx": (idx,),
    "parquet": (parquet,),
    "svhn": (svhn,),
    "table": (table, json_lines),
    "tiny imagenet": (tiny_imagenet,),
}
"""What writes files of each layout into an empty folder."""
