"""Damaged files of every layout: they are refused in words, or read; nothing else ever happens."""

from __future__ import annotations

import io
import pickle
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from ddcore.data.ingest.intake import take_in
from ddcore.errors import DataError
from ddcore.spec.ingest import IngestOptions

COUNT = 20
LABELS = np.arange(COUNT) % 2


def pixels(side: int = 6, channels: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (COUNT, side, side, channels), dtype=np.uint8)


def encoded(values: NDArray[np.uint8], kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, kind)
    return buffer.getvalue()


def parquet(place: Path) -> None:
    images = [encoded(image, "PNG") for image in pixels()]
    pq.write_table(pa.table({"image": images, "label": LABELS}), place / "train.parquet")


def npz(place: Path) -> None:
    np.savez_compressed(place / "set.npz", images=pixels(), labels=LABELS)


def folders(place: Path) -> None:
    for number, image in enumerate(pixels()):
        path = (
            place / f"class {number % 2}" / f"{number}.{('png', 'jpg', 'gif', 'webp', 'tif', 'bmp')[number // 2 % 6]}"
        )
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(path)


def table(place: Path) -> None:
    folders(place)
    lines = (f'"{path.relative_to(place)}",{path.parent.name}' for path in sorted(place.rglob("*.*")))
    (place / "table.csv").write_text("file,label\n" + "\n".join(lines))


def json_lines(place: Path) -> None:
    folders(place)
    lines = (
        f'{{"file_name": "{path.relative_to(place)}", "label": "{path.parent.name}"}}'
        for path in sorted(place.rglob("*.*"))
    )
    (place / "metadata.jsonl").write_text("\n".join(lines))


def idx(place: Path) -> None:
    for name, head, data in (
        ("train-images-idx3-ubyte", [0x803, COUNT, 6, 6], pixels(channels=1)),
        ("train-labels-idx1-ubyte", [0x801, COUNT], LABELS.astype(np.uint8)),
    ):
        (place / name).write_bytes(np.array(head, dtype=">i4").tobytes() + data.tobytes())


def cifar_binary(place: Path) -> None:
    rows = np.concatenate([LABELS[:, None], LABELS[:, None], pixels(32).reshape(COUNT, -1)], axis=1).astype(np.uint8)
    for name in ("train.bin", "test.bin"):
        (place / name).write_bytes(rows.tobytes())
    (place / "fine_label_names.txt").write_text("cat\ndog\n")


def cifar_python(place: Path) -> None:
    content = {"data": pixels(32).reshape(COUNT, -1), "fine_labels": LABELS.tolist()}
    for name in ("train", "test"):
        (place / name).write_bytes(pickle.dumps(content, protocol=2))
    (place / "meta").write_bytes(pickle.dumps({"fine_label_names": ["cat", "dog"]}, protocol=2))


def svhn(place: Path) -> None:
    for split in ("train", "test"):
        values = {"X": pixels(32).transpose(1, 2, 3, 0), "y": np.arange(COUNT)[:, None] % 10 + 1}
        scipy.io.savemat(place / f"{split}_32x32.mat", values)


def tiny_imagenet(place: Path) -> None:
    (place / "wnids.txt").write_text("n01\nn02\n")
    for number, image in enumerate(pixels()):
        path = place / "train" / f"n0{number % 2 + 1}" / "images" / f"{number}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)


def packed(place: Path, kind: str) -> None:
    inner = place / "inner"
    inner.mkdir()
    folders(inner)
    shutil.make_archive(str(place / "set"), kind, inner)
    shutil.rmtree(inner)


PLAIN = (parquet, npz, folders, table, json_lines, idx, cifar_binary, cifar_python, svhn, tiny_imagenet)
LAYOUTS: Mapping[str, Callable[[Path], None]] = {
    **{make.__name__: make for make in PLAIN},
    **{kind: partial(packed, kind=kind) for kind in ("zip", "tar", "gztar", "xztar")},
}

KEEP = IngestOptions(size="keep")


@pytest.fixture(scope="module", params=list(LAYOUTS))
def sample(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole set of a layout."""
    place = tmp_path_factory.mktemp(request.param)
    LAYOUTS[request.param](place)
    return place


def source(place: Path) -> Path:
    """What a user would name: the folder, or the archive in it."""
    files = [path for path in place.iterdir() if not path.name.startswith(".")]
    return files[0] if len(files) == 1 and files[0].suffix in (".zip", ".tar", ".gz", ".xz") else place


def test_the_samples_are_read_as_they_are(sample: Path, tmp_path: Path) -> None:
    report = take_in(source(sample), tmp_path / "shelf", name="sample", options=KEEP).report
    assert len(report.classes) in (2, 10)


FLIPS = st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 2**20), st.integers(1, 255)), min_size=1, max_size=4)


def damage(place: Path, flips: list[tuple[int, int, int]], cut: tuple[int, int] | None) -> None:
    files = sorted(path for path in place.rglob("*") if path.is_file())
    for which, where, change in flips:
        file = files[which % len(files)]
        data = bytearray(file.read_bytes())
        if data:
            data[where % len(data)] ^= change
            file.write_bytes(data)
    if cut is not None:
        file = files[cut[0] % len(files)]
        file.write_bytes(file.read_bytes()[: cut[1] % (file.stat().st_size + 1)])


def test_damaged_files_are_refused_in_words_or_read(sample: Path) -> None:
    # Every MATLAB file is read by processes of its own, which take their time.
    @settings(max_examples=5 if sample.name.startswith("svhn") else 50, deadline=None)
    @given(flips=FLIPS, cut=st.one_of(st.none(), st.tuples(st.integers(0, 2**20), st.integers(0, 2**20))))
    def taken_in(flips: list[tuple[int, int, int]], cut: tuple[int, int] | None) -> None:
        with tempfile.TemporaryDirectory() as made:
            place, shelf = Path(made) / "sample", Path(made) / "shelf"
            shutil.copytree(sample, place)
            damage(place, flips, cut)
            with suppress(DataError):
                take_in(source(place), shelf, name="sample", options=KEEP)
            left = [path.name for path in shelf.iterdir()] if shelf.exists() else []
            assert all(name.startswith("ds_") for name in left), left

    taken_in()


def test_an_archive_in_an_archive_is_not_opened(tmp_path: Path) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    folders(folder)
    inner = shutil.make_archive(str(tmp_path / "inner"), "zip", folder)
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as outer:
        outer.write(inner, "inner.zip")
    with pytest.raises(DataError, match="nothing that can be read as labelled images"):
        take_in(tmp_path / "outer.zip", tmp_path / "shelf", name="outer", options=KEEP)
