import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from ddcore.data.dataset import ImageSet
from ddcore.data.ingest.intake import take_in
from ddcore.data.readers import parquet
from ddcore.data.readers.parquet import Parquet
from ddcore.errors import DataError
from ddcore.spec.ingest import IngestOptions

NAMES = ["cat", "dog"]


def read(toy: Any, known: tuple[str, ...] | None = None, **options: Any) -> tuple[ImageSet, ImageSet]:
    found = take_in(
        toy.folder,
        toy.root / "taken",
        name="toy",
        options=IngestOptions(**{"size": "keep"} | options),
        known_classes=known,
    )
    return found.train, found.test


def test_images_labels_and_names_come_out_as_they_went_in(toy: Any, pixels: Callable[..., Any]) -> None:
    train, test = read(toy)
    assert torch.equal(train.images, torch.from_numpy(np.stack([pixels(n) for n in range(6)])))
    assert torch.equal(test.images, torch.from_numpy(np.stack([pixels(50 + n) for n in range(4)])))
    assert train.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert (train.classes, test.classes) == (("cat", "dog"), ("cat", "dog"))


def test_several_files_and_many_rows_keep_their_order(toy: Any, pixels: Callable[..., Any]) -> None:
    (toy.folder / "train-00000-of-00001.parquet").unlink()
    for part, count in enumerate((1500, 3, 700)):
        images = toy.images(count, seed=10_000 * part, height=2, width=2)
        toy.write("train", images, [n % 2 for n in range(count)], part=f"{part:05d}-of-00003", classes=NAMES)
    toy.write("test", toy.images(2, height=2, width=2), [0, 1], classes=NAMES)
    train, _ = read(toy)
    expected = [pixels(10_000 * part + n, 2, 2) for part, count in enumerate((1500, 3, 700)) for n in range(count)]
    assert np.array_equal(train.images.numpy(), np.stack(expected))


@pytest.mark.parametrize("columns", [("img", "labels"), ("image", "fine_label"), ("img", "label")])
def test_other_column_names_and_plain_binary_are_read(toy: Any, columns: tuple[str, str]) -> None:
    toy.write("train", toy.images(4), [0, 1, 1, 0], columns=columns, binary=True, classes=NAMES)
    assert read(toy)[0].labels.tolist() == [0, 1, 1, 0]


def test_files_may_lie_in_a_data_folder(toy: Any) -> None:
    (toy.folder / "data").mkdir()
    for path in toy.folder.glob("*.parquet"):
        path.rename(path.parent / "data" / path.name)
    assert len(read(toy)[0]) == 6


def test_classes_without_names_take_known_names_or_numbers(toy: Any) -> None:
    for split in ("train", "test"):
        toy.write(split, toy.images(4), [0, 1, 2, 0])
    assert read(toy)[0].classes == ("0", "1", "2")
    assert read(toy, ("x", "y", "z"))[0].classes == ("x", "y", "z")


def test_grey_images_keep_one_channel(toy: Any) -> None:
    for split in ("train", "test"):
        toy.write(split, toy.images(4, channels=1), [0, 1, 0, 1])
    train, test = read(toy)
    assert train.shape == test.shape == (1, 6, 5)


def test_one_coloured_image_makes_the_set_rgb(toy: Any, pixels: Callable[..., Any]) -> None:
    toy.write("train", toy.images(4, channels=1), [0, 1, 0, 1])
    toy.write("test", [*toy.images(1, channels=1), *toy.images(1, seed=9)], [0, 1])
    train, test = read(toy)
    assert train.shape == test.shape == (3, 6, 5)
    assert np.array_equal(train.images[0].numpy(), np.repeat(pixels(0, channels=1), 3, axis=0))
    assert np.array_equal(test.images[1].numpy(), pixels(9))


def test_a_folder_without_parquet_files_is_none_of_its_business(tmp_path: Path) -> None:
    assert Parquet().sniff(tmp_path) is None
    assert Parquet().sniff(tmp_path / "absent") is None
    (tmp_path / "table.csv").write_text("file,label\n")
    assert Parquet().sniff(tmp_path / "table.csv") is None


def test_without_a_test_split_one_is_cut(toy: Any) -> None:
    (toy.folder / "test-00000-of-00001.parquet").unlink()
    train, test = read(toy)
    assert (train.class_counts, test.class_counts) == ((2, 2), (1, 1))
    assert train.remarks == (
        "there is no test split, so 2 of 6 images were set aside for scoring (test_split 0.2, seed 0)",
    )


def test_missing_file_of_a_split_is_named(toy: Any) -> None:
    toy.write("train", toy.images(2), [0, 1], part="00001-of-00003")
    (toy.folder / "train-00000-of-00001.parquet").unlink()
    with pytest.raises(DataError, match=r"holds 1 of 3 files of a split \(train-00001-of-00003\.parquet\)"):
        read(toy)


def test_corrupt_image_is_named_by_file_and_row(toy: Any) -> None:
    images = toy.images(2000, height=2, width=2)
    images[1234] = images[1234][:30]
    toy.write("train", images, [0, 1] * 1000, classes=NAMES)
    with pytest.raises(DataError, match=r"^train-00000-of-00001\.parquet row 1234: not a readable image"):
        read(toy)


@pytest.mark.parametrize("missing", [None, b""])
def test_absent_image_is_named_by_row(toy: Any, missing: bytes | None) -> None:
    toy.write("train", [*toy.images(2), missing], [0, 1, 0], classes=NAMES)
    with pytest.raises(DataError, match=r"row 2: no image bytes"):
        read(toy)


def test_null_image_struct_is_named_by_row(toy: Any) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells = [{"bytes": data, "path": None} for data in toy.images(2)]
    table = pa.table({"image": pa.array([cells[0], None, cells[1]], kind), "label": [0, 1, 0]})
    pq.write_table(table, toy.folder / "train-00000-of-00001.parquet")
    toy.write("test", toy.images(2), [0, 1])
    with pytest.raises(DataError, match=r"row 1: no image bytes"):
        read(toy)


@pytest.mark.parametrize("row", [1, 1500])
def test_images_of_another_size_are_named_by_row_and_size(toy: Any, row: int) -> None:
    images = toy.images(2000, height=2, width=2)
    images[row] = toy.images(1, height=3, width=7)[0]
    toy.write("train", images, [0, 1] * 1000, classes=NAMES)
    toy.write("test", toy.images(2, height=2, width=2), [0, 1], classes=NAMES)
    with pytest.raises(
        DataError, match=rf"theirs are 2 x 2 \(2001, the .*\), 7 x 3 \(1, the first train\S+ row {row}\)"
    ):
        read(toy)


def test_test_images_of_another_size_are_refused(toy: Any) -> None:
    toy.write("test", toy.images(2, height=9, width=9), [0, 1], classes=NAMES)
    with pytest.raises(DataError, match=r"theirs are 5 x 6 \(6, .*\), 9 x 9 \(2, the first test\S+ row 0\)"):
        read(toy)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"photo": "a.png", "label": 0},
            r"no image column; columns present: photo \(string\), label \(int64\); name one",
        ),
        ({"image": b"", "scan": b""}, r"no label column; columns present: image \(binary\), scan \(binary\); name one"),
        (
            {"image": b"", "age": 3, "sex": 0},
            r"2 columns that could hold the labels \(age, sex\); say which with `label_col",
        ),
        ({"image": b"", "label": 0, "labels": 0}, r"2 columns that could hold the labels \(label, labels\); say which"),
        ({"scan": b"", "photo": b"", "label": 0}, r"2 columns that could hold the images \(scan, photo\); say which"),
    ],
)
def test_columns_that_cannot_be_told_are_named(toy: Any, columns: dict[str, Any], message: str) -> None:
    table = pa.table({name: [value] * 4 for name, value in columns.items()})
    pq.write_table(table, toy.folder / "train-00000-of-00001.parquet")
    with pytest.raises(DataError, match=message):
        read(toy)


def test_the_user_can_name_columns(toy: Any) -> None:
    for split in ("train", "test"):
        path = toy.write(split, toy.images(4), [0, 1, 2, 0], columns=("scan", "age"))
        pq.write_table(pq.read_table(path).append_column("sex", pa.array(["f", "m", "m", "f"])), path)
    assert read(toy, label_column="sex", image_column="scan")[0].classes == ("f", "m")
    assert read(toy, label_column="age")[0].classes == ("0", "1", "2")
    with pytest.raises(DataError, match=r"has no column `sexe`; name another as `label_column`; columns present: scan"):
        read(toy, label_column="sexe")


def test_image_column_of_another_type_is_named(toy: Any) -> None:
    pq.write_table(
        pa.table({"image": ["a.png", "b.png"], "label": [0, 1]}), toy.folder / "train-00000-of-00001.parquet"
    )
    toy.write("test", toy.images(2), [0, 1])
    with pytest.raises(DataError, match=r"row 0: no image bytes; images must lie in the file, or beside it"):
        read(toy)
    pq.write_table(pa.table({"image": [[1, 2], [3, 4]], "label": [0, 1]}), toy.folder / "train-00000-of-00001.parquet")
    with pytest.raises(DataError, match=r"`image` must hold encoded images.*image \(list"):
        read(toy)


@pytest.mark.parametrize("as_struct", [True, False])
def test_images_may_lie_beside_the_file(toy: Any, pixels: Callable[..., Any], as_struct: bool) -> None:
    (toy.folder / "pictures").mkdir()
    paths = [f"pictures/{n}.png" for n in range(4)]
    for path, image in zip(paths, toy.images(4), strict=True):
        (toy.folder / path).write_bytes(image)
    column = [{"bytes": None, "path": path} for path in paths] if as_struct else paths
    for split in ("train", "test"):
        table = pa.table({"image": column, "label": [0, 1, 0, 1]})
        pq.write_table(table, toy.folder / f"{split}-00000-of-00001.parquet")
    assert np.array_equal(read(toy)[0].images.numpy(), np.stack([pixels(n) for n in range(4)]))


def test_images_elsewhere_are_not_read(toy: Any) -> None:
    (toy.root / "secret.png").write_bytes(toy.images(1)[0])
    for path in ("../secret.png", str(toy.root / "secret.png"), "C:\\pictures\\1.png"):
        for split in ("train", "test"):
            pq.write_table(
                pa.table({"image": [path] * 2, "label": [0, 1]}), toy.folder / f"{split}-00000-of-00001.parquet"
            )
        with pytest.raises(DataError, match="row 0: no image bytes"):
            read(toy)


@pytest.mark.parametrize(
    ("labels", "classes", "numbers"),
    [
        (["dog", "cat", "dog", "cat"], ("cat", "dog"), [1, 0, 1, 0]),
        (pa.array(["dog", "cat", "dog", "cat"]).dictionary_encode(), ("cat", "dog"), [1, 0, 1, 0]),
        (pa.array(["dog", "cat", "dog", "cat"], pa.large_string()), ("cat", "dog"), [1, 0, 1, 0]),
        ([True, False, True, False], ("false", "true"), [1, 0, 1, 0]),
        ([1.0, 0.0, 1.0, 0.0], ("0", "1"), [1, 0, 1, 0]),
        (pa.array([1, 0, 1, 0], pa.uint8()), ("0", "1"), [1, 0, 1, 0]),
        ([[1], [0], [1], [0]], ("0", "1"), [1, 0, 1, 0]),
    ],
)
def test_labels_of_any_type_are_read(toy: Any, labels: Any, classes: tuple[str, ...], numbers: list[int]) -> None:
    for split in ("train", "test"):
        toy.write(split, toy.images(4), labels)
    train, _ = read(toy)
    assert (train.classes, train.labels.tolist()) == (classes, numbers)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([[0, 1], [1, 1], [1, 0]], r"train\S+: `label` holds 2 values for each image \(\[0, 1\] \[1, 1\] \[1, 0\] …\)"),
        ([[0, 1], [1], []], r"train\S+: `label` holds lists of different lengths"),
        ([0.5, 1.5, 0.5], r"train\S+: `label` holds 0\.5 \(row 0\), a measured quantity rather than a class"),
        ([b"x", b"y", b"x"], r"train\S+: `label` holds numbers and b'x'"),
    ],
)
def test_labels_that_name_no_class_are_refused(toy: Any, labels: Any, message: str) -> None:
    toy.write("train", toy.images(3), labels)
    with pytest.raises(DataError, match=message):
        read(toy)


@pytest.mark.parametrize(
    ("split", "labels", "message"),
    [
        ("train", [0, 1, 2], r"train\S+ row 2: label 2 is outside 0 to 1 \(2 classes\); 1 such rows"),
        ("train", [0, -1, -1], r"2 of 7 images have no label \(train\S+ row 1, train\S+ row 2\); label them, or leave"),
        ("test", [0, 1, 9], r"test\S+ row 2: label 9 is outside 0 to 1"),
        ("train", [0, None, 1], r"1 of 7 images have no label \(train\S+ row 1\); label them, or leave them out"),
        ("train", [1, 1, 1], r"all 3 training images are of class 'dog'; at least 2 classes are needed"),
    ],
)
def test_unfit_labels_are_named(toy: Any, split: str, labels: list[int | None], message: str) -> None:
    toy.write(split, toy.images(3), pa.array(labels, pa.int64()), classes=NAMES)
    with pytest.raises(DataError, match=message):
        read(toy)


def test_label_row_is_counted_within_its_file(toy: Any) -> None:
    (toy.folder / "train-00000-of-00001.parquet").unlink()
    toy.write("train", toy.images(5), [0, 1, 0, 1, 0], part="00000-of-00002", classes=NAMES)
    toy.write("train", toy.images(5), [0, 1, 0, 7, 0], part="00001-of-00002", classes=NAMES)
    with pytest.raises(DataError, match=r"^train-00001-of-00002\.parquet row 3: label 7"):
        read(toy)


def test_class_without_training_image_is_named(toy: Any) -> None:
    toy.write("train", toy.images(3), [0, 2, 0], classes=["cat", "dog", "cow"])
    with pytest.raises(DataError, match=r"1 of 3 classes have no training image: 1 \('dog'\)"):
        read(toy)


def test_file_without_rows_is_named(toy: Any) -> None:
    toy.write("train", [], pa.array([], pa.int64()))
    with pytest.raises(DataError, match=r"train-00000-of-00001\.parquet has no rows"):
        read(toy)


def test_file_that_is_not_parquet_is_named(toy: Any) -> None:
    (toy.folder / "test-00000-of-00001.parquet").write_bytes(b"PAR1 but not really PAR1")
    with pytest.raises(DataError, match=r"test-00000-of-00001\.parquet is not a readable parquet file"):
        read(toy)


def test_damaged_description_is_named(toy: Any) -> None:
    table = pq.read_table(toy.folder / "train-00000-of-00001.parquet")
    for described in ("{not json", json.dumps({"info": []})):
        pq.write_table(
            table.replace_schema_metadata({"huggingface": described}), toy.folder / "train-00000-of-00001.parquet"
        )
        with pytest.raises(DataError, match="description of its features is damaged"):
            read(toy)


class TestClassesByName:
    def test_a_split_that_lists_its_classes_in_another_order_is_renumbered(self, toy: Any) -> None:
        toy.write("test", toy.images(3, seed=50), [0, 1, 1], classes=["dog", "cat"])
        train, test = read(toy)
        assert train.classes == test.classes == ("cat", "dog")
        assert test.labels.tolist() == [1, 0, 0]

    def test_so_is_a_file_of_a_split(self, toy: Any) -> None:
        (toy.folder / "train-00000-of-00001.parquet").unlink()
        toy.write("train", toy.images(2), [0, 1], part="00000-of-00002", classes=NAMES)
        toy.write("train", toy.images(2, seed=9), [0, 1], part="00001-of-00002", classes=NAMES[::-1])
        assert read(toy)[0].labels.tolist() == [0, 1, 1, 0]

    def test_other_classes_are_refused_with_both_lists(self, toy: Any) -> None:
        toy.write("test", toy.images(2, seed=50), [0, 1], classes=["cat", "horse"])
        with pytest.raises(DataError, match=r"test\S+ has other classes \(cat, horse\) than train\S+ \(cat, dog\)"):
            read(toy)

    def test_names_in_one_split_only_are_refused(self, toy: Any) -> None:
        toy.write("test", toy.images(2, seed=50), [0, 1])
        with pytest.raises(
            DataError, match=r"test\S+ numbers its classes without naming them, but train\S+ names them"
        ):
            read(toy)

    def test_a_label_that_a_file_does_not_name_is_refused_before_it_is_renumbered(self, toy: Any) -> None:
        toy.write("test", toy.images(2, seed=50), [0, 2], classes=["dog", "cat"])
        with pytest.raises(DataError, match=r"test\S+ row 1: label 2 is outside 0 to 1 \(2 classes\); 1 such rows"):
            read(toy)

    def test_equal_names_are_refused(self, toy: Any) -> None:
        for split in ("train", "test"):
            toy.write(split, toy.images(4), [0, 1, 0, 1], classes=["cat", "cat"])
        with pytest.raises(DataError, match=r"train\S+ gives two classes the name 'cat'"):
            read(toy)


@pytest.mark.parametrize(("labels", "classes"), [([1, 2, 1, 2], ("1", "2")), ([0, 2, 5, 2, 0, 2], ("0", "2", "5"))])
def test_labels_that_do_not_count_from_zero_are_names(toy: Any, labels: list[int], classes: tuple[str, ...]) -> None:
    for split in ("train", "test"):
        toy.write(split, toy.images(len(labels), seed=9 * (split == "test")), labels)
    train, test = read(toy)
    assert train.classes == classes
    assert [classes[number] for number in test.labels.tolist()] == [str(label) for label in labels]
    assert train.remarks == (
        f"labels are {', '.join(classes)}; they are taken for the names of {len(classes)} classes",
    )


def test_a_test_label_that_no_training_image_has_is_refused(toy: Any) -> None:
    toy.write("train", toy.images(4), [1, 2, 1, 2])
    toy.write("test", toy.images(2), [1, 3])
    with pytest.raises(DataError, match=r"test\S+ row 1: label 3 is none of the 2 classes .* \(1, 2\); 1 such rows"):
        read(toy)


def test_a_label_for_each_image_is_taken_for_a_mistake(toy: Any) -> None:
    toy.write("train", toy.images(30), list(range(30)))
    toy.write("test", toy.images(2), [1, 3])
    with pytest.raises(DataError, match=r"each of 30 training images has a label of its own .*`label_column`"):
        read(toy)


class TestLayouts:
    @pytest.mark.parametrize(
        "layout",
        [
            "{}-00000-of-00001.parquet", "data/{}-00000-of-00001.parquet", "plain_text/{}-00000-of-00001.parquet",
            "default/{}/0000.parquet", "{}/part-0.parquet", "{}.parquet", "{}_00000.parquet", "data/{}.parquet",
        ],
    )  # fmt: skip
    def test_as_the_hub_and_its_tools_leave_them(self, toy: Any, pixels: Callable[..., Any], layout: str) -> None:
        for split in ("train", "test"):
            to = toy.root / "moved" / layout.format(split)
            to.parent.mkdir(parents=True, exist_ok=True)
            (toy.folder / f"{split}-00000-of-00001.parquet").rename(to)
        toy.folder = toy.root / "moved"
        train, test = read(toy)
        assert np.array_equal(train.images[5].numpy(), pixels(5))
        assert np.array_equal(test.images[0].numpy(), pixels(50))

    def test_a_validation_split_scores_where_there_is_no_other(self, toy: Any) -> None:
        (toy.folder / "test-00000-of-00001.parquet").rename(toy.folder / "validation-00000-of-00001.parquet")
        train, test = read(toy)
        assert (len(train), len(test)) == (6, 4)
        assert train.remarks == ("there is no test split, so 4 validation images score",)

    def test_two_configurations_are_refused(self, toy: Any) -> None:
        for configuration in ("plain", "extra"):
            toy.write("train", toy.images(2), [0, 1])
            (toy.folder / configuration).mkdir()
            (toy.folder / "train-00000-of-00001.parquet").rename(toy.folder / configuration / "train.parquet")
        (toy.folder / "test-00000-of-00001.parquet").unlink()
        with pytest.raises(DataError, match=r"in several places \(extra, plain\); give the path of one"):
            read(toy)

    def test_a_single_file_is_a_set(self, toy: Any) -> None:
        toy.folder = toy.folder / "train-00000-of-00001.parquet"
        train, test = read(toy)
        assert (len(train), len(test)) == (4, 2)

    def test_a_file_that_names_no_split_is_left_out_and_named(self, toy: Any) -> None:
        (toy.folder / "unsupervised.parquet").write_bytes(b"never opened")
        train, _ = read(toy)
        assert train.remarks == ("unsupervised.parquet is named after no split and was left out",)

    def test_only_test_images_are_refused(self, toy: Any) -> None:
        (toy.folder / "train-00000-of-00001.parquet").unlink()
        with pytest.raises(
            DataError, match=r"there are only test images and none to learn from; call the split .*`train`"
        ):
            read(toy)


@pytest.mark.parametrize("kind", [pa.large_binary(), pa.binary_view(), pa.dictionary(pa.int32(), pa.binary())])
@pytest.mark.parametrize("compression", ["snappy", "zstd"])
def test_binary_of_every_kind_is_read(toy: Any, pixels: Callable[..., Any], kind: Any, compression: str) -> None:
    for split in ("train", "test"):
        images = pa.array(toy.images(4), pa.binary())
        images = images.dictionary_encode() if pa.types.is_dictionary(kind) else images.cast(kind)
        table = pa.table({"image": images, "label": [0, 1, 0, 1]})
        path = toy.folder / f"{split}-00000-of-00001.parquet"
        pq.write_table(table, path, compression=compression, row_group_size=3)
    assert np.array_equal(read(toy)[0].images.numpy(), np.stack([pixels(n) for n in range(4)]))


def test_a_footer_that_promises_too_many_rows_is_refused(toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_MOST_ROWS", 5)
    with pytest.raises(DataError, match=r"says that it has 6 rows, more than the 5 allowed"):
        read(toy)


class TestShards:
    @pytest.mark.parametrize("marks", [("", "", ""), ("-0f3a", "-77bc", "-d012")])
    def test_a_missing_file_is_named_whatever_follows_the_number(self, toy: Any, marks: tuple[str, ...]) -> None:
        (toy.folder / "train-00000-of-00001.parquet").unlink()
        for number in (0, 2):
            toy.write("train", toy.images(2), [0, 1], part=f"{number:05d}-of-00003{marks[number]}", classes=NAMES)
        with pytest.raises(DataError, match=r"holds 2 of 3 files of a split .*; copy the rest: number 1"):
            read(toy)
        toy.write("train", toy.images(2), [0, 1], part=f"00001-of-00003{marks[1]}", classes=NAMES)
        assert len(read(toy)[0]) == 6

    @pytest.mark.parametrize("copy", ["00000-of-00001 (1)", "00000-of-00001 - Copy", "00000-of-00001_copy"])
    def test_a_copy_beside_the_file_is_refused(self, toy: Any, copy: str) -> None:
        toy.write("train", toy.images(6), [0, 1] * 3, part=copy, classes=NAMES)
        with pytest.raises(DataError, match=rf"holds train-{re.escape(copy)}\.parquet beside numbered files"):
            read(toy)

    def test_a_copy_of_a_file_without_number_is_refused(self, toy: Any) -> None:
        (toy.folder / "train-00000-of-00001.parquet").unlink()
        toy.write("train", toy.images(2), [0, 1], part="all", classes=NAMES)
        for name in ("all copy", "allcopy"):
            copy = toy.write("train", toy.images(2), [0, 1], part=name, classes=NAMES)
            with pytest.raises(DataError, match=rf"train-{name}\.parquet looks like a copy of train-all\.parquet"):
                read(toy)
            copy.unlink()

    def test_two_exports_are_refused(self, toy: Any) -> None:
        toy.write("train", toy.images(2), [0, 1], part="00000-of-00001-0f3a", classes=NAMES)
        with pytest.raises(DataError, match="files of two exports of one split"):
            read(toy)
        (toy.folder / "train-00000-of-00001-0f3a.parquet").unlink()
        toy.write("train", toy.images(2), [0, 1], part="00001-of-00002", classes=NAMES)
        with pytest.raises(DataError, match="of several exports of one split, of 1 and of 2 files"):
            read(toy)

    def test_a_file_with_a_fingerprint_beside_one_without_is_refused(self, toy: Any) -> None:
        (toy.folder / "train-00000-of-00001.parquet").unlink()
        for part in ("00000-of-00002-1a2b", "00001-of-00002"):
            toy.write("train", toy.images(2), [0, 1], part=part, classes=NAMES)
        with pytest.raises(DataError, match="one with fingerprints in the names and one without"):
            read(toy)

    def test_a_gap_in_files_that_are_counted_without_a_total_is_refused(self, toy: Any) -> None:
        (toy.folder / "train-00000-of-00001.parquet").unlink()
        for part in ("0000", "0002"):
            toy.write("train", toy.images(2), [0, 1], part=part, classes=NAMES)
        with pytest.raises(DataError, match="but not number 1; copy the rest"):
            read(toy)

    def test_a_pointer_of_git_lfs_says_how_to_fetch_the_file(self, toy: Any) -> None:
        (toy.folder / "train-00000-of-00001.parquet").write_text("version https://git-lfs.github.com/spec/v1\noid x\n")
        with pytest.raises(DataError, match="`git lfs pull`"):
            read(toy)


class TestPixels:
    def deep(self, low: int, high: int) -> list[bytes]:
        values = np.linspace(low, high, 30).astype(np.uint16).reshape(5, 6)
        images = [Image.fromarray(values), Image.fromarray(values[::-1].copy())]
        return [encoded(image) for image in images]

    def test_sixteen_bits_are_scaled_by_the_range_of_the_training_images(self, toy: Any) -> None:
        toy.write("train", self.deep(1000, 1440), [0, 1], classes=NAMES)
        toy.write("test", self.deep(900, 1500), [0, 1], classes=NAMES)
        train, test = read(toy)
        for split in (train, test):
            assert (int(split.images.min()), int(split.images.max())) == (0, 255)
        assert len(train.images.unique()) == 30, "no level is lost"
        expected = np.rint((np.linspace(1000, 1440, 30).astype(np.uint16).astype(float) - 1000) * 255 / 440)
        assert np.array_equal(train.images[0, 0].numpy().ravel(), expected)
        assert "1000 to 1440 (the range of train)" in train.remarks[0]
        assert "2 of 2 images of test leave that range and were cut off there" in train.remarks

    def test_eight_and_sixteen_bits_in_one_set_are_refused(self, toy: Any) -> None:
        toy.write("train", self.deep(0, 4095), [0, 1], classes=NAMES)
        toy.write("test", toy.images(2, height=5, width=6), [0, 1], classes=NAMES)
        with pytest.raises(DataError, match=r"train\S+ row 0 has 16 bits a pixel, but test\S+ row 0 has 8"):
            read(toy)

    def test_transparency_is_said(self, toy: Any) -> None:
        clear = Image.new("RGBA", (5, 6), (1, 2, 3, 0))
        toy.write("train", [*toy.images(3), encoded(clear)], [0, 1, 0, 1], classes=NAMES)
        train, _ = read(toy)
        assert train.remarks == ("1 of 4 images of train are partly transparent and were laid on white",)
        assert bool((train.images[3] == 255).all())

    def test_all_unreadable_rows_are_named_at_once(self, toy: Any) -> None:
        images = toy.images(32)
        for row in (3, 9, 17, 20, 31):
            images[row] = images[row][:30]
        toy.write("train", images, [0, 1] * 16, classes=NAMES)
        with pytest.raises(DataError) as caught:
            read(toy)
        assert [f"row {row}:" in str(caught.value) for row in (3, 9, 17, 20, 31)] == [True] * 5
        assert "row 4:" not in str(caught.value)


def encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
