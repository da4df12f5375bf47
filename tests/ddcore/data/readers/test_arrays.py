from __future__ import annotations

import io
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ddcore.data.readers import arrays
from ddcore.data.readers.arrays import Arrays
from ddcore.data.source import Choices, Part
from ddcore.errors import DataError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)
NUMBERS = np.arange(6) % 3


def save(path: Path, **named: Any) -> Path:
    np.savez(path, **named)
    return path


def save_either_way(path: Path, compress: bool, images: str = "x", labels: str = "y") -> None:
    named: dict[str, Any] = {images: PIXELS, labels: NUMBERS}
    if compress:
        np.savez_compressed(path, **named)
    else:
        np.savez(path, **named)


def fetched(part: Part) -> NDArray[Any]:
    return np.stack([np.asarray(image) for batch in part.images() for image in batch])


def header(shape: tuple[int, ...], descr: str = "|u1", fortran: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": fortran, "shape": shape})
    return buffer.getvalue()


def pack(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return path


def npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def read_all(path: Path, choices: Choices) -> None:
    for part in Arrays().read(path, choices).parts:
        fetched(part)


def refused(path: Path, message: str, choices: Choices | None = None) -> None:
    with pytest.raises(DataError, match=message):
        read_all(path, choices or Choices())


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (("train_images", "val_images", "test_images"), ("train_labels", "val_labels", "test_labels")),
        (("x_train", "x_val", "x_test"), ("y_train", "y_val", "y_test")),
        (("X_train", "X_valid", "X_test"), ("y_train", "y_valid", "y_test")),
        (("X_train", "X_dev", "X_test"), ("Y_train", "Y_dev", "Y_test")),
    ],
)
def test_splits_are_known_by_the_names_of_arrays(tmp_path: Path, images: Any, labels: Any) -> None:
    named = {name: PIXELS[n:] for n, name in enumerate(images)} | {
        name: NUMBERS[n:, None] for n, name in enumerate(labels)
    }
    path = save(tmp_path / "pets.npz", **named)
    guess = Arrays().sniff(path)
    assert guess is not None
    assert guess.sureness == 0.9
    source = Arrays().read(path, Choices())
    assert {part.split: (len(part), part.name) for part in source.parts} == {
        split: (6 - n, f"pets.npz {images[n]}") for n, split in enumerate(("train", "validation", "test"))
    }
    for part in source.parts:
        first = 6 - len(part)
        assert np.array_equal(fetched(part), PIXELS[first:])
        assert part.labels.numbers.tolist() == NUMBERS[first:].tolist()
    assert source.notes == []


@pytest.mark.parametrize(
    "names", [("images", "labels"), ("x", "y"), ("X", "y"), ("data", "labels"), ("image", "label")]
)
@pytest.mark.parametrize("compress", [False, True])
def test_single_pair_has_no_split(tmp_path: Path, names: tuple[str, str], compress: bool) -> None:
    path = tmp_path / "pets.npz"
    save_either_way(path, compress, *names)
    (part,) = Arrays().read(path, Choices()).parts
    assert (part.split, part.place(3)) == (None, f"pets.npz {names[0]}[3]")
    assert np.array_equal(fetched(part), PIXELS)
    assert np.array_equal(fetched(part), PIXELS)


def test_named_arrays_go_before_known_ones(tmp_path: Path) -> None:
    path = save(tmp_path / "pets.npz", images=PIXELS, labels=NUMBERS, mine=PIXELS[:2], coarse=NUMBERS[:2])
    source = Arrays().read(path, Choices(image_column="mine", label_column="coarse"))
    assert [(part.split, len(part)) for part in source.parts] == [(None, 2)]
    assert source.notes == ["pets.npz: left out `images`, `labels`"]


def test_other_array_of_a_pair_is_taken_by_its_usual_name(tmp_path: Path) -> None:
    path = save(tmp_path / "pets.npz", images=PIXELS, coarse=NUMBERS)
    (part,) = Arrays().read(path, Choices(label_column="coarse")).parts
    assert part.labels.numbers.tolist() == NUMBERS.tolist()


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (Choices(image_column="pics", label_column="b"), r"no `pics`; name one with `image_column`. Present: `a`"),
        (Choices(image_column="a", label_column="c"), r"holds no `c`; name one with `label_column`"),
        (Choices(image_column="a"), r"no array with a usual name for `label_column`"),
    ],
)
def test_names_that_are_not_there_are_refused(tmp_path: Path, choices: Choices, message: str) -> None:
    refused(save(tmp_path / "pets.npz", a=PIXELS, b=NUMBERS), message, choices)


def test_unknown_names_are_doubtful_and_listed_with_their_shapes(tmp_path: Path) -> None:
    path = save(tmp_path / "pets.npz", pics=PIXELS, kinds=NUMBERS, extra=np.array([{}]))
    guess = Arrays().sniff(path)
    assert guess is not None
    assert guess.sureness == 0.3
    message = r"`image_column` and `label_column`. Present: `pics` \(6, 5, 4, 3\) uint8, .*`extra` \(unreadable\)"
    refused(path, message)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("train_images",), "holds `train_images` but no `train_labels`"),
        (("x_train", "y_train", "y_test"), "holds `y_test` but no `x_test`"),
        (("x_train", "X_train", "y_train"), "holds both `x_train` and `X_train`"),
    ],
)
def test_half_pairs_and_twins_are_refused(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    path = save(tmp_path / "pets.npz", **{name: PIXELS if name[0] in "xXt" else NUMBERS for name in names})
    guess = Arrays().sniff(path)
    assert guess is not None
    assert guess.sureness == 0.3
    refused(path, message)


@pytest.mark.parametrize(
    ("shape", "choice", "axes"),
    [
        ((6, 5, 4), None, (0, 1, 2)),
        ((6, 3, 4), None, (0, 1, 2)),
        ((6, 5, 4, 1), None, (0, 1, 2, 3)),
        ((6, 5, 4, 3), None, (0, 1, 2, 3)),
        ((6, 5, 7, 4), None, (0, 1, 2, 3)),
        ((6, 1, 5, 7), None, (0, 2, 3, 1)),
        ((6, 3, 5, 7), None, (0, 2, 3, 1)),
        ((6, 4, 5, 7), None, (0, 2, 3, 1)),
        ((6, 3, 5, 3), "first", (0, 2, 3, 1)),
        ((6, 3, 5, 3), "last", (0, 1, 2, 3)),
        ((6, 1, 5, 4), "first", (0, 2, 3, 1)),
        ((6, 3, 5, 7), "first", (0, 2, 3, 1)),
        ((6, 5, 4, 3), "last", (0, 1, 2, 3)),
    ],
)
def test_channels_come_last(tmp_path: Path, shape: tuple[int, ...], choice: Any, axes: tuple[int, ...]) -> None:
    images = RNG.integers(0, 256, shape, dtype=np.uint8)
    path = save(tmp_path / "pets.npz", x=images, y=NUMBERS)
    (part,) = Arrays().read(path, Choices(channels=choice)).parts
    assert np.array_equal(fetched(part), images.transpose(axes))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((6, 3, 5, 3), r"`x` \(6, 3, 5, 3\) uint8 .*axis 1 \(3\) or axis 3 \(3\).*'first' or `channels` = 'last'"),
        ((6, 1, 4, 4), r"axis 1 \(1\) or axis 3 \(4\)"),
        ((6, 5, 4, 2), r"no shape of images"),
        ((6, 60), r"`x` \(6, 60\) uint8 has no shape of images"),
        ((6, 1, 3, 5, 4), r"no shape of images"),
        ((6,), r"no shape of images"),
        ((), r"no shape of images"),
        ((6, 0, 4), r"images of 0 x 4 pixels"),
        ((1, 4097, 4097), r"images of 4097 x 4097 pixels"),
    ],
)
def test_shapes_of_no_images_are_refused(tmp_path: Path, shape: tuple[int, ...], message: str) -> None:
    refused(save(tmp_path / "pets.npz", x=np.zeros(shape, np.uint8), y=NUMBERS), message)


@pytest.mark.parametrize(
    ("stored", "given"),
    [
        ("uint8", "uint8"),
        ("uint16", "uint16"),
        (">u2", "uint16"),
        ("bool", "bool"),
        ("float16", "float16"),
        ("float32", "float32"),
        (">f4", "float32"),
        ("float64", "float64"),
        *((name, "uint8") for name in ("int8", "int16", "int32", "int64", "uint32", "uint64", ">i4")),
    ],
)
def test_types_of_pixels(tmp_path: Path, stored: str, given: str) -> None:
    images = (PIXELS % 2).astype(stored)
    (part,) = Arrays().read(save(tmp_path / "pets.npz", x=images, y=NUMBERS), Choices()).parts
    pixels = fetched(part)
    assert pixels.dtype == given
    assert np.array_equal(pixels, images)


@pytest.mark.parametrize(
    ("stored", "value", "message"),
    [
        ("int64", 256, r"pets.npz x\[4\]: `x` has the type int64 and values from 0 to 256, .*store uint8, or uint16"),
        ("int16", -1, r"values from -1 to 1"),
        ("uint32", 70_000, r"values from 0 to 70000"),
        ("float32", np.nan, r"pets.npz x\[4\] holds NaN or infinite"),
        ("float64", np.inf, r"pets.npz x\[4\] holds NaN or infinite"),
        ("float16", -np.inf, r"pets.npz x\[4\] holds NaN or infinite"),
    ],
)
def test_values_that_are_no_pixels_are_refused_by_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: str, value: float, message: str
) -> None:
    monkeypatch.setattr(arrays, "_ROWS", 3)
    images = (PIXELS % 2).astype(stored)
    images[4, 1, 1, 1] = value
    refused(save(tmp_path / "pets.npz", x=images, y=NUMBERS), message)


@pytest.mark.parametrize("stored", ["complex64", "<U3", "datetime64[s]", "S2", "g"])
def test_types_of_no_pixels_are_refused(tmp_path: Path, stored: str) -> None:
    refused(save(tmp_path / "pets.npz", x=np.zeros((6, 5, 4), stored), y=NUMBERS), "has no type of pixels; store uint8")


def test_fortran_order_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "pets.npz", x=np.asfortranarray(PIXELS), y=NUMBERS)
    refused(path, r"Fortran order.*numpy.ascontiguousarray")


@pytest.mark.parametrize("name", ["x", "y"])
def test_python_objects_are_never_loaded(tmp_path: Path, name: str) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "went off",))

    objects = np.array([Bomb()] * 6, dtype=object)
    path = save(tmp_path / "pets.npz", **({"x": PIXELS, "y": NUMBERS} | {name: objects}))
    refused(path, f"`{name}` holds Python objects.*save it as numbers")
    assert not (tmp_path / "went off").exists()


@pytest.mark.parametrize(
    ("labels", "numbers", "names"),
    [
        (NUMBERS, NUMBERS, None),
        (NUMBERS[:, None].astype(">i2"), NUMBERS, None),
        (np.asfortranarray(NUMBERS[:, None]), NUMBERS, None),
        (NUMBERS.astype(float), NUMBERS, None),
        (NUMBERS > 0, NUMBERS > 0, ("false", "true")),
        (np.array(["b", "a", "b", "a", "b", "b"]), [1, 0, 1, 0, 1, 1], ("a", "b")),
        (np.array([b"b", b"a", b"b", b"a", b"b", b"b"]), [1, 0, 1, 0, 1, 1], ("a", "b")),
    ],
)
def test_labels(tmp_path: Path, labels: NDArray[Any], numbers: Any, names: Any) -> None:
    (part,) = Arrays().read(save(tmp_path / "pets.npz", x=PIXELS, y=labels), Choices()).parts
    assert part.labels.numbers.tolist() == [int(number) for number in numbers]
    assert (part.labels.names, part.labels.declared) == (names, False)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (NUMBERS[:5], r"`x` holds 6 images but `y` 5 labels"),
        (np.eye(6), r"`pets.npz y` holds 6 values for each image"),
        (NUMBERS + 0.5, r"measured quantity"),
        (np.array(3), r"cannot be labels"),
        (np.zeros(6, "datetime64[s]"), r"cannot be labels"),
        (np.array([b"\xff"] * 6), r"bytes that are no text"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path: Path, labels: NDArray[Any], message: str) -> None:
    refused(save(tmp_path / "pets.npz", x=PIXELS, y=labels), message)


def test_too_many_labels_are_refused_before_they_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "_MOST_LABELS", 5)
    refused(save(tmp_path / "pets.npz", x=PIXELS, y=NUMBERS), r"has 6 values of 8 bytes, more than the 5")


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (header((10**9, 28, 28)) + bytes(100), r"claims the shape \(1000000000, 28, 28\) of uint8, 784,000"),
        (header((-1, 28, 28)) + bytes(100), r"claims the shape \(-1, 28, 28\)"),
        (header((6, 5, 4)) + bytes(121), r"but holds 121"),
        (header((6, 5, 4), "|S0"), r"claims the shape"),
        (b"no numpy", r"`x` has no readable .npy header"),
        (b"\x93NUMPY\x01\x00\x04\x00((((", r"`x` has no readable .npy header"),
        (b"\x93NUMPY\x03\x00\x04\x00\x00\x00((((", r"version 3.0, known are 1.0 and 2.0"),
        (b"", r"`x` has no readable .npy header"),
    ],
)
def test_headers_are_not_believed(tmp_path: Path, images: bytes, message: str) -> None:
    refused(pack(tmp_path / "pets.npz", x=images, y=npy(NUMBERS)), message)


def test_second_version_of_headers_is_read(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, PIXELS, version=(2, 0))
    path = pack(tmp_path / "pets.npz", x=buffer.getvalue(), y=npy(NUMBERS))
    (part,) = Arrays().read(path, Choices()).parts
    assert np.array_equal(fetched(part), PIXELS)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 but no more", b"no zip at all"])
def test_damaged_zips_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "pets.npz"
    path.write_bytes(data)
    assert Arrays().sniff(path) is not None
    refused(path, "not a readable .npz file")


def test_encrypted_zips_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "pets.npz", x=PIXELS, y=NUMBERS)
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    refused(path, "`x` is encrypted; write the file again without a password")


@pytest.mark.parametrize("compress", [False, True])
def test_damage_inside_an_array_is_found(tmp_path: Path, compress: bool) -> None:
    path = tmp_path / "pets.npz"
    save_either_way(path, compress)
    data = bytearray(path.read_bytes())
    data[len(npy(PIXELS)) - 100] ^= 0xFF
    path.write_bytes(data)
    refused(path, "not a readable .npz file|ends early|no readable .npy header")


@pytest.mark.parametrize("limit", ["_ROWS", "_BATCH_BYTES"])
def test_images_come_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(arrays, limit, 4 if limit == "_ROWS" else PIXELS[0].nbytes * 4 + 1)
    (part,) = Arrays().read(save(tmp_path / "pets.npz", x=PIXELS, y=NUMBERS), Choices()).parts
    assert [len(batch) for batch in part.images()] == [4, 2]


def test_memory_does_not_grow_with_the_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "_BATCH_BYTES", 2**20)
    images = np.zeros((4000, 64, 64), np.uint8)
    path = tmp_path / "pets.npz"
    np.savez_compressed(path, x=images, y=np.zeros(4000, np.int64))
    del images
    tracemalloc.start()
    (part,) = Arrays().read(path, Choices()).parts
    assert sum(len(batch) for batch in part.images()) == 4000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 2**20


def test_folder_with_one_file_is_read(tmp_path: Path) -> None:
    save(tmp_path / "pets.npz", x=PIXELS, y=NUMBERS)
    for name in ("README.md", "LICENSE", ".DS_Store"):
        (tmp_path / name).touch()
    assert Arrays().sniff(tmp_path) is not None
    assert Arrays().read(tmp_path, Choices()).ignored == {".DS_Store": 1, "*.md": 1, "LICENSE": 1}


@pytest.mark.parametrize("other", ["more.npz", "train.csv", "cat.png", "cats/"])
def test_folder_with_anything_else_of_use_is_not_ours(tmp_path: Path, other: str) -> None:
    save(tmp_path / "pets.npz", x=PIXELS, y=NUMBERS)
    (tmp_path / other).mkdir() if other.endswith("/") else (tmp_path / other).touch()
    assert Arrays().sniff(tmp_path) is None
    refused(tmp_path, "nor a folder with exactly one; give the file itself")


@pytest.mark.parametrize("name", ["", "missing", "pets.npy", "long" * 100])
def test_foreign_places_are_left_to_others(tmp_path: Path, name: str) -> None:
    (tmp_path / "pets.npy").write_bytes(npy(PIXELS))
    assert Arrays().sniff(tmp_path / name) is None


@pytest.mark.parametrize("error", [ValueError, OSError, EOFError, NotImplementedError])
@pytest.mark.parametrize("place", ["_pairs", "_part", "_axis_of_channels", "_check_length", "_pixels"])
def test_faults_of_our_own_are_no_damage_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, error: type[Exception]
) -> None:
    def fail(*_: object) -> None:
        raise error("our own fault")

    path = save(tmp_path / "pets.npz", x=PIXELS, y=NUMBERS)
    monkeypatch.setattr(arrays, place, fail)
    with pytest.raises(error, match="our own fault"):
        read_all(path, Choices())


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("letter", [0x110000, 0xFFFFFFFF, 0xD800, 0xDFFF])
def test_text_of_no_letters_is_refused(tmp_path: Path, letter: int, order: str) -> None:
    labels = np.array([97, 98, letter, 97, 98, 98], f"{order}u4")
    member = header((6,), f"{order}U1") + labels.tobytes()
    path = pack(tmp_path / "pets.npz", x=npy(PIXELS), y=member)
    refused(path, rf"`y` holds bytes that are no text \(0x{letter:x} is no letter of Unicode\); store it again")


@pytest.mark.parametrize("order", ["<", ">"])
def test_text_in_either_byte_order_is_read(tmp_path: Path, order: str) -> None:
    labels = np.array([*"b\ud7ff\ue000\U0010ffffbb"], f"{order}U1")
    (part,) = Arrays().read(save(tmp_path / "pets.npz", x=PIXELS, y=labels), Choices()).parts
    assert part.labels.names == ("b", "\ud7ff", "\ue000", "\U0010ffff")


@pytest.mark.parametrize("shape", [(0, 10**30), (6, *[1] * 70)])
def test_shapes_that_numpy_cannot_have_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    labels = header(shape) + bytes(shape[0])
    path = pack(tmp_path / "pets.npz", x=npy(PIXELS[: shape[0]]), y=labels)
    refused(path, r"`y` \(.*\) uint8 cannot be labels \(.*\); store one for each image")
