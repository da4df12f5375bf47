"""A bundle in other shapes: one zip file, NumPy arrays, a folder of images."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import numpy as np

from ddcore.bundle.folder import MANIFEST, read, read_manifest
from ddcore.bundle.preview import encode_png, to_uint8
from ddcore.machine.files import write_atomically


def export_zip(out: Path, to: Path) -> None:
    """Pack the files of a bundle into one zip file; equal files give equal bytes.

    Args:
        out: folder of the bundle's files.
        to: the zip file to write.

    Raises:
        DataError: see :func:`ddcore.bundle.read`.
    """
    names = [MANIFEST, *sorted(read_manifest(out).files)]
    write_atomically(to, _zip((name, (out / name).read_bytes()) for name in names))


def export_npz(out: Path, to: Path) -> None:
    """Write the arrays of a bundle for ``numpy.load``, without pickled objects.

    ``images`` float32 (N, C, H, W) in pixel units, ``labels`` int64 (N,), ``soft_labels`` where there
    are any, ``classes`` (text), ``mean`` and ``std`` float64 (C,), ``whitening_mean`` and ``whitening_matrix``
    where the job whitened, ``stages`` int64 (N,) and ``learning_rates`` float64 (K,) where the set was learned in K.

    Args:
        out: folder of the bundle's files.
        to: the ``.npz`` file to write.

    Raises:
        DataError: see :func:`ddcore.bundle.read`.
    """
    content = read(out)
    arrays = {
        "images": content.images.numpy(),
        "labels": content.labels.numpy(),
        "classes": np.array(content.dataset.classes),
        "mean": np.array(content.dataset.mean),
        "std": np.array(content.dataset.std),
    }
    if content.soft_labels is not None:
        arrays["soft_labels"] = content.soft_labels.numpy()
    if content.stages is not None:
        arrays["stages"] = content.stages.of_images.numpy()
        arrays["learning_rates"] = np.array(content.stages.rates)
    if content.whitening is not None:
        arrays["whitening_mean"] = content.whitening.mean.numpy()
        arrays["whitening_matrix"] = content.whitening.matrix.numpy()
    buffer = BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write_atomically(to, buffer.getvalue())


def export_imagefolder(out: Path, to: Path) -> None:
    """Write a zip file of 8-bit PNG images, one folder a class, as ImageFolder loaders expect.

    Folders are called ``00_airplane``, ``01_automobile``, …: such loaders number classes in the order
    of the folders' names, and the number in front makes that the order of the labels.

    Args:
        out: folder of the bundle's files.
        to: the zip file to write.

    Raises:
        DataError: see :func:`ddcore.bundle.read`.
    """
    content = read(out)
    digits = len(str(len(content.dataset.classes) - 1))
    names = [re.sub(r"[^\w-]+", "_", name)[:60] for name in content.dataset.classes]
    folders = [f"{number:0{digits}d}_{name}" for number, name in enumerate(names)]
    labels = content.labels.tolist()
    images = to_uint8(content.images).numpy()
    pngs = ((f"{folders[labels[row]]}/{row:05d}.png", encode_png(image)) for row, image in enumerate(images))
    write_atomically(to, _zip(pngs))


def _zip(files: Iterable[tuple[str, bytes]]) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files:
            entry = zipfile.ZipInfo(name)  # dated 1980, so that the bytes do not depend on the clock
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_STORED if name.endswith((".png", ".parquet")) else zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    return buffer.getvalue()
