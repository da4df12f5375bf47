"""Tables of image paths and labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ddcore.data.readers.tables import Tables
from ddcore.data.source import Choices, Part, Source
from ddcore.errors import DataError

PAIR = "file_name,label\na.png,cat\nb.png,dog\n"


def put(root: Path, tables: dict[str, str | bytes], *images: str) -> Path:
    for name, content in {**tables, **dict.fromkeys(images, b"x")}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def read(place: Path, **choices: Any) -> Source:
    return Tables().read(place, Choices(**choices))


def sureness(place: Path) -> float | None:
    guess = Tables().sniff(place)
    return None if guess is None else guess.sureness


def rows(part: Part, root: Path) -> list[tuple[str, Any]]:
    """Images and labels of a part."""
    names = part.labels.names
    images = [path for batch in part.images() for path in batch if isinstance(path, Path)]
    assert all(path.is_absolute() for path in images)
    labels = [int(number) if names is None else names[number] for number in part.labels.numbers]
    return list(zip([path.relative_to(root).as_posix() for path in images], labels, strict=True))


def only(source: Source) -> Part:
    (part,) = source.parts
    return part


class TestLayouts:
    def test_a_table_beside_images(self, tmp_path: Path) -> None:
        put(tmp_path, {"labels.csv": "file_name,label\nx/b.png,dog\na.png,cat\n"}, "a.png", "x/b.png")
        part = only(read(tmp_path))
        assert (part.split, part.name, part.groups) == (None, "labels.csv", None)
        assert rows(part, tmp_path) == [("x/b.png", "dog"), ("a.png", "cat")]
        assert (part.labels.names, part.labels.declared) == (("cat", "dog"), False)
        assert part.place(1) == "labels.csv line 3 (a.png)"
        assert rows(part, tmp_path) == [("x/b.png", "dog"), ("a.png", "cat")], "again each time"

    def test_a_table_given_itself(self, tmp_path: Path) -> None:
        put(tmp_path, {"one.csv": PAIR, "two.csv": PAIR.replace("cat", "cow")}, "a.png", "b.png")
        assert rows(only(read(tmp_path / "two.csv")), tmp_path) == [("a.png", "cow"), ("b.png", "dog")]

    def test_a_table_for_each_split(self, tmp_path: Path) -> None:
        tables: dict[str, str | bytes] = {
            f"{name}.csv": f"path,label\n{name}.png,cat\n" for name in ("train", "test", "val")
        }
        put(tmp_path, {**tables, "classes.csv": "label,meaning\ncat,a cat\n"}, "train.png", "test.png", "val.png")
        source = read(tmp_path)
        assert {part.split: rows(part, tmp_path) for part in source.parts} == {
            "train": [("train.png", "cat")], "test": [("test.png", "cat")], "validation": [("val.png", "cat")]
        }  # fmt: skip
        assert source.ignored == {"*.csv": 1}

    def test_metadata_in_the_root(self, tmp_path: Path) -> None:
        put(tmp_path, {"metadata.csv": PAIR, "other.csv": PAIR}, "a.png", "b.png")
        source = read(tmp_path)
        assert rows(only(source), tmp_path) == [("a.png", "cat"), ("b.png", "dog")]
        assert source.ignored == {"*.csv": 1}

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("metadata.csv", "file_name,label\na.png,cat\n"),
            ("metadata.jsonl", '{"file_name": "a.png", "label": "cat"}\n'),
        ],
    )
    def test_metadata_in_folders_of_splits(self, tmp_path: Path, name: str, content: str) -> None:
        put(tmp_path, {f"train/{name}": content, f"test/{name}": content}, "train/a.png", "test/a.png")
        assert [(part.split, part.name, rows(part, tmp_path)) for part in read(tmp_path).parts] == [
            ("test", f"test/{name}", [("test/a.png", "cat")]), ("train", f"train/{name}", [("train/a.png", "cat")])
        ]  # fmt: skip

    def test_a_column_of_splits(self, tmp_path: Path) -> None:
        put(
            tmp_path,
            {"t.csv": "path,label,Split\na.png,x,train\nb.png,x,Valid\nc.png,y,train\n"},
            "a.png",
            "b.png",
            "c.png",
        )
        parts = read(tmp_path).parts
        assert [(part.split, rows(part, tmp_path)) for part in parts] == [
            ("train", [("a.png", "x"), ("c.png", "y")]), ("validation", [("b.png", "x")])
        ]  # fmt: skip
        assert parts[0].place(1) == "t.csv line 4 (c.png)"

    def test_folders_of_splits_in_the_paths(self, tmp_path: Path) -> None:
        put(tmp_path, {"t.csv": "path,label\ntrain/a.png,x\ntest/b.png,x\n"}, "train/a.png", "test/b.png", "c.png")
        source = read(tmp_path)
        assert [part.split for part in source.parts] == ["train", "test"]
        assert "the splits of t.csv are those of the folders ('test', 'train')" in source.notes

    def test_paths_relative_to_a_subfolder(self, tmp_path: Path) -> None:
        put(tmp_path, {"t.csv": "image_id,label\na,x\nb,y\n"}, "images/a.png", "images/b.JPG", "other/c.png")
        source = read(tmp_path)
        assert rows(only(source), tmp_path) == [("images/a.png", "x"), ("images/b.JPG", "y")]
        assert source.notes == [
            "the paths of t.csv are relative to the folder 'images'",
            "1 images are not named in 't.csv' and were left out",
        ]

    def test_other_files_are_counted(self, tmp_path: Path) -> None:
        put(tmp_path, {"t.csv": PAIR, "n.ipynb": "", ".DS_Store": ""}, "a.png", "b.png")
        assert read(tmp_path).ignored == {"*.ipynb": 1, ".DS_Store": 1}


class TestFormats:
    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("t.csv", b"\xef\xbb\xbffile_name,label\na.png,cat\nb.png,dog\n"),
            ("t.csv", b"file_name,label\r\na.png,cat\r\n\r\nb.png,dog\r\n"),
            ("t.csv", b"\n\nfile_name,label\n,\n\na.png,cat\nb.png,dog"),
            ("t.csv", b'"file_name","label"\n"a.png","cat"\n"b.png", "dog"\n'),
            ("t.csv", b"file_name;label\na.png;cat\nb.png;dog\n"),
            ("t.csv", b"file_name|label\na.png|cat\nb.png|dog\n"),
            ("t.csv", b"file_name\tlabel\na.png\tcat\nb.png\tdog\n"),
            ("t.tsv", b"file_name\tlabel\na.png\tcat\nb.png\tdog\n"),
            ("T.CSV", b"File_Name , LABEL\na.png , cat\nb.png , dog\n"),
            ("t.jsonl", b'{"file_name": "a.png", "label": "cat"}\n\n{"label": "dog", "file_name": "b.png"}\r\n'),
        ],
    )
    def test_ways_to_write_one_table(self, tmp_path: Path, name: str, content: bytes) -> None:
        put(tmp_path, {name: content}, "a.png", "b.png")
        assert sureness(tmp_path) == sureness(tmp_path / name) == 0.7
        assert rows(only(read(tmp_path)), tmp_path) == [("a.png", "cat"), ("b.png", "dog")]

    def test_quoted_separators(self, tmp_path: Path) -> None:
        put(tmp_path, {"t.csv": 'file_name,label\n"a,1.png","cat; ""big"""\nb.png,"猫\nb"\n'}, "a,1.png", "b.png")
        assert rows(only(read(tmp_path)), tmp_path) == [("a,1.png", 'cat; "big"'), ("b.png", "猫\nb")]

    def test_other_separators_in_the_header_do_not_confuse(self, tmp_path: Path) -> None:
        put(tmp_path, {"t.csv": "file_name;label;a,b\na.png;x;1,5\nb.png;y;2,5\n"}, "a.png", "b.png")
        assert only(read(tmp_path)).labels.names == ("x", "y")

    def test_no_header(self, tmp_path: Path) -> None:
        put(tmp_path, {"t.csv": "a.png,cat\nb.png,dog\n"}, "a.png", "b.png")
        source = read(tmp_path)
        assert rows(only(source), tmp_path) == [("a.png", "cat"), ("b.png", "dog")]
        assert source.notes == ["t.csv has no header; its columns are called column 1, column 2"]

    def test_a_header_named_like_a_file_is_a_header(self, tmp_path: Path) -> None:
        put(tmp_path, {"t.csv": "image,label\na.png,cat\n"}, "a.png", "image.png")
        assert rows(only(read(tmp_path)), tmp_path) == [("a.png", "cat")]

    @pytest.mark.parametrize(
        ("name", "content", "match"),
        [
            (
                "t.csv",
                "file_name,label\na.png,größe\n".encode("latin-1"),
                "is not UTF-8 .* at byte 24.*save it as UTF-8",
            ),
            ("t.csv", "file_name,label\na.png,cat\n".encode("utf-16"), "is not UTF-8"),
            ("t.csv", b'file_name,label\na.png,"cat\nb.png,dog\n', "line 3 cannot be read .*quotes"),
            ("t.csv", b"file_name,label\na.png,cat,dog\n", "line 2 has 3 cells, but the first row has 2; put"),
            ("t.csv", b"file_name,label\na.png\n", "line 2 has 1 cells"),
            ("t.csv", b"file_name,label,label\na.png,x,y\n", "two columns called 'label'; rename"),
            ("t.csv", b"file_name,label\n", "holds no rows"),
            ("t.csv", b"", "holds no rows"),
            ("t.csv", b"version https://git-lfs.github.com/spec/v1\noid x\n", "`git lfs pull`"),
            ("t.jsonl", b'{"file_name": "a.png", "label": 1}\n{"file_name": \n', "t.jsonl line 2 is no JSON"),
            ("t.jsonl", b'{"file_name": "a.png", "label": 1}\n["a.png", 1]\n', "line 2 is no JSON object; write"),
            ("t.jsonl", b'{"file_name": "a.png", "label": ' + b"[" * 100_000, "line 1 is no JSON"),
        ],
    )
    def test_unreadable(self, tmp_path: Path, name: str, content: bytes, match: str) -> None:
        put(tmp_path, {name: content}, "a.png", "b.png")
        with pytest.raises(DataError, match=match):
            read(tmp_path / name)

    def test_a_separator_after_the_last_cell(self, tmp_path: Path) -> None:
        put(tmp_path, {"t.csv": "file_name,label\na.png,cat,\n"}, "a.png")
        assert rows(only(read(tmp_path)), tmp_path) == [("a.png", "cat")]


class TestColumns:
    @pytest.mark.parametrize(
        "name", ["file_name", "path", "image", "img", "filename", "file", "image_path", "image_id"]
    )
    def test_known_names_of_images(self, tmp_path: Path, name: str) -> None:
        put(tmp_path, {"t.csv": f"label,{name}\ncat,a.png\n"}, "a.png")
        assert rows(only(read(tmp_path)), tmp_path) == [("a.png", "cat")]

    @pytest.mark.parametrize("name", ["label", "labels", "class", "category", "target", "fine_label"])
    def test_known_names_of_labels(self, tmp_path: Path, name: str) -> None:
        put(tmp_path, {"t.csv": f"width,{name},path\n4,cat,a.png\n"}, "a.png")
        assert rows(only(read(tmp_path)), tmp_path) == [("a.png", "cat")]

    def test_names_are_told_by_existing_images(self, tmp_path: Path) -> None:
        put(tmp_path, {"t.csv": ",what,picture\n0,cat,a.png\n1,dog,b\n"}, "a.png", "b.png")
        assert rows(only(read(tmp_path)), tmp_path) == [("a.png", "cat"), ("b.png", "dog")]

    def test_choices_come_first(self, tmp_path: Path) -> None:
        put(tmp_path, {"t.csv": "path,thumb,label,kind\na.png,b.png,1,cat\n"}, "a.png", "b.png")
        part = only(read(tmp_path, image_column="thumb", label_column="kind"))
        assert rows(part, tmp_path) == [("b.png", "cat")]

    def test_another_column_that_fits_is_asked_for(self, tmp_path: Path) -> None:
        put(tmp_path, {"t.csv": "path,category,label\na.png,animal,cat\n"}, "a.png")
        with pytest.raises(DataError, match=r"may be labels \(label, category\); name it as `label_column`"):
            read(tmp_path)
        assert only(read(tmp_path, label_column="category")).labels.names == ("animal",)

    @pytest.mark.parametrize(
        ("header", "choices", "match"),
        [
            ("path,kind,sort", {}, r"several columns that may be labels \(kind, sort\); name it as `label_column`"),
            ("path,split,group", {"group_column": "group"}, "has no column of labels; name it as `label_column`"),
            (
                "path,label,x",
                {"label_column": "klass"},
                r"has no column 'klass'.*`label_column`; present: path, label, x",
            ),
            ("path,label,x", {"image_column": "pic"}, "has no column 'pic'.*`image_column`"),
            ("path,label,x", {"group_column": "who"}, "has no column 'who'.*`group_column`"),
        ],
    )
    def test_refused(self, tmp_path: Path, header: str, choices: dict[str, str], match: str) -> None:
        put(tmp_path, {"t.csv": f"{header}\na.png,train,x\n"}, "a.png")
        with pytest.raises(DataError, match=match):
            read(tmp_path, **choices)

    @pytest.mark.parametrize(
        ("cells", "match"), [("a.png,b.png", "several columns of images"), ("x,y", "no column of images")]
    )
    def test_no_one_column_of_images(self, tmp_path: Path, cells: str, match: str) -> None:
        put(tmp_path, {"t.csv": f"one,two\n{cells}\n"}, "a.png", "b.png")
        with pytest.raises(DataError, match=f"{match}; name it as `image_column`; present: one, two"):
            read(tmp_path / "t.csv")

    def test_groups(self, tmp_path: Path) -> None:
        put(tmp_path, {"t.csv": "path,label,who\na.png,x,7\nz/b.png,y,8\n"}, "a.png", "z/b.png")
        assert only(read(tmp_path, group_column="who")).groups == ["7", "8"]
        assert only(read(tmp_path, group_folders=True)).groups == [str(tmp_path), str(tmp_path / "z")]

    def test_an_empty_group(self, tmp_path: Path) -> None:
        put(tmp_path, {"t.csv": "path,label,who\na.png,x,\n"}, "a.png")
        with pytest.raises(DataError, match=r"line 2: the group \(`who`\) is empty"):
            read(tmp_path, group_column="who")


class TestLabels:
    def labels(self, root: Path, *cells: str) -> Part:
        lines = [f"{number}.png,{cell}" for number, cell in enumerate(cells)]
        put(root, {"t.csv": "\n".join(["path,label", *lines])}, *(f"{number}.png" for number in range(len(cells))))
        return only(read(root))

    def test_whole_numbers(self, tmp_path: Path) -> None:
        labels = self.labels(tmp_path, "3", "-1", "", "07").labels
        assert (labels.numbers.tolist(), labels.names) == ([3, -1, -1, 7], None)

    def test_fractions_that_are_whole(self, tmp_path: Path) -> None:
        assert self.labels(tmp_path, "3.0", "1e1", "").labels.numbers.tolist() == [3, 10, -1]

    def test_measured_quantities(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"t.csv: `label` holds 0.5 .* measured"):
            self.labels(tmp_path, "1", "0.5")

    def test_words(self, tmp_path: Path) -> None:
        labels = self.labels(tmp_path, "3", "three", "", "nan").labels
        assert (labels.numbers.tolist(), labels.names) == ([0, 2, -1, 1], ("3", "nan", "three"))

    def json_labels(self, root: Path, *values: Any) -> Part:
        lines = [json.dumps({"path": f"{number}.png", "label": value}) for number, value in enumerate(values)]
        put(root, {"t.jsonl": "\n".join(lines)}, *(f"{number}.png" for number in range(len(values))))
        return only(read(root))

    def test_types_of_json_are_kept(self, tmp_path: Path) -> None:
        assert self.json_labels(tmp_path, "1", "2", None).labels.names == ("1", "2")
        assert self.json_labels(tmp_path, 1, 2, None).labels.names is None

    @pytest.mark.parametrize(
        ("values", "match"), [(([0, 1], [1, 0]), "several classes at once"), ((1, "a"), "numbers and")]
    )
    def test_unfit_values_of_json(self, tmp_path: Path, values: tuple[Any, ...], match: str) -> None:
        with pytest.raises(DataError, match=f"t.jsonl: `label` .*{match}"):
            self.json_labels(tmp_path, *values)

    def test_one_image_with_two_labels(self, tmp_path: Path) -> None:
        put(tmp_path, {"t.csv": "path,label\na.png,x\nb.png,x\n./a.png,y\n"}, "a.png", "b.png")
        with pytest.raises(DataError, match=r"lines 2 and 4 give one image two labels \(x, y\)"):
            read(tmp_path)

    def test_an_image_that_is_named_twice(self, tmp_path: Path) -> None:
        put(tmp_path, {"t.csv": "path,label\na.png,x\na.png,x\n"}, "a.png")
        assert read(tmp_path).notes == ["1 rows of t.csv name an image that another row names already"]


class TestPaths:
    def test_backslashes_and_dots(self, tmp_path: Path) -> None:
        put(tmp_path, {"t.csv": "path,label\nx\\a.png,x\n./x/../x/b.png,y\n"}, "x/a.png", "x/b.png")
        assert rows(only(read(tmp_path)), tmp_path) == [("x/a.png", "x"), ("x/b.png", "y")]

    def test_absolute_paths(self, tmp_path: Path) -> None:
        put(tmp_path, {}, "far/a.png")
        put(tmp_path, {"near/t.csv": f"path,label\n{tmp_path}/far/a.png,x\n"})
        assert rows(only(read(tmp_path / "near/t.csv")), tmp_path) == [("far/a.png", "x")]

    def test_paths_that_lead_out(self, tmp_path: Path) -> None:
        put(tmp_path, {"near/t.csv": "path,label\n../far/a.png,x\nb.png,x\n"}, "far/a.png", "near/b.png")
        with pytest.raises(DataError, match=r"t.csv line 2 '../far/a.png' leads out of .*near \(1 such rows\); move"):
            read(tmp_path / "near")

    @pytest.mark.parametrize("marked", [".unpacked", "set/.unpacked"])
    @pytest.mark.parametrize("path", ["{root}/set/a.png", "x/../a.png", "x\\..\\a.png", "..\\a.png"])
    def test_files_of_an_archive_lead_nowhere_else(self, tmp_path: Path, marked: str, path: str) -> None:
        put(
            tmp_path,
            {"set/t.csv": f"path,label\n{path.format(root=tmp_path)},x\n", marked: ""},
            "set/a.png",
            "set/x/b.png",
        )
        with pytest.raises(DataError, match="leads out of"):
            read(tmp_path / "set")

    def test_missing_images(self, tmp_path: Path) -> None:
        put(tmp_path, {"t.csv": "path,label\na.png,x\n" + "".join(f"{n}.png,x\n" for n in range(7))}, "a.png")
        with pytest.raises(
            DataError, match=r"line 3 '0.png', .*line 7 '4.png' …: no such image .*\(7 of 8 are missing\)"
        ):
            read(tmp_path)

    @pytest.mark.parametrize(
        "line", ['{"path": null, "label": 1}', '{"path": {"x": 1}, "label": 1}', '{"path": "", "label": 1}']
    )
    def test_rows_without_an_image(self, tmp_path: Path, line: str) -> None:
        put(tmp_path, {"t.jsonl": '{"path": "a.png", "label": 1}\n' + line}, "a.png")
        with pytest.raises(DataError, match=r"line 2 '': no such image"):
            read(tmp_path)

    def test_suffixes_may_be_left_out(self, tmp_path: Path) -> None:
        put(
            tmp_path,
            {"t.jsonl": '{"image_id": 17, "label": 1}\n{"image_id": "x/v1.2", "label": 0}'},
            "17.JPEG",
            "x/v1.2.png",
        )
        assert rows(only(read(tmp_path)), tmp_path) == [("17.JPEG", 1), ("x/v1.2.png", 0)]

    def test_two_suffixes_fit(self, tmp_path: Path) -> None:
        put(tmp_path, {"t.csv": "image_id,label\n1,x\n2,y\n"}, "1.png", "2.jpg", "2.png")
        with pytest.raises(DataError, match=r"line 3 '2' may be 2.jpg or 2.png; write the suffix"):
            read(tmp_path)

    def test_two_subfolders_fit(self, tmp_path: Path) -> None:
        put(tmp_path, {"t.csv": "path,label\n1.png,x\n"}, "a/1.png", "b/1.png")
        with pytest.raises(DataError, match=r"'1.png' lies in 'a', 'b' of .*; write the folder"):
            read(tmp_path)


class TestRefused:
    def test_several_tables(self, tmp_path: Path) -> None:
        put(tmp_path, {"one.csv": PAIR, "train.csv": PAIR}, "a.png", "b.png")
        with pytest.raises(DataError, match=r"several tables that name images \('one.csv', 'train.csv'\); keep one"):
            read(tmp_path)

    def test_two_tables_of_one_split(self, tmp_path: Path) -> None:
        put(tmp_path, {"val.csv": PAIR, "valid.csv": PAIR}, "a.png", "b.png")
        with pytest.raises(DataError, match="several tables"):
            read(tmp_path)

    @pytest.mark.parametrize("other", ["metadata.jsonl", "train/metadata.csv"])
    def test_two_metadata(self, tmp_path: Path, other: str) -> None:
        content = '{"file_name": "a.png", "label": "x"}' if other.endswith("l") else PAIR
        put(tmp_path, {"metadata.csv": PAIR, other: content}, "a.png", "b.png")
        with pytest.raises(DataError, match="several tables"):
            read(tmp_path)

    def test_no_table(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="holds no table"):
            read(put(tmp_path, {"notes.csv": "x,y\n1,2\n"}, "a.png"))

    @pytest.mark.parametrize("cell", ["holdout", ""])
    def test_an_unknown_split(self, tmp_path: Path, cell: str) -> None:
        put(tmp_path, {"t.csv": f"path,label,split\na.png,x,{cell}\n"}, "a.png")
        with pytest.raises(DataError, match=f"t.csv line 2: '{cell}' is no split; write train"):
            read(tmp_path)

    def test_only_some_images_lie_in_folders_of_splits(self, tmp_path: Path) -> None:
        put(tmp_path, {"t.csv": "path,label\ntest/a.png,x\nmore/b.png,x\n"}, "test/a.png", "more/b.png")
        with pytest.raises(DataError, match="line 2 names an image of the split folder 'test', but line 3 one"):
            read(tmp_path)


class TestSniff:
    @pytest.mark.parametrize(
        ("tables", "sure"),
        [
            ({"metadata.csv": PAIR}, 0.9),
            ({"train/metadata.jsonl": '{"file_name": "a.png"}'}, 0.9),
            ({"any.csv": PAIR}, 0.7),
            ({"any.csv": "image_id,label\na,cat\n"}, 0.7),
            ({"any.csv": PAIR, "log.csv": "step,loss\n1,0.5\n"}, 0.7),
            ({"train.csv": PAIR, "test.csv": PAIR}, 0.7),
            ({"any.csv": PAIR, "other.csv": PAIR}, 0.3),
            ({"log.csv": "step,loss\n1,0.5\n"}, None),
            ({"metadata.csv": "step,loss\n1,0.5\n"}, None),
            ({"deep/any.csv": PAIR}, None),
            ({"any.csv": "x,y\n" + "1,2\n" * 20_000 + "a.png,1\n"}, None),
            ({}, None),
        ],
    )
    def test_folders(self, tmp_path: Path, tables: dict[str, str | bytes], sure: float | None) -> None:
        assert sureness(put(tmp_path, tables, "a.png", "b.png")) == sure

    def test_a_table_without_images_is_doubtful(self, tmp_path: Path) -> None:
        assert sureness(put(tmp_path, {"any.csv": PAIR})) == 0.3

    @pytest.mark.parametrize(("name", "sure"), [("t.csv", 0.7), ("t.tsv", 0.7), ("t.jsonl", 0.7), ("t.txt", None)])
    def test_files(self, tmp_path: Path, name: str, sure: float | None) -> None:
        assert sureness(put(tmp_path, {name: PAIR}) / name) == sure

    def test_nothing_there(self, tmp_path: Path) -> None:
        assert sureness(tmp_path / "missing") is None
