from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ddcore.data.readers import idx
from ddcore.data.readers.idx import Idx
from ddcore.data.source import Choices, Part, Source
from ddcore.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6, 5), dtype=np.uint8)


def images(count: int) -> bytes:
    return struct.pack(">4i", 2051, count, 6, 5) + PIXELS[:count].tobytes()


def labels(count: int) -> bytes:
    return struct.pack(">2i", 2049, count) + bytes(range(7, 7 + count))


def write(folder: Path, dot: str = "-", packed: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", 4), ("t10k", 2)):
        put(folder / f"{split}-images{dot}idx3-ubyte{packed}", images(count))
        put(folder / f"{split}-labels{dot}idx1-ubyte{packed}", labels(count))
    return folder


def put(file: Path, data: bytes) -> None:
    file.write_bytes(gzip.compress(data) if file.suffix == ".gz" else data)


def read(place: Path) -> Source:
    return Idx().read(place, Choices())


def fetched(part: Part) -> NDArray[Any]:
    return np.stack([np.asarray(image) for batch in part.images() for image in batch])


def read_all(place: Path) -> None:
    for part in read(place).parts:
        fetched(part)


@pytest.mark.parametrize("dot", ["-", "."])
@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize("inner", ["", "raw"])
def test_four_files_are_read(tmp_path: Path, dot: str, packed: str, inner: str) -> None:
    write(tmp_path / inner, dot, packed)
    guess = Idx().sniff(tmp_path)
    assert guess is not None
    assert guess.sureness == 0.95
    train, test = read(tmp_path).parts
    assert (train.split, test.split) == ("train", "test")
    for part, count in ((train, 4), (test, 2)):
        assert np.array_equal(fetched(part), PIXELS[:count])
        assert np.array_equal(fetched(part), PIXELS[:count])
        assert part.labels.numbers.tolist() == list(range(7, 7 + count))
        assert (part.labels.names, part.labels.declared) == (None, False)
    assert train.place(3) == f"train-images{dot}idx3-ubyte{packed} image 3"


def test_unpacked_files_go_before_packed_ones(tmp_path: Path) -> None:
    write(tmp_path / "raw")
    write(tmp_path / "raw", packed=".gz")
    source = read(tmp_path)
    assert [part.name for part in source.parts] == ["train-images-idx3-ubyte", "t10k-images-idx3-ubyte"]
    assert source.ignored == {"*.gz": 4}


def test_one_split_is_enough(tmp_path: Path) -> None:
    write(tmp_path)
    for kind in ("images-idx3", "labels-idx1"):
        (tmp_path / f"t10k-{kind}-ubyte").unlink()
    assert [part.split for part in read(tmp_path).parts] == ["train"]


@pytest.mark.parametrize("missing", ["train-labels-idx1-ubyte", "t10k-images-idx3-ubyte"])
def test_halves_are_refused(tmp_path: Path, missing: str) -> None:
    write(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(DataError, match=f"but no {missing}; add it"):
        read(tmp_path)


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("train-images-idx3-ubyte", b"", "starts with nothing instead of 00 00 08 03"),
        ("train-images-idx3-ubyte", b"\0\0\x0d\x03" + bytes(12), "starts with 00 00 0d 03 instead"),
        ("train-images-idx3-ubyte", labels(4), "starts with 00 00 08 01 instead"),
        ("train-images-idx3-ubyte", images(4)[:10], "ends early"),
        ("train-images-idx3-ubyte", images(4)[:-1], "claims 4 x 6 x 5 bytes but holds 119|ends early"),
        ("train-images-idx3-ubyte", images(4) + b"!", "claims 4 x 6 x 5 bytes but holds 121|holds more than it claims"),
        ("train-images-idx3-ubyte", struct.pack(">4i", 2051, 4, 0, 5), "images of 0 x 5 pixels"),
        ("train-images-idx3-ubyte", images(3), "holds 3 images, but .* 4 labels"),
        ("train-labels-idx1-ubyte", labels(4)[:-1], "claims 4 bytes but holds 3|ends early"),
        ("train-labels-idx1-ubyte", labels(4) + b"!", "claims 4 bytes but holds 5|holds more than it claims"),
        ("train-labels-idx1-ubyte", struct.pack(">2I", 2049, 2**31), "claims 2,?147,?483,?648 (bytes|labels)"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, packed: str, name: str, data: bytes, message: str) -> None:
    write(tmp_path, packed=packed)
    put(tmp_path / f"{name}{packed}", data)
    with pytest.raises(DataError, match=message):
        read_all(tmp_path)


@pytest.mark.parametrize("cut", [0, 10, -6])
def test_damaged_gzip_is_refused(tmp_path: Path, cut: int) -> None:
    write(tmp_path, packed=".gz")
    file = tmp_path / "train-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:cut] if cut else b"no gzip at all")
    with pytest.raises(DataError, match=r"is not readable \(.*copy or download it again"):
        read_all(tmp_path)


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize("limit", ["_ROWS", "_BATCH_BYTES"])
def test_images_come_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: str, limit: str) -> None:
    monkeypatch.setattr(idx, limit, 3 if limit == "_ROWS" else 3 * 30 + 1)
    assert [len(batch) for batch in read(write(tmp_path, packed=packed)).parts[0].images()] == [3, 1]


def test_foreign_places_are_left_to_others(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").mkdir()
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "file", tmp_path / "missing", tmp_path / ("long" * 100)):
        assert Idx().sniff(place) is None
    with pytest.raises(DataError, match="give the folder with MNIST's four files"):
        read(tmp_path)
