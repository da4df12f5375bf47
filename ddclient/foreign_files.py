"""The file of a set that others made, as bytes that can be sent."""

from __future__ import annotations

import os
from pathlib import Path

from ddclient import packing
from ddclient.errors import BadInputError
from ddclient.packing import Content, PlainFile, Tar
from ddcore.spec.scoring import TORCH_FILES, labels_beside


def content_of(file: str | os.PathLike[str], labels: str | os.PathLike[str] | None = None) -> Content:
    """A file as it is; a folder, or images and labels in two files, as a tar.

    Args:
        file: the set.
        labels: ``.pt`` file of its labels. Default: the one that lies beside ``images_best.pt`` as ``labels_best.pt``.

    Raises:
        BadInputError: there is no such file, or it cannot be sent.
    """
    place = Path(file).expanduser()
    if not place.exists():
        raise BadInputError(f"there is no folder or file {place}; name the distilled set to score")
    if (place / "manifest.json").is_file():
        raise BadInputError(f"{place} is a bundle, which has its recipe; score it by `ddctl train-on {place}`")
    if place.is_dir():
        return packing.folder(place)
    beside = labels_beside(place) if labels is None else Path(labels).expanduser()
    if beside is None:
        return PlainFile(place)
    if place.suffix.lower() not in TORCH_FILES:
        raise BadInputError(f"labels go with a .pt file of images, but {place.name} holds its own; leave them out")
    # Under these names the service knows which is which.
    return Tar(f"{place.stem}.tar", [("images.pt", place), ("labels.pt", beside)])
