from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ddcore.data.ingest import examination
from ddcore.data.ingest.hashes import Keys
from ddcore.data.ingest.intake import take_in
from ddcore.data.stored import StoredSet, read
from ddcore.errors import DataError
from ddcore.spec.ingest import IngestOptions

SIZES = {(40, 30): 8, (30, 40): 4}


def seed_of(*what: object) -> int:
    """The same for the same picture in every process."""
    return zlib.crc32(repr(what).encode())


class Photos:
    """A folder of class folders."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "photos"
        self.shelf = root / "shelf"

    def add(self, name: str, size: tuple[int, int] = (12, 12), seed: int = 0, **save: Any) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path, **save)
        return path

    def fill(self, per_class: int = 5, splits: tuple[str, ...] = ("",), **how: Any) -> None:
        for split in splits:
            for number, name in enumerate(("cats", "dogs")):
                for image in range(per_class):
                    seed = seed_of(split, number, image)
                    self.add(f"{split}/{name}/{image}.png" if split else f"{name}/{image}.png", seed=seed, **how)

    def take_in(self, progress: Callable[[int, int], None] | None = None, **options: Any) -> StoredSet:
        return take_in(self.folder, self.shelf, name="photos", options=IngestOptions(**options), progress=progress)


@pytest.fixture
def photos(tmp_path: Path) -> Photos:
    return Photos(tmp_path)


def test_a_folder_becomes_a_set_and_a_report(photos: Photos) -> None:
    photos.fill(splits=("train", "val"))
    (photos.folder / "train" / "Thumbs.db").touch()
    (photos.folder / "notes.ipynb").touch()
    found = photos.take_in()
    report = found.report
    assert (report.layout, report.name, report.shape, report.classes) == (
        "class folders", "photos", (3, 12, 12), ["cats", "dogs"],
    )  # fmt: skip
    assert {name: dict(split.per_class) for name, split in report.splits.items()} == {
        "train": {"cats": 5, "dogs": 5},
        "test": {"cats": 5, "dogs": 5},
    }
    assert sum(report.ignored.values()) == 2
    assert [size.model_dump() for size in report.sizes] == [{"width": 12, "height": 12, "images": 20}]
    assert report.modes == {"RGB": 20}
    assert [most.most for most in report.largest_ipc] == [5, 1, 10_000]
    assert report.remarks == ["there is no test split, so 10 validation images score"]
    assert report.smallest_class == 5
    shelved = read(photos.shelf / report.id)
    assert shelved is not None
    assert torch.equal(shelved.train.images, found.train.images)
    assert shelved.report == report
    assert [path.name for path in photos.shelf.iterdir()] == [report.id]


def test_the_identity_follows_the_content_and_not_the_files(photos: Photos, tmp_path: Path) -> None:
    photos.fill()
    first = photos.take_in().report
    photos.folder.rename(tmp_path / "elsewhere")
    photos.folder = tmp_path / "elsewhere"
    assert photos.take_in().report.id == first.id
    photos.add("cats/0.png", seed=77)
    assert photos.take_in().report.id != first.id


def test_a_choice_that_the_files_do_not_leave_is_refused(photos: Photos) -> None:
    photos.fill()
    with pytest.raises(DataError, match="`label_column` is 'kind', but of files of the layout 'class folders' only"):
        photos.take_in(label_column="kind")
    assert not list(photos.shelf.iterdir())


def test_an_option_that_had_nothing_to_decide_is_in_the_report(photos: Photos) -> None:
    photos.fill(splits=("train", "test"))
    plain = photos.take_in().report
    report = photos.take_in(test_split=0.5, fit="pad").report
    assert set(report.remarks) - set(plain.remarks) == {
        "`test_split` was not used: the files have a test split, so none was cut",
        "`fit` was not used: no `size` in pixels was given, so the images keep theirs",
    }
    assert report.id == plain.id


def test_progress_is_told_to_the_end(photos: Photos) -> None:
    photos.fill()
    told: list[tuple[int, int]] = []
    photos.take_in(progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1] == (10, 10)


class TestSizes:
    def fill(self, photos: Photos) -> None:
        for number in range(12):
            photos.add(f"{'cats' if number % 2 else 'dogs'}/{number}.png", (40, 30) if number < 8 else (30, 40), number)

    def test_mixed_sizes_are_refused_with_what_would_do(self, photos: Photos) -> None:
        self.fill(photos)
        with pytest.raises(DataError) as caught:
            photos.take_in()
        message = str(caught.value)
        assert "40 x 30 (8, the first " in message
        assert "30 x 40 (4, the first " in message
        assert "--size 28, --size 28 --fit pad, --size 28 --fit stretch" in message
        assert not list(photos.shelf.iterdir())

    def test_many_sizes_are_told_by_their_range(self, photos: Photos) -> None:
        for number in range(20):
            photos.add(f"{'cats' if number % 2 else 'dogs'}/{number}.png", (9 + number, 30), number)
        with pytest.raises(DataError, match=r"20 different ones from 9 x 30 to 28 x 30, most often .*`size` 8 cuts"):
            photos.take_in()
        assert photos.take_in(size=8).report.distinct_sizes == 20

    @pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
    def test_a_size_is_applied_as_pillow_does(self, photos: Photos, fit: str) -> None:
        self.fill(photos)
        found = photos.take_in(size=[16, 20], fit=fit)
        assert found.train.shape == (3, 16, 20)
        assert {(size.width, size.height): size.images for size in found.report.sizes} == SIZES
        with Image.open(photos.folder / "cats" / "1.png") as image:
            size, lanczos = (20, 16), Image.Resampling.LANCZOS
            if fit == "stretch":
                expected = image.resize(size, lanczos)
            elif fit == "crop":
                box = (1.25, 0.0, 38.75, 30.0)  # 37.5 x 30 is 5 : 4
                expected = image.resize(size, lanczos, box)
            else:
                expected = Image.new("RGB", size)
                expected.paste(image.resize((20, 15), lanczos), (0, 0))
        everything = torch.cat([found.train.images, found.test.images]).int()
        wanted = torch.from_numpy(np.asarray(expected).transpose(2, 0, 1).copy()).int()
        assert int((everything - wanted).abs().amax(dim=(1, 2, 3)).min()) <= 1

    def test_large_images_are_taken_in_only_at_a_size_that_is_named(self, photos: Photos) -> None:
        photos.fill(per_class=3, size=(200, 150))
        with pytest.raises(DataError, match=r"the images have 200 x 150 pixels; distilling .* GB of memory .*'keep'"):
            photos.take_in()
        assert photos.take_in(size="keep").train.shape == (3, 150, 200)
        assert photos.take_in(size=64).train.shape == (3, 64, 64)

    def test_a_large_jpeg_is_not_decoded_whole(self, photos: Photos) -> None:
        for number in range(4):
            path = photos.folder / ("a", "b")[number % 2] / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (6000, 4000), (50 * number, 90, 9)).save(path)
        found = photos.take_in(size=8)
        assert found.train.shape == (3, 8, 8)
        assert found.report.sizes[0].model_dump() == {"width": 6000, "height": 4000, "images": 4}


class TestUnreadable:
    def fill(self, photos: Photos) -> None:
        photos.fill()
        for name in ("cats/1.png", "dogs/3.png"):
            path = photos.folder / name
            path.write_bytes(path.read_bytes()[:60])
        (photos.folder / "dogs" / "4.png").write_text("version https://git-lfs.github.com/spec/v1\n")

    def test_all_of_them_are_named_at_once(self, photos: Photos) -> None:
        self.fill(photos)
        with pytest.raises(DataError) as caught:
            photos.take_in()
        for said in ("cats/1.png: not a readable image", "dogs/3.png: not a", "dogs/4.png: a pointer of git-lfs"):
            assert said in str(caught.value)
        assert str(caught.value).endswith("mend or remove them, or leave them out with `skip_unreadable`")

    def test_they_are_left_out_by_choice_and_listed(self, photos: Photos) -> None:
        self.fill(photos)
        report = photos.take_in(skip_unreadable=True).report
        assert sum(split.images for split in report.splits.values()) == 7
        assert [bad.place for bad in report.unreadable] == ["cats/1.png", "dogs/3.png", "dogs/4.png"]
        assert "3 images cannot be decoded and were left out" in report.remarks

    def test_a_class_that_loses_all_its_images_is_named(self, photos: Photos) -> None:
        photos.fill(splits=("train", "test"))
        for path in (photos.folder / "train" / "dogs").iterdir():
            path.write_bytes(b"")
        with pytest.raises(DataError, match="all 5 training images are of class 'cats'"):
            photos.take_in(skip_unreadable=True)


class TestLeaks:
    def test_they_are_said_and_dropped_by_choice(self, photos: Photos) -> None:
        photos.fill(splits=("train", "test"))
        photos.add("test/cats/again.png", seed=seed_of("train", 0, 2))
        kept = photos.take_in()
        assert kept.report.duplicates.leaked == 1
        assert "1 of 11 test images are training images too, which flatters every score" in kept.report.remarks
        dropped = photos.take_in(drop_leaks=True)
        assert (len(dropped.test), dropped.report.duplicates.leaked) == (10, 0)
        assert "1 of 11 test images are training images too and were left out" in dropped.report.remarks
        assert not any(torch.equal(image, other) for image in dropped.test.images for other in dropped.train.images)

    def test_nothing_is_left_where_all_leak(self, photos: Photos) -> None:
        photos.fill(splits=("train",))
        for path in (photos.folder / "train").rglob("*.png"):
            copy = photos.folder / "test" / path.relative_to(photos.folder / "train")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
        with pytest.raises(DataError, match="all 10 test images are training images too, so none would be left"):
            photos.take_in(drop_leaks=True)


def test_unlabelled_images_are_left_out_by_choice(photos: Photos, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 6, 6), dtype=np.uint8)
    np.savez(tmp_path / "part.npz", images=images, labels=[0, 1, -1] * 4)
    photos.folder = tmp_path / "part.npz"
    with pytest.raises(DataError, match=r"4 of 12 images have no label \(part.npz images\[2\], .*`drop_unlabelled`"):
        photos.take_in()
    found = photos.take_in(drop_unlabelled=True)
    assert (len(found.train) + len(found.test), found.report.unlabelled) == (8, 4)


def test_an_archive_gives_the_same_set_as_the_folder(photos: Photos, tmp_path: Path) -> None:
    photos.fill()
    plain = photos.take_in().report
    photos.folder = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, "photos"))
    packed = photos.take_in().report
    assert (packed.id, packed.layout) == (plain.id, plain.layout)
    assert len(list(photos.shelf.iterdir())) == 1


def test_channels_that_never_vary_are_named(photos: Photos) -> None:
    for number in range(10):
        path = photos.folder / ("a", "b")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        pixels[:, :, 2] = 7
        Image.fromarray(pixels).save(path)
    report = photos.take_in().report
    assert (report.constant_channels, report.std[2]) == ([2], 1.0)


def test_the_mark_of_an_unpacked_archive_is_no_file_of_the_users(photos: Photos, tmp_path: Path) -> None:
    photos.fill()
    (photos.folder / ".hidden").touch()
    photos.folder = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", photos.folder))
    assert photos.take_in().report.ignored == {".hidden": 1}


@pytest.mark.parametrize("fault", ["absent", "damaged.zip"])
def test_nothing_is_left_behind_by_a_failure(photos: Photos, tmp_path: Path, fault: str) -> None:
    (tmp_path / "damaged.zip").write_bytes(b"PK\x03\x04 and nothing that follows")
    photos.folder = tmp_path / fault
    with pytest.raises(DataError, match=fault):
        photos.take_in()
    assert not list(photos.shelf.iterdir())


PEAK = """
import sys
from pathlib import Path
from ddcore.data.ingest import examination
from ddcore.data.ingest.hashes import Keys
from ddcore.data.ingest.intake import take_in
from ddcore.spec.ingest import IngestOptions

def held():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon"))

peaks = []
for place in sys.argv[1:]:
    most = 0
    def look(done, total):
        global most
        most = max(most, held())
    take_in(Path(place), Path(place).parent / "shelf", name="large", options=IngestOptions(size="keep"), progress=look)
    peaks.append(max(most, held()) // 1024)
print(*peaks)
"""


def test_memory_does_not_grow_with_the_set(tmp_path: Path) -> None:
    """Images of 30 MB and then of 240 MB pass through one process, which may not hold a fraction of them.

    They are near copies in pairs: these are compared as well, which takes a minute where all are copies of one.
    """
    rng = np.random.default_rng(0)
    for name, count in (("small", 10), ("large", 80)):
        for number in range(count):
            if number % 2 == 0:
                pixels = rng.integers(0, 256, (1000, 1000, 3), dtype=np.uint8)
            path = tmp_path / name / ("a", "b")[number % 2] / f"{number}.bmp"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels[0, 0] = number
            Image.fromarray(pixels).save(path)
    places = [str(tmp_path / name) for name in ("small", "large")]
    # One arena: with several, what threads have freed and the C library keeps would count as held.
    environment = os.environ | {"MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *places], capture_output=True, text=True, check=True, env=environment
    )
    small, large = map(int, done.stdout.split())
    assert large - small < 180


@pytest.mark.parametrize("kinds", ["RGB", "mixed", "deep"])
def test_hashes_made_while_decoding_are_those_of_what_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kinds: str
) -> None:
    """They are made anew where images are altered after decoding: more channels, or 16 bits scaled to 8."""
    rng = np.random.default_rng(0)
    for number in range(300):
        path = tmp_path / "set" / f"class {number % 2}" / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if kinds == "deep":
            pixels = rng.integers(0, 5000, (6, 6), dtype=np.uint16)
        else:
            grey = kinds == "mixed" and number < 150
            pixels = rng.integers(0, 256, (6, 6) if grey else (6, 6, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    seen: list[tuple[Keys, Keys]] = []
    before = examination.duplicates

    def duplicates(train: Any, test: Any, keys: Any, place: Any) -> Any:
        seen.append(keys)
        return before(train, test, keys, place)

    monkeypatch.setattr(examination, "duplicates", duplicates)
    found = take_in(tmp_path / "set", tmp_path / "shelf", name="set", options=IngestOptions())
    for keys, split in zip(seen[0], (found.train, found.test), strict=True):
        expected = examination.keys_of(split.images)
        assert np.array_equal(keys.exact, expected.exact)
        assert np.array_equal(keys.rough, expected.rough)
