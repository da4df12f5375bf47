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
from ddcore.data.readers import parquet
from ddcore.errors import DataError

NAMES = ["cat", "dog"]


def read(toy: Any, known: tuple[str, ...] | None = None) -> tuple[ImageSet, ImageSet]:
    files = parquet.find(toy.folder)
    assert files is not None
    return parquet.read(files, known)


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


def test_a_folder_without_training_files_is_none_of_its_business(tmp_path: Path) -> None:
    assert parquet.find(tmp_path / "absent") is None


def test_missing_test_split_is_named(toy: Any) -> None:
    (toy.folder / "test-00000-of-00001.parquet").unlink()
    with pytest.raises(DataError, match=r"toy has no test split .*present: train-00000-of-00001\.parquet"):
        parquet.find(toy.folder)


def test_missing_file_of_a_split_is_named(toy: Any) -> None:
    toy.write("train", toy.images(2), [0, 1], part="00001-of-00003")
    (toy.folder / "train-00000-of-00001.parquet").unlink()
    with pytest.raises(DataError, match=r"holds 1 of 3 files of a split \(train-00001-of-00003\.parquet\)"):
        parquet.find(toy.folder)


def test_corrupt_image_is_named_by_file_and_row(toy: Any) -> None:
    images = toy.images(2000, height=2, width=2)
    images[1234] = images[1234][:30]
    toy.write("train", images, [0, 1] * 1000)
    with pytest.raises(DataError, match=r"^train-00000-of-00001\.parquet row 1234: not a readable image"):
        read(toy)


@pytest.mark.parametrize("missing", [None, b""])
def test_absent_image_is_named_by_row(toy: Any, missing: bytes | None) -> None:
    toy.write("train", [*toy.images(2), missing], [0, 1, 0])
    with pytest.raises(DataError, match=r"row 2: no image bytes"):
        read(toy)


def test_null_image_struct_is_named_by_row(toy: Any) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells = [{"bytes": data, "path": None} for data in toy.images(2)]
    table = pa.table({"image": pa.array([cells[0], None, cells[1]], kind), "label": [0, 1, 0]})
    pq.write_table(table, toy.folder / "train-00000-of-00001.parquet")
    with pytest.raises(DataError, match=r"row 1: no image bytes"):
        read(toy)


@pytest.mark.parametrize("row", [1, 1500])
def test_images_of_another_size_are_named_by_row_and_size(toy: Any, row: int) -> None:
    images = toy.images(2000, height=2, width=2)
    images[row] = toy.images(1, height=3, width=7)[0]
    toy.write("train", images, [0, 1] * 1000)
    with pytest.raises(DataError, match=rf"agree in size, but .* is 2 x 2, train\S+ row {row} is 7 x 3; resize"):
        read(toy)


def test_test_images_of_another_size_are_refused(toy: Any) -> None:
    toy.write("test", toy.images(2, height=9, width=9), [0, 1], classes=NAMES)
    with pytest.raises(DataError, match=r"train\S+ row 0 is 5 x 6, test\S+ row 0 is 9 x 9"):
        read(toy)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (("photo", "label"), r"no image column \(image or img\); columns present: photo \(struct.*\), label \(int64\)"),
        (("image", "target"), r"no label column \(label or labels or fine_label\); columns present: image"),
    ],
)
def test_missing_columns_are_named(toy: Any, columns: tuple[str, str], message: str) -> None:
    toy.write("train", toy.images(2), [0, 1], columns=columns)
    with pytest.raises(DataError, match=message):
        read(toy)


def test_image_column_of_another_type_is_named(toy: Any) -> None:
    pq.write_table(
        pa.table({"image": ["a.png", "b.png"], "label": [0, 1]}), toy.folder / "train-00000-of-00001.parquet"
    )
    with pytest.raises(DataError, match=r"`image` must hold encoded images.*image \(string\)"):
        read(toy)


def test_label_column_of_another_type_is_named(toy: Any) -> None:
    toy.write("train", toy.images(2), ["cat", "dog"])
    with pytest.raises(DataError, match=r"`label` must hold whole numbers.*label \(string\)"):
        read(toy)


@pytest.mark.parametrize(
    ("split", "labels", "message"),
    [
        ("train", [0, 1, 2], r"train\S+ row 2: label 2 is outside 0 to 1 \(2 classes\); 1 such rows"),
        ("train", [0, -1, -1], r"train\S+ row 1: label -1 is outside 0 to 1 \(2 classes\); 2 such rows"),
        ("test", [0, 1, 9], r"test\S+ row 2: label 9 is outside 0 to 1"),
        ("train", [0, None, 1], r"train\S+ row 1: no label"),
        ("train", [1, 1, 1], r"all 3 training images are of class 'dog'; at least 2 are needed"),
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


def test_numbered_classes_count_from_zero_without_gaps(toy: Any) -> None:
    toy.write("train", toy.images(3), [0, 1, 1_000_000_000])
    toy.write("test", toy.images(2), [0, 1])
    with pytest.raises(DataError, match=r"row 2: label 1000000000, but there are only 3 training images"):
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


@pytest.mark.parametrize(
    ("labels", "way_out"),
    [
        ([1, 2, 1, 2], r"are 1, 2; labels count classes from 0 without gaps, so subtract 1 from each"),
        ([0, 2, 5, 2, 0, 2], r"are 0, 2, 5; .* so number the 3 classes 0 to 2"),
    ],
)
def test_labels_that_do_not_count_from_zero_are_refused_with_the_remedy(
    toy: Any, labels: list[int], way_out: str
) -> None:
    for split in ("train", "test"):
        toy.write(split, toy.images(len(labels)), labels)
    with pytest.raises(DataError, match=way_out):
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
        assert test.remarks[1] == "2 of 2 images of test leave that range and were cut off there"

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
