"""Distilled sets that others made, as they publish them: read without running any code, held against a dataset."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ddcore.bundle.foreign import arrays, pictures, torch_files
from ddcore.bundle.foreign.fitting import fitted
from ddcore.bundle.foreign.found import Found
from ddcore.bundle.foreign.likeness import Likeness
from ddcore.bundle.foreign.values import to_pixels, values_of
from ddcore.data.dataset import Dataset
from ddcore.data.ingest import archives
from ddcore.errors import DataError
from ddcore.spec.results import Origin
from ddcore.spec.scoring import TORCH_FILES, Values, labels_beside

__all__ = ["Foreign", "Likeness", "Values", "read"]

TENSORS = (*TORCH_FILES, ".npz", ".safetensors")
_SHOWN = 6


@dataclass(frozen=True, eq=False)
class Foreign:
    """A distilled set of others that fits a dataset.

    Attributes:
        images: (N, C, H, W) in units of ``values``.
        labels: int64 (N,).
        soft_labels: float32 (N, classes) probabilities, where they belong to the set.
        ipc: images of each class.
        values: units of the images.
        origin: where it comes from, and how it was understood.
    """

    images: Tensor
    labels: Tensor
    soft_labels: Tensor | None
    ipc: int
    values: Values
    origin: Origin

    def pixels(self, dataset: Dataset) -> Tensor:
        """The images in pixel units, float32 and never clamped.

        Args:
            dataset: by whose statistics, or whitening, normalised values are undone.
        """
        return to_pixels(self.images, self.values, dataset).contiguous()

    def understood(self, dataset: Dataset) -> Origin:
        """The origin, with the numbers by which normalised values are undone.

        Args:
            dataset: likewise.
        """
        if self.values != "normalised":
            return self.origin
        mean, std = (", ".join(f"{value:.4f}" for value in numbers) for numbers in (dataset.mean, dataset.std))
        by = "ZCA whitening" if dataset.whitening is not None else f"the mean ({mean}) and the deviation ({std})"
        remarks = (*self.origin.remarks, f"they are taken for normalised by {by} of {dataset.name}")
        return self.origin.model_copy(update={"remarks": remarks})


def read(
    place: Path,
    dataset: Likeness,
    values: Values | None = None,
    labels: Path | None = None,
    limits: archives.Limits | None = None,
) -> Foreign:
    """Read a distilled set.

    Args:
        place: a ``.pt``, ``.npz``, ``.safetensors`` or parquet file, a folder of images by class or of such files, or
            an archive of that.
        dataset: that it stands for.
        values: units of the pixels. Default: by their range, where that tells.
        labels: ``.pt`` file of the labels, for a ``.pt`` file of images.
        limits: to what an archive may unpack.

    Raises:
        DataError: the file cannot be read without running code, is damaged, or does not fit the dataset.
    """
    found = _found(place, dataset, labels, limits or archives.Limits())
    fit = fitted(found, dataset)
    units = values_of(fit.images, values)
    remarks = (*fit.remarks, _units(units, asked=values is not None))
    origin = Origin(file=place.name, sha256=_sha256(place), layout=found.layout, values=units, remarks=remarks)
    return Foreign(fit.images, fit.labels, fit.soft_labels, fit.ipc, units, origin)


def _found(place: Path, dataset: Likeness, labels: Path | None, limits: archives.Limits) -> Found:
    if not place.exists():
        raise DataError(f"there is no folder or file {place}; name the distilled set to score")
    suffix = place.suffix.lower() if place.is_file() else ""
    if labels is not None and suffix not in TORCH_FILES:
        raise DataError(f"--labels goes with a .pt file of images, but {place.name} holds its own labels; leave it out")
    if suffix in TORCH_FILES:
        return torch_files.read(place, labels)
    if suffix == ".npz":
        return arrays.read_npz(place)
    if suffix == ".safetensors":
        return arrays.read_safetensors(place)
    if place.is_dir():
        return _in_folder(place, dataset, limits)
    if archives.is_archive(place):
        return _in_archive(place, dataset, limits)
    if suffix != ".parquet":
        raise DataError(
            f"{place.name} is no file that can be scored: those are .pt, .pth, .npz, .safetensors and .parquet files, "
            "and folders and archives of images by class; store images and labels as one of them"
        )
    return pictures.read(place, dataset)


def _in_archive(place: Path, dataset: Likeness, limits: archives.Limits) -> Found:
    with tempfile.TemporaryDirectory(prefix="ddcore-") as scratch:
        into = Path(scratch) / "unpacked"
        try:
            archives.unpack(place, into, limits)
            return _in_folder(into, dataset, limits)
        except DataError as error:
            # The user knows the archive, not the folder that it was unpacked into.
            raise DataError(str(error).replace(str(into), str(place))) from error


def _in_folder(place: Path, dataset: Likeness, limits: archives.Limits) -> Found:
    """Images by class; or the one file of images that a folder holds, perhaps with its labels."""
    if (place / "manifest.json").is_file():
        raise DataError(f"{place} is a bundle, which has its recipe; score it by `ddctl train-on` with its folder")
    tensors = sorted(path for path in place.rglob("*") if path.suffix.lower() in TENSORS)
    if not tensors:
        return pictures.read(place, dataset)
    labels = {labels_beside(path) for path in tensors}
    images = [path for path in tensors if path not in labels]
    if len(images) > 1:
        names = ", ".join(path.name for path in images[:_SHOWN])
        raise DataError(f"{place} is a folder with {names}; name the file of the images")
    return _found(images[0], dataset, None, limits)


def _units(values: Values, *, asked: bool) -> str:
    why = "as asked" if asked else "by their range"
    return {
        "unit": f"pixels run from 0 to 1, {why}",
        "byte": f"pixels run from 0 to 255, {why}",
        "normalised": f"pixels are normalised, {why}",
    }[values]


def _sha256(place: Path) -> str | None:
    """Of a file; a folder has none."""
    if not place.is_file():
        return None
    with place.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
