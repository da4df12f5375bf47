"""What is sent of a set of others: a file as it is, a folder or two files as a tar."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from ddclient.errors import BadInputError
from ddclient.foreign_files import content_of
from ddclient.packing import Content


def members(content: Content) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(content.read(0, content.size))) as archive:
        return {name: archive.extractfile(name).read() for name in archive.getnames()}  # type: ignore[union-attr]


def test_a_file_is_sent_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "set.npz").write_bytes(b"arrays")
    content = content_of(tmp_path / "set.npz")
    assert (content.name, content.read(0, content.size)) == ("set.npz", b"arrays")


def test_labels_beside_images_go_with_them(tmp_path: Path) -> None:
    (tmp_path / "images_best.pt").write_bytes(b"images")
    alone = content_of(tmp_path / "images_best.pt")
    assert alone.name == "images_best.pt"
    (tmp_path / "labels_best.pt").write_bytes(b"labels")
    content = content_of(tmp_path / "images_best.pt")
    assert (content.name, members(content)) == ("images_best.tar", {"images.pt": b"images", "labels.pt": b"labels"})


def test_labels_that_are_named(tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(b"images")
    (tmp_path / "y.pt").write_bytes(b"labels")
    assert members(content_of(tmp_path / "x.pt", tmp_path / "y.pt"))["labels.pt"] == b"labels"
    (tmp_path / "set.npz").write_bytes(b"arrays")
    with pytest.raises(BadInputError, match=r"set\.npz holds its own; leave them out"):
        content_of(tmp_path / "set.npz", tmp_path / "y.pt")


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    (tmp_path / "pngs" / "0").mkdir(parents=True)
    (tmp_path / "pngs" / "0" / "a.png").write_bytes(b"picture")
    content = content_of(tmp_path / "pngs")
    assert (content.name, members(content)) == ("pngs.tar", {"0/a.png": b"picture"})


def test_a_bundle_of_ours_has_its_recipe(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(BadInputError, match="ddctl train-on"):
        content_of(tmp_path)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="name the distilled set"):
        content_of(tmp_path / "none.pt")
