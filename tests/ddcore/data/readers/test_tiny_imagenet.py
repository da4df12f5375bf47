from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from ddcore.data.readers.tiny_imagenet import TinyImageNet
from ddcore.data.source import Choices, Source
from ddcore.errors import DataError

WNIDS = ("n02", "n01")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Two classes with two training images and one for validation each, and one test image."""
    (tmp_path / "wnids.txt").write_text("n02\nn01\n")
    (tmp_path / "words.txt").write_text("n01\tcat\nn02\tdog, hound\nn03\tbird\n")
    for wnid in WNIDS:
        for number in range(2):
            picture(tmp_path / "train" / wnid / "images" / f"{wnid}_{number}.JPEG")
        (tmp_path / "train" / wnid / f"{wnid}_boxes.txt").write_text("a\t0\t0\t1\t1\n")
    for split, count in (("val", 2), ("test", 1)):
        for number in range(count):
            picture(tmp_path / split / "images" / f"{split}_{number}.JPEG")
    annotate(tmp_path, "val_0.JPEG\tn01\t0\t0\t1\t1\nval_1.JPEG\tn02\t0\t0\t1\t1\n")
    return tmp_path


def picture(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (2, 2)).save(file, "JPEG")


def annotate(place: Path, text: str) -> None:
    (place / "val" / "val_annotations.txt").write_text(text)


def read(place: Path) -> Source:
    return TinyImageNet().read(place, Choices())


def test_training_and_validation_images_are_read(place: Path) -> None:
    guess = TinyImageNet().sniff(place)
    assert guess is not None
    assert guess.sureness == 0.95
    source = read(place)
    train, validation = source.parts
    assert (train.split, validation.split) == ("train", "validation")
    assert [image for batch in train.images() for image in batch] == [
        place / "train" / wnid / "images" / f"{wnid}_{number}.JPEG" for wnid in WNIDS for number in range(2)
    ]
    assert [image for batch in validation.images() for image in batch] == [
        place / "val" / "images" / f"val_{number}.JPEG" for number in range(2)
    ]
    assert train.labels.numbers.tolist() == [0, 0, 1, 1]
    assert validation.labels.numbers.tolist() == [1, 0]
    assert {(part.labels.names, part.labels.declared) for part in source.parts} == {(WNIDS, True)}
    assert train.place(2) == "train/n01/images/n01_0.JPEG"
    assert source.notes == ["1 images in test have no labels and were left out"]
    assert source.ignored == {"*.jpeg": 1}


@pytest.mark.parametrize("absent", ["val", "test"])
def test_validation_and_test_may_be_absent(place: Path, absent: str) -> None:
    shutil.rmtree(place / absent)
    source = read(place)
    assert len(source.parts) == (1 if absent == "val" else 2)
    assert len(source.notes) == (1 if absent == "val" else 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"lists no classes"),
        ("n01\nn02\nn01\n", r"lists n01 twice"),
        ("n02\n", r"n01/images holds images, but wnids.txt lists no such class"),
        ("n02\nn01\nn03\n", r"n03/images holds no images, but wnids.txt lists n03"),
    ],
)
def test_classes_and_folders_must_agree(place: Path, text: str, message: str) -> None:
    (place / "wnids.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        read(place)


def test_training_images_outside_classes_are_refused(place: Path) -> None:
    picture(place / "train" / "stray.JPEG")
    with pytest.raises(DataError, match=r"train holds images, but wnids.txt lists no such class"):
        read(place)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("val_0.JPEG\tn09\n", r"line 1: val_0.JPEG has the class 'n09', which wnids.txt does not list"),
        ("val_0.JPEG n01\n", r"line 1: val_0.JPEG n01 has the class ''"),
        ("val_0.JPEG\tn01\nval_0.JPEG\tn02\n", r"line 2: val_0.JPEG has two classes"),
        ("val_0.JPEG\tn01\n", r"has no line for val_1.JPEG"),
        (
            "val_0.JPEG\tn01\nval_1.JPEG\tn01\nval_2.JPEG\tn01\n",
            r"names val_2.JPEG, which is not in val/images \(1 such",
        ),
    ],
)
def test_annotations_and_images_must_agree(place: Path, text: str, message: str) -> None:
    annotate(place, text)
    with pytest.raises(DataError, match=message):
        read(place)


def test_missing_annotations_are_refused(place: Path) -> None:
    (place / "val" / "val_annotations.txt").unlink()
    with pytest.raises(DataError, match=r"has no val_annotations.txt, which names the class of each image"):
        read(place)


@pytest.mark.parametrize("name", ["wnids.txt", "val/val_annotations.txt"])
def test_text_that_is_none_is_refused(place: Path, name: str) -> None:
    (place / name).write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="is no readable text"):
        read(place)


@pytest.mark.parametrize("absent", ["wnids.txt", "train"])
def test_foreign_places_are_left_to_others(place: Path, absent: str) -> None:
    for path in (place / "words.txt", place / "missing", place / ("long" * 100)):
        assert TinyImageNet().sniff(path) is None
    shutil.rmtree(place / absent, ignore_errors=True)
    (place / absent).unlink(missing_ok=True)
    assert TinyImageNet().sniff(place) is None
