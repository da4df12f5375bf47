"""Inputs that users have, kept beside the datasets: each gives its stated outcome."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from ddcore import run
from ddcore.data import load
from ddcore.data.dataset import Dataset
from ddcore.data.ingest.intake import take_in
from ddcore.data.stored import StoredSet
from ddcore.errors import DistillationError
from ddcore.spec import DATASETS, parse
from ddcore.spec.ingest import IngestOptions

pytestmark = pytest.mark.data

LEARNABLE = {
    "ipc": 5,
    "method": "random",
    "network": {"name": "convnet", "width": 16},
    "metrics": {"probe": "random"},
    "evaluation": {"epochs": 60, "repeats": 2},
}
"""What scores 100 % where the little pictures are read rightly."""


@pytest.fixture(scope="session")
def cases(data_root: Path) -> Path:
    folder = data_root.parent / "cases"
    if not folder.is_dir():
        (pytest.fail if "data" in os.environ.get("DD_REQUIRE", "") else pytest.skip)(f"{folder} is not there")
    return folder


def place(cases: Path, case: str, name: str) -> Path:
    (found,) = cases.glob(f"{case}-*")
    return found / "data" / name


def taken(cases: Path, tmp_path: Path, case: str, name: str, **options: Any) -> StoredSet:
    chosen = IngestOptions(**{"size": "keep"} | options)
    return take_in(place(cases, case, name), tmp_path / "shelf", name=name, options=chosen)


def accuracy(folder: Path, tmp_path: Path) -> float:
    spec = parse({"dataset": folder.name, **LEARNABLE}, lambda _: None)
    results = run(spec, tmp_path / "out", run_dir=tmp_path / "run", data_root=folder.parent).results
    assert results.accuracy is not None
    return float(results.accuracy.mean)


@pytest.mark.parametrize(
    ("case", "name"),
    [("B01", "animals"), ("B03", "icons_rgba"), ("B03", "icons_la"), ("B03", "icons_p"), ("B07", "xray12")],
)
def test_pictures_that_are_read_rightly_are_learned(cases: Path, tmp_path: Path, case: str, name: str) -> None:
    assert accuracy(place(cases, case, name), tmp_path) > 99


@pytest.mark.parametrize(
    ("case", "name", "shape", "classes", "said"),
    [
        ("B03b", "cutouts", (3, 16, 16), "0123", "40 of 40 images of train are partly transparent"),
        ("B07", "xray12", (1, 16, 16), "0123", "1000 to 1439 (the range of train) was scaled to 0 to 255"),
        ("B08", "column", (3, 16, 16), "0123", None),
        ("B12", "one_based", (3, 16, 16), "1234", "labels are 1, 2, 3, 4; they are taken for the names of 4 classes"),
        ("B12", "svhn_ten", (3, 16, 16), [str(n) for n in range(1, 11)], "taken for the names of 10 classes"),
        ("B12", "gaps", (3, 16, 16), "025", "labels are 0, 2, 5"),
        ("B12", "floats", (3, 16, 16), "0123", None),
        ("B12", "bools", (3, 16, 16), ["false", "true"], None),
        ("B12", "words", (3, 16, 16), ["cat", "dog"], None),
        ("B12", "categories", (3, 16, 16), ["cat", "dog"], None),
        ("B13", "partial", (3, 16, 16), "abcd", "1 of 4 classes have no test image ('d')"),
        ("B14", "leak", (3, 16, 16), "abcd", "20 of 20 test images are training images too"),
        ("B14", "leak", (3, 16, 16), "abcd", "5 images occur with more than one label"),
        ("B15", "tiny", (3, 4, 4), "0123", None),
        ("B15", "tall", (3, 64, 8), "0123", None),
        *[
            ("B17", name, (3, 16, 16), "0123", None)
            for name in ("cifar_like", "converted", "split_folders", "plain_names", "underscore")
        ],
        ("B17", "validation_only", (3, 16, 16), "0123", "there is no test split, so 16 validation images score"),
        ("B19", "cifar100", (3, 16, 16), "0123", None),
        *[
            ("B19", name, (3, 16, 16), "abcd", None)
            for name in ("zstd", "brotli", "small_groups", "plain_bytes", "large", "view", "dictionary", "uint8_label")
        ],
        ("B20", "no_blue", (3, 16, 16), "0123", None),
    ],
)
def test_these_are_read(
    cases: Path, tmp_path: Path, case: str, name: str, shape: tuple[int, ...], classes: Sequence[str], said: str | None
) -> None:
    report = taken(cases, tmp_path, case, name).report
    assert (report.shape, report.classes) == (shape, list(classes))
    assert said is None or any(said in remark for remark in report.remarks)
    assert all(std > 0 for std in report.std)


@pytest.mark.parametrize(
    ("case", "name", "said"),
    [
        ("B04", "hub", ["holds 2 of 3 files of a split", "number 1"]),
        ("B05", "copied", ["holds train-00000-of-00001 (1).parquet beside numbered files"]),
        ("B06", "lfs", ["git lfs pull"]),
        ("B08", "chest", ["14 values for each image", "several classes at once", "name a column with one"]),
        ("B08", "npz", ["all 8 training images are of class '0'; at least 2 classes"]),
        ("B11", "cut", [f"row {row}: not a readable image" for row in (3, 9, 17, 20, 31)]),
        ("B12", "unlabelled_test", ["8 of 32 images have no label", "`drop_unlabelled`"]),
        ("B16", "equal_names", ["gives two classes the name 'crane'"]),
        ("B19", "paths", ["row 0: no image bytes; images must lie in the file, or beside it"]),
        ("B19", "path_strings", ["row 0: no image bytes; images must lie in the file, or beside it"]),
        ("B19", "nested_arrays", ["`image` must hold encoded images"]),
    ],
)
def test_these_are_refused(cases: Path, tmp_path: Path, case: str, name: str, said: list[str]) -> None:
    with pytest.raises(DistillationError) as caught:
        taken(cases, tmp_path, case, name)
    assert [text for text in said if text not in str(caught.value)] == []


def test_b03b_hidden_colours_are_not_seen(cases: Path, tmp_path: Path) -> None:
    found = taken(cases, tmp_path, "B03b", "cutouts")
    means = [split.images.float().mean(dim=(0, 2, 3)) for split in (found.train, found.test)]
    assert (means[0] - means[1]).abs().max() < 2


def test_b10_all_kinds_of_jpeg_are_upright_and_of_the_right_colour(cases: Path, tmp_path: Path) -> None:
    found = taken(cases, tmp_path, "B10", "mixed")
    assert found.train.shape == (3, 16, 24)
    corners = found.train.images[:, :, 2, 2].int()
    grey = corners.amax(dim=1) == corners.amin(dim=1)
    assert int(grey.sum()) == 1, "one of the eight is grey"
    wanted = np.array([250, 40, 40])
    assert np.abs(corners[~grey].numpy() - wanted).max() <= 16


def test_b11_unreadable_rows_are_left_out_by_choice(cases: Path, tmp_path: Path) -> None:
    report = taken(cases, tmp_path, "B11", "cut", skip_unreadable=True).report
    assert [bad.place.partition(" row ")[2] for bad in report.unreadable] == ["3", "9", "17", "20", "31"]


def test_b12_an_unlabelled_test_split_is_left_out_by_choice(cases: Path, tmp_path: Path) -> None:
    report = taken(cases, tmp_path, "B12", "unlabelled_test", drop_unlabelled=True).report
    assert any("images were set aside for scoring" in remark for remark in report.remarks)


@pytest.mark.parametrize("name", ["tiny", "tall"])
def test_b15_odd_sizes_run(cases: Path, tmp_path: Path, name: str) -> None:
    spec = parse({"dataset": name, **LEARNABLE, "evaluation": {"repeats": 0}})
    out = run(spec, tmp_path / "out", run_dir=tmp_path / "run", data_root=place(cases, "B15", name).parent).out
    assert (out / "distilled.safetensors").is_file()


def test_b15_a_single_pixel_is_refused_in_words(cases: Path, tmp_path: Path) -> None:
    spec = parse({"dataset": "one_pixel", **LEARNABLE})
    with pytest.raises(DistillationError, match=r"1 x 1"):
        run(spec, tmp_path / "out", run_dir=tmp_path / "run", data_root=place(cases, "B15", "one_pixel").parent)


@pytest.mark.parametrize("name", ["names", "empty_name"])
def test_b16_class_names_survive_the_bundle(cases: Path, tmp_path: Path, name: str) -> None:
    folder = place(cases, "B16", name)
    spec = parse({"dataset": name, **LEARNABLE, "ipc": 1, "evaluation": {"repeats": 0}})
    out = run(spec, tmp_path / "out", run_dir=tmp_path / "run", data_root=folder.parent).out
    loaded = datasets.load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))
    assert tuple(loaded.features["label"].names) == load(name, folder.parent).classes


@pytest.mark.parametrize("name", ["digits", "cifar10", "fashion_mnist"])
def test_b18_a_users_own_files_go_before_a_built_in_name(cases: Path, name: str) -> None:
    found: Dataset = load(name, place(cases, "B18", name).parent)
    assert found.classes != DATASETS[name].classes
    assert not found.flip
    assert any("is a set of your own" in remark for remark in found.remarks)


PHOTOGRAPHS = """
import io, resource, sys
from pathlib import Path
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
from PIL import Image
from ddcore.data.sources import load
root = Path(sys.argv[1])
(root / "photos").mkdir(parents=True)
buffer = io.BytesIO()
pixels = np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)
Image.fromarray(pixels).resize((4000, 3000)).save(buffer, "JPEG")
for split, count in (("train", 24), ("test", 2)):
    column = pa.array([{"bytes": buffer.getvalue(), "path": None}] * count)
    table = pa.table({"image": column, "label": [n % 2 for n in range(count)]})
    pq.write_table(table, root / "photos" / f"{split}.parquet")
"""


def test_b23_photographs_do_not_fill_the_memory(cases: Path, tmp_path: Path) -> None:
    """0.9 GB of pixels are taken in by a process that holds a fraction of them."""
    del cases
    script = (
        PHOTOGRAPHS
        + """
def held():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon")) / 1024
from ddcore.data.ingest import intake
from ddcore.spec.ingest import IngestOptions
from ddcore.errors import DataError
before, most = held(), 0
def look(done, total):
    global most
    most = max(most, held() - before)
try:
    intake.take_in(root / "photos", root / "shelf", name="photos", options=IngestOptions(), progress=look)
except DataError as error:
    print(error)
try:
    intake.take_in(root / "photos", root / "shelf", name="photos", options=IngestOptions(size="keep"), progress=look)
except DataError as error:
    print(error)
print(most)
"""
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    refused, equal, peak = done.stdout.splitlines()
    assert "the images have 4000 x 3000 pixels; distilling 1 image per class" in refused
    assert "GB of memory" in refused
    assert "all 24 training images are equal" in equal
    assert float(peak) < 450
