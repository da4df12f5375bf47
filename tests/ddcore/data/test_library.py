from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ddcore.data import library, load
from ddcore.data.ingest.intake import take_in
from ddcore.errors import DataError
from ddcore.spec.ingest import IngestOptions
from ddcore.spec.local_sets import names_in

PLAIN = IngestOptions()


def photographs(place: Path, seed: int = 0, classes: tuple[str, ...] = ("cats", "dogs")) -> Path:
    rng = np.random.default_rng(seed)
    for name in classes:
        (place / name).mkdir(parents=True)
        for number in range(5):
            Image.fromarray(rng.integers(0, 256, (8, 6, 3), dtype=np.uint8)).save(place / name / f"{number}.png")
    return place


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return photographs(tmp_path / "My photos")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def test_files_become_a_set_that_jobs_can_name(photos: Path, root: Path) -> None:
    report = library.add(photos, root, name="pets", options=PLAIN)
    assert names_in(root) == ("pets",)
    assert [path.name for path in root.iterdir()] == ["pets"]
    dataset = load("pets", root)
    assert (dataset.name, dataset.digest, dataset.class_counts) == ("pets", report.digest, (4, 4))
    assert dataset.remarks == tuple(report.remarks)


def test_adding_the_same_again_changes_nothing(photos: Path, root: Path) -> None:
    first = library.add(photos, root, name="pets", options=PLAIN)
    before = (root / "pets" / "dataset.json").stat().st_mtime_ns
    assert library.add(photos, root, name="pets", options=PLAIN).id == first.id
    assert (root / "pets" / "dataset.json").stat().st_mtime_ns == before


def test_another_set_of_that_name_is_replaced_by_choice(photos: Path, root: Path, tmp_path: Path) -> None:
    first = library.add(photos, root, name="pets", options=PLAIN)
    other = photographs(tmp_path / "other", seed=9)
    with pytest.raises(DataError, match=rf"there is a set pets already \({first.id}, 8 training images\).*--replace"):
        library.add(other, root, name="pets", options=PLAIN)
    assert load("pets", root).digest == first.digest
    second = library.add(other, root, name="pets", options=PLAIN, replace=True)
    assert load("pets", root).digest == second.digest != first.digest
    assert [path.name for path in root.iterdir()] == ["pets"]


@pytest.mark.parametrize("replace", [True, False])
def test_files_that_the_user_put_there_are_never_touched(photos: Path, root: Path, replace: bool) -> None:
    by_hand = photographs(root / "pets", seed=5)
    before = sorted(by_hand.rglob("*"))
    with pytest.raises(DataError, match=r"pets is in the data root already, put there by hand"):
        library.add(photos, root, name="pets", options=PLAIN, replace=replace)
    with pytest.raises(DataError, match="put there by hand; they are not touched"):
        library.remove("pets", root)
    assert sorted(by_hand.rglob("*")) == before


def test_a_failure_leaves_nothing(photos: Path, root: Path) -> None:
    (photos / "cats" / "0.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"cats/0\.png"):
        library.add(photos, root, name="pets", options=PLAIN)
    assert not list(root.iterdir())


def test_looking_keeps_nothing(photos: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    report = library.inspect(photos, name="pets", options=PLAIN)
    assert report.splits["train"].images == 8
    assert sorted(tmp_path.rglob("*")) == before


def test_a_removed_set_is_gone(photos: Path, root: Path) -> None:
    library.add(photos, root, name="pets", options=PLAIN)
    library.remove("pets", root)
    assert not list(root.iterdir())
    with pytest.raises(DataError, match="there is no set pets in"):
        library.remove("pets", root)


def test_an_exported_set_is_the_same_when_it_is_taken_in_again(photos: Path, root: Path, tmp_path: Path) -> None:
    report = library.add(photos, root, name="pets", options=PLAIN)
    assert library.export("pets", root, tmp_path / "out") == 10
    again = take_in(tmp_path / "out", tmp_path / "shelf", name="pets", options=PLAIN).report
    assert again.digest == report.digest
    with pytest.raises(FileExistsError, match="is not empty; name another folder"):
        library.export("pets", root, tmp_path / "out")


def test_a_class_that_cannot_name_a_folder_is_not_exported(root: Path, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (8, 6, 6), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=np.array(["a/b", "c"] * 4))
    library.add(tmp_path / "a.npz", root, name="a", options=PLAIN)
    with pytest.raises(DataError, match=r"the class 'a/b' cannot name a folder"):
        library.export("a", root, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["../pets", "a/b", "", ".hidden", "-x", "ds_1", "x" * 201, "a b"])
def test_names_that_cannot_be_are_refused(photos: Path, root: Path, name: str) -> None:
    with pytest.raises(DataError, match="cannot name a dataset; names consist of"):
        library.add(photos, root, name=name, options=PLAIN)
