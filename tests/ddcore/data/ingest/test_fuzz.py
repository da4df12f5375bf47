"""Damaged files of every layout: they are refused in words, or read; nothing else ever happens."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddcore.data.ingest.intake import take_in
from ddcore.errors import DataError
from ddcore.spec.ingest import IngestOptions
from tests.ddcore.data.samples import SAMPLES, folders


def packed(place: Path, kind: str) -> None:
    inner = place / "inner"
    inner.mkdir()
    folders(inner)
    shutil.make_archive(str(place / "set"), kind, inner)
    shutil.rmtree(inner)


LAYOUTS: Mapping[str, Callable[[Path], None]] = {
    **{make.__name__: make for makes in SAMPLES.values() for make in makes},
    **{kind: partial(packed, kind=kind) for kind in ("zip", "tar", "gztar", "xztar")},
}

KEEP = IngestOptions(size="keep")


@pytest.fixture(scope="module", params=list(LAYOUTS))
def sample(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole set of a layout."""
    place = tmp_path_factory.mktemp(request.param)
    LAYOUTS[request.param](place)
    return place


def source(place: Path) -> Path:
    """What a user would name: the folder, or the archive in it."""
    files = [path for path in place.iterdir() if not path.name.startswith(".")]
    return files[0] if len(files) == 1 and files[0].suffix in (".zip", ".tar", ".gz", ".xz") else place


def test_the_samples_are_read_as_they_are(sample: Path, tmp_path: Path) -> None:
    report = take_in(source(sample), tmp_path / "shelf", name="sample", options=KEEP).report
    assert len(report.classes) in (2, 10)


FLIPS = st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 2**20), st.integers(1, 255)), min_size=1, max_size=4)


def damage(place: Path, flips: list[tuple[int, int, int]], cut: tuple[int, int] | None) -> None:
    files = sorted(path for path in place.rglob("*") if path.is_file())
    for which, where, change in flips:
        file = files[which % len(files)]
        data = bytearray(file.read_bytes())
        if data:
            data[where % len(data)] ^= change
            file.write_bytes(data)
    if cut is not None:
        file = files[cut[0] % len(files)]
        file.write_bytes(file.read_bytes()[: cut[1] % (file.stat().st_size + 1)])


def test_damaged_files_are_refused_in_words_or_read(sample: Path) -> None:
    # Every MATLAB file is read by processes of its own, which take their time.
    @settings(max_examples=5 if sample.name.startswith("svhn") else 50, deadline=None)
    @given(flips=FLIPS, cut=st.one_of(st.none(), st.tuples(st.integers(0, 2**20), st.integers(0, 2**20))))
    def taken_in(flips: list[tuple[int, int, int]], cut: tuple[int, int] | None) -> None:
        with tempfile.TemporaryDirectory() as made:
            place, shelf = Path(made) / "sample", Path(made) / "shelf"
            shutil.copytree(sample, place)
            damage(place, flips, cut)
            with suppress(DataError):
                take_in(source(place), shelf, name="sample", options=KEEP)
            left = [path.name for path in shelf.iterdir()] if shelf.exists() else []
            assert all(name.startswith("ds_") for name in left), left

    taken_in()


def test_an_archive_in_an_archive_is_not_opened(tmp_path: Path) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    folders(folder)
    inner = shutil.make_archive(str(tmp_path / "inner"), "zip", folder)
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as outer:
        outer.write(inner, "inner.zip")
    with pytest.raises(DataError, match="nothing that can be read as labelled images"):
        take_in(tmp_path / "outer.zip", tmp_path / "shelf", name="outer", options=KEEP)
