from __future__ import annotations

import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ddcore.data.readers import cifar
from ddcore.data.readers.cifar import Cifar
from ddcore.data.source import Choices, Part, Source
from ddcore.errors import DataError
from ddcore.spec.datasets import DATASETS

ROWS = np.random.default_rng(0).integers(0, 256, (3, 3072), dtype=np.uint8)
IMAGES = ROWS.reshape(3, 3, 32, 32).transpose(0, 2, 3, 1)
NAMES = [f"kind {number}" for number in range(10)]
FINE = [f"fine {number}" for number in range(100)]
FOLDERS = ("cifar-10-batches-bin", "cifar-10-batches-py", "cifar-100-binary", "cifar-100-python")


def text(value: str) -> bytes:
    return b"U" + bytes([len(value)]) + value.encode("latin-1")


def as_python_2_wrote_it(**values: Any) -> bytes:
    """A pickle of protocol 2 with byte strings, as the authors' own."""
    body = b""
    for key, value in values.items():
        body += text(key)
        if isinstance(value, np.ndarray):
            data = value.tobytes()
            body += b"cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nK\x00\x85U\x01b\x87Rq\x03(K\x01"
            body += b"".join(b"M" + struct.pack("<H", side) for side in value.shape) + b"\x86"
            body += b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
            body += b"\x89T" + struct.pack("<i", len(data)) + data + b"tb"
        else:
            body += b"](" + b"".join(text(one) if isinstance(one, str) else b"K" + bytes([one]) for one in value) + b"e"
    return b"\x80\x02}q\x01(" + body + b"u."


def write(folder: Path, dump: Any = None) -> Path:
    """One of the four archives; batch n has the labels n, n + 1 and n + 2, and CIFAR-100's are coarser by 10."""
    dump = dump or as_python_2_wrote_it
    folder.mkdir(parents=True)
    hundred = "100" in folder.name
    files = ["train", "test"] if hundred else [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    for batch, name in enumerate(files):
        labels = [batch + number + (20 if hundred else 0) for number in range(3)]
        if folder.name.endswith(("py", "python")):
            keys = {"fine_labels": labels, "coarse_labels": [0, 1, 2]} if hundred else {"labels": labels}
            (folder / name).write_bytes(dump(data=ROWS, **keys, filenames=["a.png", "b.png", "c.png"]))
        else:
            coarse = b"\x07" if hundred else b""
            records = [coarse + bytes([label]) + row.tobytes() for label, row in zip(labels, ROWS, strict=True)]
            (folder / f"{name}.bin").write_bytes(b"".join(records))
    metas = {
        "cifar-10-batches-bin": ("batches.meta.txt", "\n".join([*NAMES, "", ""]).encode()),
        "cifar-10-batches-py": ("batches.meta", dump(label_names=NAMES)),
        "cifar-100-binary": ("fine_label_names.txt", "\n".join(FINE).encode()),
        "cifar-100-python": ("meta", dump(fine_label_names=FINE, coarse_label_names=["rough"])),
    }
    name, data = metas[folder.name]
    (folder / name).write_bytes(data)
    return folder


def read(place: Path) -> Source:
    return Cifar().read(place, Choices())


def fetched(part: Part) -> NDArray[Any]:
    return np.stack([np.asarray(image) for batch in part.images() for image in batch])


def check(source: Source, folder: Path, names: tuple[str, ...]) -> None:
    hundred = "100" in folder.name
    assert [part.split for part in source.parts] == (["train", "test"] if hundred else ["train"] * 5 + ["test"])
    for batch, part in enumerate(source.parts):
        assert part.labels.numbers.tolist() == [batch + number + (20 if hundred else 0) for number in range(3)]
        assert (part.labels.names, part.labels.declared) == (names, True)
        assert np.array_equal(fetched(part), IMAGES)
        assert part.place(2) == f"{part.name} image 2"


@pytest.mark.parametrize("name", FOLDERS)
def test_each_archive_is_read(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / name)
    guess = Cifar().sniff(folder)
    assert guess is not None
    assert guess.sureness == 0.95
    check(read(folder), folder, tuple(FINE if "100" in name else NAMES))


@pytest.mark.parametrize("name", FOLDERS)
def test_archive_beside_its_folder_is_left_alone(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / name)
    (tmp_path / "archive.tar.gz").touch()
    (folder / "readme.html").touch()
    assert Cifar().sniff(tmp_path) is not None
    source = read(tmp_path)
    check(source, folder, tuple(FINE if "100" in name else NAMES))
    assert source.ignored == {"*.gz": 1, "*.html": 1}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("as_bytes", [False, True])
def test_pickles_of_python_3_are_read(tmp_path: Path, protocol: int, as_bytes: bool) -> None:
    def dump(**values: Any) -> bytes:
        named = {key.encode() if as_bytes else key: value for key, value in values.items()}
        return pickle.dumps(named, protocol)

    folder = write(tmp_path / "cifar-10-batches-py", dump)
    check(read(folder), folder, tuple(NAMES))


@pytest.mark.parametrize("order", ["<i8", ">i2", "u1"])
def test_labels_may_be_an_array(tmp_path: Path, order: str) -> None:
    def dump(**values: Any) -> bytes:
        if "labels" in values:
            values["labels"] = np.array(values["labels"], order)
        values["data"] = np.asfortranarray(ROWS)
        return pickle.dumps(values, 2)

    folder = write(tmp_path / "cifar-10-batches-py", dump)
    check(read(folder), folder, tuple(NAMES))


@pytest.mark.parametrize("name", FOLDERS)
def test_known_names_stand_in_for_missing_ones(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / name)
    for meta in ("batches.meta.txt", "batches.meta", "fine_label_names.txt", "meta"):
        (folder / meta).unlink(missing_ok=True)
    assert Cifar().sniff(folder) is not None
    check(read(folder), folder, DATASETS["cifar100" if "100" in name else "cifar10"].classes)


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("cifar-10-batches-bin", "data_batch_3.bin"),
        ("cifar-10-batches-bin", "test_batch.bin"),
        ("cifar-10-batches-py", "data_batch_3"),
        ("cifar-100-binary", "train.bin"),
        ("cifar-100-python", "test"),
    ],
)
def test_missing_batches_are_named(tmp_path: Path, name: str, missing: str) -> None:
    folder = write(tmp_path / name)
    (folder / missing).unlink()
    assert Cifar().sniff(folder) is not None
    with pytest.raises(DataError, match=f"lacks {missing}; CIFAR-100? consists of .*unpack its archive again"):
        read(folder)


def test_both_sets_side_by_side_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "cifar-10-batches-py")
    write(tmp_path / "cifar-100-python")
    with pytest.raises(DataError, match=r"holds CIFAR-10 \(cifar-10-batches-py\) and CIFAR-100 .*give one of them"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("name", "file", "data", "message"),
    [
        (
            "cifar-10-batches-bin",
            "data_batch_2.bin",
            bytes(3074),
            r"has 3,074 bytes, which is no multiple of the 3,073",
        ),
        ("cifar-100-binary", "test.bin", b"", r"has 0 bytes, which is no multiple of the 3,074"),
        ("cifar-10-batches-bin", "data_batch_2.bin", b"\x0a" + bytes(3072), r"image 0: the label 10 is outside 0 to 9"),
        ("cifar-10-batches-bin", "batches.meta.txt", b"\xff", r"is no readable text"),
        ("cifar-10-batches-bin", "batches.meta.txt", b"\n", r"lists no names of classes"),
        ("cifar-10-batches-py", "batches.meta", as_python_2_wrote_it(names=NAMES), r"lists no names of classes"),
        ("cifar-10-batches-py", "data_batch_2", as_python_2_wrote_it(labels=[1]), r"holds no `data` of uint8"),
        ("cifar-10-batches-py", "data_batch_2", as_python_2_wrote_it(data=[1]), r"holds no `data` of uint8"),
        ("cifar-10-batches-py", "data_batch_2", as_python_2_wrote_it(data=ROWS[:, :9]), r"holds no `data` of uint8"),
        ("cifar-10-batches-py", "data_batch_2", as_python_2_wrote_it(data=ROWS), r"no `labels` with a whole number"),
        ("cifar-10-batches-py", "data_batch_2", as_python_2_wrote_it(data=ROWS, labels=[1]), r"each of its 3 images"),
        ("cifar-10-batches-py", "data_batch_2", as_python_2_wrote_it(data=ROWS, labels=["a"] * 3), r"no `labels`"),
        ("cifar-10-batches-py", "data_batch_2", pickle.dumps({"data": ROWS, "labels": [2**70] * 3}), r"no `labels`"),
    ],
)
def test_unfit_files_are_refused(tmp_path: Path, name: str, file: str, data: bytes, message: str) -> None:
    folder = write(tmp_path / name)
    (folder / file).write_bytes(data)
    with pytest.raises(DataError, match=message):
        read(folder)


class Bomb:
    def __reduce__(self) -> Any:
        return (os.mkdir, ("went off",))


def dtype_bomb() -> bytes:
    return b"\x80\x02}U\x01acnumpy\ndtype\nU\x01O\x85Rs."


@pytest.mark.parametrize(
    "data",
    [
        *(pickle.dumps({"data": ROWS, "labels": Bomb()}, protocol) for protocol in (2, 4)),
        pickle.dumps({"data": np.array([{}]), "labels": [1]}),
        pickle.dumps({"data": {1, 2}}),
        b"\x80\x02cbuiltins\neval\nU\x011\x85R.",
        b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.",
        b"\x80\x04}}\x93.",
        b"\x80\x02(U\x011ios\nsystem\n.",
        b"\x80\x02U\x01aQ.",
        b"\x80\x02c_codecs\nencode\nU\x011U\x03rot\x86R.",
        dtype_bomb(),
    ],
)
def test_nothing_in_a_pickle_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    folder = write(tmp_path / "cifar-10-batches-py")
    (folder / "data_batch_2").write_bytes(data)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"data_batch_2 holds more than numbers and text \(.*get it anew"):
        read(folder)
    assert not (tmp_path / "went off").exists()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80",
        b"\x80\x02",
        b"\x80\x02.",
        b"\x80\x02}",
        b"\x80\x02h\x07.",
        b"\x80\x02t.",
        b"\x80\x02]]]s.",
        b"\x80\x02}]Ns.",
        b"\x80\x02}(U\x01au.",
        b"\x80\x02NNb.",
        b"\x80\x02N)R.",
        b"\x80\x02cnumpy\ndtype\n)R.",
        b"\x80\x02T\xff\xff\xff\x7f.",
        as_python_2_wrote_it(data=ROWS)[:-500],
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n)R(K\x01K\x02\x85cnumpy\ndtype\nU\x02u1\x85R\x89U\x01atb.",
    ],
)
def test_damaged_pickles_are_refused(tmp_path: Path, data: bytes) -> None:
    folder = write(tmp_path / "cifar-10-batches-py")
    (folder / "data_batch_2").write_bytes(data)
    with pytest.raises(DataError, match=r"data_batch_2 is not a readable pickle .*copy or download it again"):
        read(folder)


def test_pickle_of_something_else_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "cifar-10-batches-py")
    (folder / "data_batch_2").write_bytes(pickle.dumps([1]))
    with pytest.raises(DataError, match="holds no dict"):
        read(folder)


def test_large_pickles_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "cifar-10-batches-py")
    monkeypatch.setattr("ddcore.data.plain_pickle._MOST_BYTES", 100)
    with pytest.raises(DataError, match="more than 100 bytes"):
        read(folder)


def test_images_come_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar, "_ROWS", 2)
    part = read(write(tmp_path / "cifar-10-batches-bin")).parts[0]
    assert [len(batch) for batch in part.images()] == [2, 1]


def test_foreign_places_are_left_to_others(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "test").write_text("no pickle")
    (tmp_path / "train.bin").write_bytes(bytes(100))
    (tmp_path / "data_batch_1.bin").mkdir()
    for place in (tmp_path, tmp_path / "test", tmp_path / "missing", tmp_path / ("long" * 100)):
        assert Cifar().sniff(place) is None
    with pytest.raises(DataError, match="give the folder that holds them"):
        read(tmp_path)
