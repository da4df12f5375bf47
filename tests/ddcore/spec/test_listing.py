from __future__ import annotations

import os
from pathlib import Path

import pytest

from ddcore.errors import DataError
from ddcore.spec.listing import listed


def test_what_systems_leave_behind_is_left_out_and_counted(tmp_path: Path) -> None:
    for file in (
        "b/2.png", "b/10.png", "a b/é.jpg", "notes.ipynb", ".DS_Store", "b/.DS_Store", "b/Thumbs.db", "b/._2.png",
        "__MACOSX/b/._2.png", "__MACOSX/x", ".git/HEAD",
    ):  # fmt: skip
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    listing = listed(tmp_path)
    assert [path.as_posix() for path in listing.files] == ["a b/é.jpg", "b/10.png", "b/2.png", "notes.ipynb"]
    assert listing.ignored == {".DS_Store": 2, "Thumbs.db": 1, "._*": 1, "__MACOSX": 2, ".git": 1}


def test_a_link_to_a_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.png").touch()
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    (tmp_path / "one.png").symlink_to(tmp_path / "a" / "1.png")
    assert [path.as_posix() for path in listed(tmp_path).files] == ["a/1.png", "one.png"]


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read every folder")
def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0)
    with pytest.raises(DataError, match=r"locked cannot be read \(Permission denied\)"):
        listed(tmp_path)
