import io
import socket
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder

from ddcore import bundle
from ddcore.errors import DataError


def eight_bit(content: bundle.Distilled) -> Any:
    """Rounded and clamped (N, H, W, C) pixels, computed in NumPy."""
    return np.clip(np.rint(content.images.numpy() * 255), 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)


def test_zip_holds_the_files_and_unpacks_to_the_bundle(
    out: Path, tmp_path: Path, distilled: Callable[..., Any]
) -> None:
    bundle.export_zip(out, tmp_path / "bundle.zip")
    with zipfile.ZipFile(tmp_path / "bundle.zip") as archive:
        assert archive.testzip() is None
        assert archive.namelist()[0] == "manifest.json"
        archive.extractall(tmp_path / "unpacked")
    assert (bundle.read(tmp_path / "unpacked").images == distilled().images).all()
    for path in out.rglob("*"):
        if path.is_file():
            assert (tmp_path / "unpacked" / path.relative_to(out)).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("export", [bundle.export_zip, bundle.export_npz, bundle.export_imagefolder])
def test_equal_bundles_give_equal_bytes(
    export: Callable[[Path, Path], None], tmp_path: Path, distilled: Callable[..., Any]
) -> None:
    for name in ("a", "b"):
        bundle.write(tmp_path / name, distilled())
        export(tmp_path / name, tmp_path / f"{name}.out")
    assert (tmp_path / "a.out").read_bytes() == (tmp_path / "b.out").read_bytes()


@pytest.mark.parametrize("export", [bundle.export_zip, bundle.export_npz, bundle.export_imagefolder])
def test_a_damaged_bundle_is_not_passed_on(export: Callable[[Path, Path], None], out: Path, tmp_path: Path) -> None:
    (out / "preview.png").write_bytes(b"")
    with pytest.raises(DataError, match="changed or damaged"):
        export(out, tmp_path / "export")
    assert not (tmp_path / "export").exists()


def test_npz_holds_plain_arrays(out: Path, tmp_path: Path, distilled: Callable[..., Any]) -> None:
    bundle.export_npz(out, tmp_path / "distilled.npz")
    with np.load(tmp_path / "distilled.npz", allow_pickle=False) as arrays:
        assert set(arrays) == {"images", "labels", "classes", "mean", "std"}
        assert np.array_equal(arrays["images"], distilled().images.numpy())
        assert arrays["images"].dtype == np.float32
        assert arrays["labels"].tolist() == [0, 0, 1, 1, 2, 2]
        assert arrays["classes"].tolist() == ["t-shirt/top", "dress: long", "été"]
        assert arrays["mean"].tolist() == [0.4] * 3


@pytest.mark.parametrize("channels", [1, 3])
def test_image_folder_keeps_the_order_of_the_labels(
    channels: int, tmp_path: Path, distilled: Callable[..., Any]
) -> None:
    classes = tuple(f"class {chr(122 - number)}" for number in range(12))
    content = distilled(ipc=1, channels=channels, classes=classes)
    bundle.write(tmp_path / "out", content)
    bundle.export_imagefolder(tmp_path / "out", tmp_path / "images.zip")
    with zipfile.ZipFile(tmp_path / "images.zip") as archive:
        archive.extractall(tmp_path / "images")
    found = ImageFolder(tmp_path / "images")
    assert [label for _, label in found] == content.labels.tolist()
    assert found.classes[:2] == ["00_class_z", "01_class_y"]
    expected = np.broadcast_to(eight_bit(content), (12, 6, 5, 3))
    assert np.array_equal(np.stack([np.asarray(image) for image, _ in found]), expected)


def test_class_names_cannot_leave_the_image_folder(tmp_path: Path, distilled: Callable[..., Any]) -> None:
    bundle.write(tmp_path / "out", distilled(classes=("../../etc", "/root", "a\\b", "été")))
    bundle.export_imagefolder(tmp_path / "out", tmp_path / "images.zip")
    with zipfile.ZipFile(tmp_path / "images.zip") as archive:
        folders = {name.rsplit("/", 1)[0] for name in archive.namelist()}
    assert folders == {"0__etc", "1__root", "2_a_b", "3_été"}


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cuts the network."""

    def refuse(*_: object) -> None:
        raise OSError("the network is cut")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.usefixtures("offline")
def test_folder_loads_with_datasets_offline(out: Path, tmp_path: Path, distilled: Callable[..., Any]) -> None:
    loaded = datasets.load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.features["label"].names == ["t-shirt/top", "dress: long", "été"]
    assert loaded["label"][:] == [0, 0, 1, 1, 2, 2]
    assert np.array_equal(np.stack([np.asarray(image) for image in loaded["image"]]), eight_bit(distilled()))


@pytest.mark.usefixtures("offline")
def test_soft_labels_load_with_datasets(tmp_path: Path, distilled: Callable[..., Any]) -> None:
    soft = torch.softmax(torch.arange(18.0).view(6, 3), dim=1)
    bundle.write(tmp_path / "out", distilled(soft_labels=soft, channels=1))
    loaded = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    np.testing.assert_allclose(loaded["soft_label"][:], soft.numpy(), rtol=1e-6)
    assert loaded["image"][0].mode == "L"


def test_parquet_images_are_png_files_of_eight_bits(out: Path, distilled: Callable[..., Any]) -> None:
    rows = pq.read_table(out / "data" / "train-00000-of-00001.parquet").to_pylist()
    images = [Image.open(io.BytesIO(row["image"]["bytes"])) for row in rows]
    assert {image.format for image in images} == {"PNG"}
    assert np.array_equal(np.stack([np.asarray(image) for image in images]), eight_bit(distilled()))
