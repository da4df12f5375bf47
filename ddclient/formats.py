"""The forms in which a distilled set is fetched."""

from __future__ import annotations

import shutil
from enum import StrEnum
from pathlib import Path

from ddclient import bundle
from ddclient.bundle import Bundle


class Format(StrEnum):
    """One of them."""

    BUNDLE = "bundle"
    """All of it: tensors, manifest, parquet, previews."""
    NPZ = "npz"
    """Arrays of NumPy in one file."""
    FOLDER = "folder"
    """8-bit PNG files, a folder for each class."""
    PARQUET = "parquet"
    """Rows of images and labels with a dataset card, as Hugging Face datasets are stored."""


KINDS = {Format.NPZ: "npz", Format.FOLDER: "image_folder"}
"""Artifacts that hold a form ready made."""


def unzip(archive: Path, folder: Path) -> Path:
    """Unpack an archive of images into its own folder, and remove it.

    Raises:
        DownloadError: it is no archive, or holds names that lead out of the folder.
    """
    try:
        bundle.extract(archive, folder)
    finally:
        archive.unlink()
    return folder


def parquet(found: Bundle, folder: Path) -> Path:
    """Copy the parquet files of a bundle and their dataset card."""
    shutil.copytree(found.path / "data", folder / "data", dirs_exist_ok=True)
    shutil.copy2(found.path / "README.md", folder / "README.md")
    return folder
