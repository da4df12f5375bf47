"""Folders of images, one for each class."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from ddcore.data.readers.class_folders import ClassFolders
from ddcore.data.source import Choices, Source
from ddcore.errors import DataError


def put(root: Path, *names: str) -> Path:
    """Files below a folder; a name that ends with / is a folder."""
    for name in names:
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
    return root


def read(root: Path, choices: Choices | None = None) -> Source:
    return ClassFolders().read(root, choices or Choices())


def sureness(root: Path) -> float | None:
    guess = ClassFolders().sniff(root)
    return None if guess is None else guess.sureness


def classes(source: Source) -> list[list[str]]:
    return [[(part.labels.names or ())[number] for number in part.labels.numbers] for part in source.parts]


class TestRead:
    def test_folders_are_classes(self, tmp_path: Path) -> None:
        put(tmp_path, "dog/1.png", "cat/2.JPG", "cat/1.png")
        (part,) = read(tmp_path).parts
        assert (part.split, part.name, len(part)) == (None, tmp_path.name, 3)
        assert (part.labels.names, part.labels.declared) == (("cat", "dog"), False)
        assert part.labels.numbers.tolist() == [0, 0, 1]
        assert [Path(str(path)) for batch in part.images() for path in batch] == [
            tmp_path / "cat/1.png", tmp_path / "cat/2.JPG", tmp_path / "dog/1.png"
        ]  # fmt: skip
        assert [path for batch in part.images() for path in batch], "again each time"
        assert part.place(2) == "dog/1.png"
        assert part.groups is None

    @pytest.mark.parametrize(
        ("folder", "split"),
        [("train", "train"), ("Training", "train"), ("TEST", "test"), ("testing", "test"), ("val", "validation"),
         ("valid", "validation"), ("validation", "validation"), ("dev", "validation")],
    )  # fmt: skip
    def test_folders_of_splits_are_known_by_any_name(self, tmp_path: Path, folder: str, split: str) -> None:
        put(tmp_path, f"{folder}/cat/1.png", f"{folder}/dog/1.png")
        (part,) = read(tmp_path).parts
        assert (part.split, part.name, part.labels.names) == (split, folder, ("cat", "dog"))

    def test_each_split_is_a_part_and_may_lack_a_class(self, tmp_path: Path) -> None:
        put(tmp_path, "train/cat/1.png", "train/dog/2.png", "test/dog/3.png")
        source = read(tmp_path)
        assert [part.split for part in source.parts] == ["test", "train"]
        assert classes(source) == [["dog"], ["cat", "dog"]]
        assert source.parts[0].place(0) == "test/dog/3.png"

    def test_images_may_lie_below_the_folder_of_their_class(self, tmp_path: Path) -> None:
        put(tmp_path, "train/cat/a/b/1.png", "train/cat/2.png", "train/dog/x/3.png")
        assert classes(read(tmp_path)) == [["cat", "cat", "dog"]]

    def test_innermost_folders_are_groups_where_asked(self, tmp_path: Path) -> None:
        put(tmp_path, "cat/a/1.png", "cat/b/2.png", "dog/3.png")
        assert read(tmp_path, Choices(group_folders=True)).parts[0].groups == ["cat/a", "cat/b", "dog"]

    def test_names_stay_as_the_folders_are_called(self, tmp_path: Path) -> None:
        names = ["猫", "собака", "New York", "v1.5 (old)", "Größe"]
        put(tmp_path, *(f"{name}/1.png" for name in names))
        assert read(tmp_path).parts[0].labels.names == tuple(sorted(names))

    def test_other_files_are_counted(self, tmp_path: Path) -> None:
        put(tmp_path, "cat/1.png", "dog/1.png", "a.ipynb", "cat/B.IPYNB", "README", "cat/.DS_Store", ".git/x", ".git/y")
        assert read(tmp_path).ignored == {"*.ipynb": 2, "README": 1, ".DS_Store": 1, ".git": 2}

    def test_empty_folders_are_said(self, tmp_path: Path) -> None:
        put(tmp_path, "train/cat/1.png", "train/dog/1.png", "train/cow/", "train/.cache/", "test/")
        assert read(tmp_path).notes == [
            "the folder 'test' holds no image and was left out",
            "the folder 'train/cow' holds no image and was left out",
        ]

    def test_many_images_come_in_batches(self, tmp_path: Path) -> None:
        put(tmp_path, *(f"cat/{number}.png" for number in range(1100)))
        assert [len(batch) for batch in read(tmp_path).parts[0].images()] == [1024, 76]


class TestRefused:
    def test_split_folders_beside_class_folders(self, tmp_path: Path) -> None:
        put(tmp_path, "train/cat/1.png", "cow/1.png", "dog/1.png")
        with pytest.raises(DataError, match=r"'train', named like a split, beside 'cow', 'dog'; move all"):
            read(tmp_path)

    def test_two_spellings_of_a_split(self, tmp_path: Path) -> None:
        put(tmp_path, "train/cat/1.png", "val/cat/1.png", "valid/cat/2.png")
        with pytest.raises(DataError, match=r"'val', 'valid', all of which mean validation; merge"):
            read(tmp_path)

    @pytest.mark.parametrize("split", ["", "train/"])
    def test_images_without_a_class(self, tmp_path: Path, split: str) -> None:
        put(tmp_path, f"{split}cat/1.png", *(f"{split}{number}.png" for number in range(7)))
        with pytest.raises(
            DataError, match=rf"'{split}0.png', .*'{split}4.png' … lie in no class \(7 such images\); move"
        ):
            read(tmp_path)

    def test_an_image_beside_folders_of_splits(self, tmp_path: Path) -> None:
        put(tmp_path, "train/cat/1.png", "logo.png")
        with pytest.raises(DataError, match=r"'logo.png' lies in no class"):
            read(tmp_path)

    def test_names_that_differ_in_normalisation(self, tmp_path: Path) -> None:
        names = [unicodedata.normalize(form, "é") for form in ("NFC", "NFD")]
        put(tmp_path, f"train/{names[0]}/1.png", f"test/{names[1]}/1.png")
        with pytest.raises(DataError, match=r"'e\\u0301' and '\\xe9' differ only in how accents"):
            read(tmp_path)

    def test_names_that_differ_in_blanks_at_the_end(self, tmp_path: Path) -> None:
        put(tmp_path, "cat/1.png", "cat /1.png")
        with pytest.raises(DataError, match=r"'cat' and 'cat ' differ only .* blanks"):
            read(tmp_path)

    def test_names_that_are_no_text(self, tmp_path: Path) -> None:
        put(tmp_path, os.fsdecode(b"\xe9t\xe9/1.png"), "dog/1.png")
        with pytest.raises(DataError, match=r"not UTF-8; rename"):
            read(tmp_path)

    def test_a_folder_without_images(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="holds no images"):
            read(put(tmp_path, "cat/notes.txt"))


class TestSniff:
    @pytest.mark.parametrize(
        ("names", "sure"),
        [
            (["train/cat/1.png", "train/dog/1.png"], 0.8),
            (["train/images/1.png", "test/images/1.png"], 0.6),
            (["cat/1.png", "dog/1.png"], 0.6),
            (["cat/1.png"], 0.6),
            (["train/cat/1.png", "cow/1.png"], 0.6),
            (["1.png", "2.png"], None),
            (["train/1.png", "test/2.png"], None),
            (["cat/notes.txt"], None),
            (["pets/cat/1.png", "pets/dog/1.png"], None),
            (["cat/1.png", "dog/1.png", "metadata.csv"], None),
            (["train/cat/1.png", "train/dog/1.png", "train/metadata.jsonl"], None),
            (["cat/1.png", "dog/1.png", "dog/metadata.csv"], 0.6),
        ],
    )
    def test_sureness(self, tmp_path: Path, names: list[str], sure: float | None) -> None:
        assert sureness(put(tmp_path, *names)) == sure

    def test_a_file_is_of_no_such_layout(self, tmp_path: Path) -> None:
        assert sureness(put(tmp_path, "1.png") / "1.png") is None

    def test_it_says_what_it_saw(self, tmp_path: Path) -> None:
        guess = ClassFolders().sniff(put(tmp_path, "train/cat/1.png", "train/dog/1.png"))
        assert guess is not None
        assert guess.why == "folders of images lie in 'train'"
