from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.io import savemat

from ddcore.data.readers import svhn
from ddcore.data.readers.svhn import Svhn
from ddcore.data.source import Choices, Part, Source
from ddcore.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 5), dtype=np.uint8)
DIGITS = np.array([[1], [10], [9], [2], [10]], np.uint8)


def write(folder: Path, *names: str, **values: Any) -> Path:
    for name in names or ("train_32x32.mat", "test_32x32.mat"):
        savemat(folder / name, {"X": PIXELS, "y": DIGITS} | values, do_compression=True)
    return folder


def read(place: Path) -> Source:
    return Svhn().read(place, Choices())


def fetched(part: Part) -> NDArray[Any]:
    return np.stack([np.asarray(image) for batch in part.images() for image in batch])


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float64])
def test_both_splits_are_read(tmp_path: Path, dtype: Any) -> None:
    write(tmp_path, y=DIGITS.astype(dtype))
    guess = Svhn().sniff(tmp_path)
    assert guess is not None
    assert guess.sureness == 0.95
    source = read(tmp_path)
    assert [part.split for part in source.parts] == ["train", "test"]
    for part in source.parts:
        assert np.array_equal(fetched(part), PIXELS.transpose(3, 0, 1, 2))
        assert part.labels.numbers.tolist() == [1, 0, 9, 2, 0]
        assert (part.labels.names, part.labels.declared) == (tuple("0123456789"), True)
    assert source.parts[0].place(4) == "train_32x32.mat image 4"
    assert source.notes == ["the digit 0, which SVHN labels 10, was given the label 0"]


def test_extra_images_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, "train_32x32.mat", "extra_32x32.mat")
    source = read(tmp_path)
    assert [part.name for part in source.parts] == ["train_32x32.mat"]
    assert source.notes[1] == "extra_32x32.mat was left out, as it is in published results"
    assert source.ignored == {"*.mat": 1}


def test_one_image_is_enough(tmp_path: Path) -> None:
    write(tmp_path, X=PIXELS[..., :1], y=DIGITS[:1])
    assert fetched(read(tmp_path).parts[0]).shape == (1, 32, 32, 3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"X": PIXELS.transpose(3, 0, 1, 2)}, r"`X` \(32, 32, 3, N\) of uint8 .* holds X \(5, 32, 32, 3\) uint8"),
        ({"X": PIXELS.astype(float)}, r"holds X \(32, 32, 3, 5\) double"),
        ({"y": DIGITS[:4]}, r"`y` holds 4 values of uint8 for 5 images"),
        ({"y": np.array(["a"] * 5)}, r"`y` holds 5 values of <U1 for 5 images"),
        ({"y": DIGITS + 1}, r"image 1: the label 11 is no digit"),
        ({"y": DIGITS + 0.5}, r"image 0: the label 1.5 is no digit"),
        ({"y": DIGITS * np.nan}, r"image 0: the label nan is no digit"),
    ],
)
def test_unfit_files_are_refused(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    write(tmp_path, **values)
    with pytest.raises(DataError, match=message):
        read(tmp_path)


@pytest.mark.parametrize("absent", ["X", "y"])
def test_missing_arrays_are_named(tmp_path: Path, absent: str) -> None:
    savemat(tmp_path / "train_32x32.mat", {name: DIGITS for name in "Xyz" if name != absent})
    with pytest.raises(DataError, match=r"must hold `X` .* and `y`, but holds .*z \(5, 1\) uint8"):
        read(tmp_path)


def test_too_many_images_are_refused_before_they_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(svhn, "_MOST_IMAGES", 4)
    with pytest.raises(DataError, match="claims 5 images; 1 to 4 are allowed"):
        read(write(tmp_path))


@pytest.mark.parametrize("data", [b"", b"no mat at all", b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM" + bytes(100)])
def test_damaged_files_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "train_32x32.mat").write_bytes(data)
    with pytest.raises(DataError, match=r"is not a readable MATLAB file of version 5 to 7 \(.*download it again"):
        read(tmp_path)


def test_cut_files_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path) / "train_32x32.mat"
    file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(DataError, match=r"train_32x32\.mat"):
        read(tmp_path)


def test_damaged_images_are_found_when_they_are_fetched(tmp_path: Path) -> None:
    (part,) = read(write(tmp_path, "train_32x32.mat")).parts
    (tmp_path / "train_32x32.mat").write_bytes(b"no mat at all")
    with pytest.raises(DataError, match="is not a readable MATLAB file"):
        fetched(part)


def test_images_come_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(svhn, "_ROWS", 3)
    assert [len(batch) for batch in read(write(tmp_path)).parts[0].images()] == [3, 2]


def test_foreign_places_are_left_to_others(tmp_path: Path) -> None:
    (tmp_path / "train_32x32.mat").mkdir()
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "file", tmp_path / "missing", tmp_path / ("long" * 100)):
        assert Svhn().sniff(place) is None
    with pytest.raises(DataError, match="give the folder with SVHN's files"):
        read(tmp_path)
