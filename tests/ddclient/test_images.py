"""Images in memory become files that the service's own readers understand: same pixels, labels and class names."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import ddclient
from ddclient import BadInputError, Client, ClientError, images
from ddcore.data.ingest.intake import take_in
from ddcore.data.stored import StoredSet
from ddcore.spec.ingest import IngestOptions

NAMES = ["zebra", "ant"]
"""Not in the order of the alphabet."""
LABELS = [number % 2 for number in range(20)]
COLOUR = np.random.default_rng(0).integers(0, 256, (20, 3, 9, 7), dtype=np.uint8)
GREY = COLOUR[:, :1]


class Items(torch.utils.data.Dataset[Any]):
    """A torch Dataset of images as they are given; like many, it never ends by itself when it is iterated."""

    def __init__(self, pictures: Any, labels: Any = LABELS, classes: Any = None) -> None:
        self.pictures, self.labels = pictures, labels
        if classes is not None:
            self.classes = classes

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, place: int) -> tuple[Any, Any]:
        return self.pictures[place % len(self)], self.labels[place % len(self)]


class Endless:
    """Items that can only be iterated."""

    def __iter__(self) -> Iterator[tuple[Any, int]]:
        return iter(Items(COLOUR)[place] for place in range(20))


def pillow(values: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(values[0] if len(values) == 1 else values.transpose(1, 2, 0))


def taken(
    tmp_path: Path, given: Any, test: Any = None, classes: Any = None, channels: Any = None, **options: Any
) -> Any:
    """The set that the service would make of them."""
    with images.opened(given, test, "mine", classes, channels) as content:
        sent = tmp_path / content.name
        sent.write_bytes(content.read(0, content.size))
    return take_in(sent, tmp_path / "shelf", name="mine", options=IngestOptions(**options))


def content(found: StoredSet) -> list[tuple[str, bytes]]:
    """Class and pixels of every image, in an order that is not that of the files."""
    return sorted(
        (split.classes[label], image.numpy().tobytes())
        for split in (found.train, found.test)
        for image, label in zip(split.images, split.labels.tolist(), strict=True)
    )


def expected(pixels: NDArray[np.uint8], names: Sequence[str]) -> list[tuple[str, bytes]]:
    return sorted((names[label], image.tobytes()) for image, label in zip(pixels, LABELS, strict=True))


@pytest.mark.parametrize(
    ("given", "pixels", "names"),
    [
        ((COLOUR, LABELS), COLOUR, "01"),
        ((torch.from_numpy(COLOUR), torch.tensor(LABELS)), COLOUR, "01"),
        ((COLOUR.transpose(0, 2, 3, 1), np.array(LABELS)[:, None]), COLOUR, "01"),
        ((np.asfortranarray(GREY[:, 0]), [NAMES[label] for label in LABELS]), GREY, NAMES),
        ((COLOUR.astype(np.float32) / 255, np.array([NAMES[n] for n in LABELS], dtype=object)), COLOUR, NAMES),
        (Items(COLOUR), COLOUR, "01"),
        (Items(torch.from_numpy(COLOUR).float() / 255, classes=NAMES), COLOUR, NAMES),
        (Items([pillow(image) for image in GREY], torch.tensor(LABELS), tuple(NAMES)), GREY, NAMES),
        (torch.utils.data.Subset(Items(COLOUR, classes=NAMES), range(20)), COLOUR, NAMES),
        (torch.utils.data.TensorDataset(torch.from_numpy(GREY), torch.tensor(LABELS)), GREY, "01"),
        ([(image, NAMES[label]) for image, label in zip(GREY[:, 0], LABELS, strict=True)], GREY, NAMES),
        (Endless(), COLOUR, "01"),
    ],
    ids=["numpy", "torch", "channels last", "words", "floats", "items", "tensors", "pillow", "subset", "tensor dataset",
         "list", "iterable"],
)  # fmt: skip
def test_what_is_in_memory_arrives_as_it_is(tmp_path: Path, given: Any, pixels: Any, names: Sequence[str]) -> None:
    found = taken(tmp_path, given)
    assert content(found) == expected(pixels, names)


@pytest.mark.parametrize(
    "given", [(COLOUR, LABELS), (torch.from_numpy(COLOUR), torch.tensor(LABELS)), Items(COLOUR)],
    ids=["arrays", "tensors", "items"],
)  # fmt: skip
def test_class_names_keep_their_order(tmp_path: Path, given: Any) -> None:
    found = taken(tmp_path, given, classes=NAMES)
    assert found.train.classes == tuple(NAMES)
    assert content(found) == expected(COLOUR, NAMES)


def test_images_of_many_sizes_and_kinds(tmp_path: Path) -> None:
    sides = [(8 + number, 20 - number) for number in range(10)]
    modes = ["RGB", "L", "CMYK", "RGBA", "P", "1", "LA"]
    rng = np.random.default_rng(1)
    pictures = [
        Image.fromarray(rng.integers(0, 256, (*side, 3), dtype=np.uint8)).convert(modes[number % len(modes)])
        for number, side in enumerate(sides)
    ]
    found = taken(tmp_path, Items(pictures, [n % 2 for n in range(10)], NAMES), size=8)
    assert found.report.distinct_sizes == 10
    assert set(found.report.modes) >= {"RGB", "L", "CMYK"}


def test_sixteen_bits_stay(tmp_path: Path) -> None:
    deep = np.random.default_rng(2).integers(0, 65_536, (20, 8, 8)).astype(np.uint16)
    deep[0, 0, :2] = 0, 65_535
    assert taken(tmp_path, Items(deep, classes=NAMES)).report.modes == {"I;16": 20}


def table(count: int = 20, label: Any = None, paths: Path | None = None) -> datasets.Dataset:
    pictures: list[Any] = [pillow(image) for image in COLOUR[:count]]
    if paths is not None:
        for number, picture in enumerate(pictures):
            picture.save(paths / f"{number}.png")
        pictures = [str(paths / f"{number}.png") for number in range(count)]
    columns = {"image": pictures, "label": LABELS[:count], "patient": [f"p{n // 2}" for n in range(count)]}
    features = datasets.Features({"image": datasets.Image(), "label": label or datasets.ClassLabel(names=NAMES),
                                  "patient": datasets.Value("string")})  # fmt: skip
    return datasets.Dataset.from_dict(columns, features=features)


@pytest.mark.parametrize("paths", [False, True])
def test_a_table_of_hugging_face(tmp_path: Path, paths: bool) -> None:
    (tmp_path / "files").mkdir()
    found = taken(tmp_path, table(paths=tmp_path / "files" if paths else None), group_column="patient")
    assert found.train.classes == tuple(NAMES)
    assert content(found) == expected(COLOUR, NAMES)


def test_a_table_that_is_a_selection_of_another(tmp_path: Path) -> None:
    selection = table().select(range(19, -1, -1)).filter(lambda row: row["patient"] != "p0")
    found = taken(tmp_path, selection)
    assert len(found.train) + len(found.test) == 18


@pytest.mark.parametrize("kind", ["arrays", "items", "tables", "a DatasetDict"])
def test_test_images_stay_apart(tmp_path: Path, kind: str) -> None:
    train, test = {
        "arrays": ((COLOUR[:14], LABELS[:14]), (COLOUR[14:], LABELS[14:])),
        "items": (Items(COLOUR[:14], classes=NAMES), Items(COLOUR[14:])),
        "tables": (table().select(range(14)), table().select(range(14, 20))),
        "a DatasetDict": (datasets.DatasetDict({"train": table().select(range(14)),
                                                "test": table().select(range(14, 20))}), None),
    }[kind]  # fmt: skip
    found = taken(tmp_path, train, test)
    assert (len(found.train), len(found.test)) == (14, 6)
    assert found.train.classes == (("0", "1") if kind == "arrays" else tuple(NAMES))
    assert content(found) == expected(COLOUR, found.train.classes)


def test_where_channels_are_can_be_said(tmp_path: Path) -> None:
    odd = np.random.default_rng(3).integers(0, 256, (20, 3, 5, 3), dtype=np.uint8)
    first = odd.reshape(20, 3, 5, 3)
    assert content(taken(tmp_path, Items(first), channels="first")) == expected(first, "01")
    last = first.transpose(0, 3, 1, 2)
    for channels in ("last", None):
        assert content(taken(tmp_path, Items(first), channels=channels)) == expected(last, "01")
    assert content(taken(tmp_path, Items(torch.from_numpy(first)))) == expected(first, "01")


class Odd:
    """Neither images nor a path of any."""


@pytest.mark.parametrize(
    ("given", "how", "said"),
    [
        ((COLOUR, LABELS[:3]), {}, "20 images but 3 labels"),
        ((COLOUR, 3), {}, "must be (images, labels)"),
        ((COLOUR, LABELS), {"test": Items(COLOUR)}, "`test` must be a pair (images, labels)"),
        ((np.array([None] * 20), LABELS), {}, "Python objects"),
        (Items(COLOUR - 1.0), {}, "item 0 of images has pixels from -1 to 248, but floats must run from 0 to 1"),
        (Items(COLOUR * np.float32("nan")), {}, "floats must run from 0 to 1"),
        (Items(COLOUR.astype(np.int64) + 1), {}, "outside 0 to 255"),
        (Items(COLOUR, [*LABELS[:-1], 2], NAMES), {}, "the label of item 19 of images is 2, but there are 2 classes"),
        (Items(COLOUR, [0.5] * 20), {}, "is 0.5, but must be a whole number or a word"),
        (Items(COLOUR, [*LABELS[:-1], "ant"]), {}, "both 0 and 'ant'"),
        (Items(COLOUR[:, :2]), {}, "the shape (2, 9, 7), but must be"),
        (Items(COLOUR.astype(np.uint16)), {}, "coloured and has 16 bits"),
        (Items([]), {}, "images holds no images"),
        ([COLOUR[0]], {}, "item 0 of images is a ndarray, but must be a pair (image, label)"),
        (Odd(), {}, "`images` is a Odd, but must be a path, a pair"),
        ({"train": Items(COLOUR)}, {"test": Items(COLOUR)}, "named splits already"),
        (table(), {"classes": NAMES}, "names its classes itself"),
        ("/tmp", {"classes": NAMES}, "files name their classes themselves"),
        ("/tmp", {"test": 3}, "`test` must be a path"),
        ("/tmp", {"test": "/etc/passwd"}, "both must be folders"),
    ],
)  # fmt: skip
def test_what_cannot_be_sent_is_told(tmp_path: Path, given: Any, how: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInputError) as caught:
        taken(tmp_path, given, **how)
    assert said in str(caught.value)


def test_two_parquet_files_are_two_splits(tmp_path: Path) -> None:
    table().select(range(14)).to_parquet(str(tmp_path / "learn.parquet"))
    table().select(range(14, 20)).to_parquet(str(tmp_path / "score.parquet"))
    found = taken(tmp_path, str(tmp_path / "learn.parquet"), tmp_path / "score.parquet")
    assert (len(found.train), len(found.test), found.train.classes) == (14, 6, tuple(NAMES))
    assert content(found) == expected(COLOUR, NAMES)


def test_a_table_of_paths_goes_with_its_images(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    lines = ["file,label"]
    for number, (image, label) in enumerate(zip(COLOUR, LABELS, strict=True)):
        pillow(image).save(tmp_path / "set" / f"{number}.png")
        lines.append(f"{number}.png,{NAMES[label]}")
    (tmp_path / "set" / "labels.csv").write_text("\n".join(lines))
    with pytest.raises(BadInputError, match=r"labels\.csv is a table, .*give the folder that holds both"):
        taken(tmp_path, tmp_path / "set" / "labels.csv")
    assert content(taken(tmp_path, tmp_path / "set")) == expected(COLOUR, NAMES)


def test_images_without_a_path_need_a_name(client: Client) -> None:
    with pytest.raises(BadInputError, match="`name` is missing"):
        client.datasets.add((COLOUR, LABELS))


def test_a_library_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ddclient.spooling", raising=False)
    monkeypatch.delattr(ddclient, "spooling", raising=False)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ClientError, match=r"pip install 'ddservice\[engine\]' \(missing: pyarrow\)"):
        taken(tmp_path, Items(COLOUR))


def test_the_client_loads_none_of_them_by_itself() -> None:
    heavy = "{'torch', 'numpy', 'pyarrow', 'PIL', 'datasets'}"
    code = f"import sys, ddclient, ddclient.packing, ddclient.images, ddclient.cli; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
