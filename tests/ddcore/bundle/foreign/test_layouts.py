"""Each form in which sets are published, held against pixels and labels that are put down one by one."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from ddcore.bundle import foreign
from ddcore.bundle.foreign import Foreign
from ddcore.bundle.preview import encode_png
from ddcore.data import digits
from ddcore.data.dataset import Dataset
from ddcore.errors import DataError
from tests.ddcore.bundle.foreign.conftest import CLASSES

Write = Callable[[Path, Tensor], Path]
ORDER = torch.tensor([4, 0, 2, 5, 1, 3])
"""Images out of the order of their classes, which is 0 0 1 1 2 2."""
OF_ORDER = [2, 0, 1, 2, 0, 1]


def saved(name: str, content: Callable[[Tensor], Any]) -> Write:
    def write(folder: Path, pixels: Tensor) -> Path:
        torch.save(content(pixels), folder / name)
        return folder / name

    return write


def labels() -> Tensor:
    return torch.tensor([0, 0, 1, 1, 2, 2])


def beside(folder: Path, pixels: Tensor) -> Path:
    """As MTT and DATM store them."""
    torch.save(torch.tensor(OF_ORDER), folder / "labels_best.pt")
    torch.save(pixels[ORDER], folder / "images_best.pt")
    return folder / "images_best.pt"


def several_beside(folder: Path, pixels: Tensor) -> Path:
    torch.save([torch.zeros(6), torch.tensor(OF_ORDER)], folder / "labels.pt")
    torch.save([torch.zeros_like(pixels), pixels[ORDER]], folder / "images.pt")
    return folder / "images.pt"


def vico(pixels: Tensor) -> dict[str, Any]:
    """``res_DM_CIFAR10_….pt`` of VICO-UoE/DatasetCondensation: a set of each repetition, and NumPy's accuracies."""
    sets = [[torch.zeros_like(pixels), labels()], [pixels[ORDER], torch.tensor(OF_ORDER)]]
    return {"data": sets, "accs_all_exps": {"ConvNet": [np.float64(0.25), np.float32(0.5), np.int64(3)]}}


def npz(**arrays: Callable[[Tensor], Any]) -> Write:
    def write(folder: Path, pixels: Tensor) -> Path:
        np.savez(folder / "set.npz", allow_pickle=False, **{name: make(pixels) for name, make in arrays.items()})
        return folder / "set.npz"

    return write


def eight_bit(pixels: Tensor) -> Any:
    return (pixels * 255).round().to(torch.uint8).numpy()


def safetensors(folder: Path, pixels: Tensor) -> Path:
    save_file({"images": pixels[ORDER].contiguous(), "labels": torch.tensor(OF_ORDER)}, folder / "set.safetensors")
    return folder / "set.safetensors"


def folders(folder: Path, pixels: Tensor) -> Path:
    """Names of folders sort otherwise than the classes do."""
    for row, image in enumerate(eight_bit(pixels)):
        name = ("T-Shirt_top", "dress long", "coat")[row // 2]
        (folder / "set" / name).mkdir(parents=True, exist_ok=True)
        (folder / "set" / name / f"{row}.png").write_bytes(encode_png(image))
    return folder / "set"


def numbered_zip(folder: Path, pixels: Tensor) -> Path:
    with zipfile.ZipFile(folder / "set.zip", "w") as archive:
        for row, image in enumerate(eight_bit(pixels)):
            archive.writestr(f"{row // 2:03d}/{row}.png", encode_png(image))
    return folder / "set.zip"


def parquet(folder: Path, pixels: Tensor) -> Path:
    """The file lists its classes in an order of its own."""
    names = [CLASSES[2], CLASSES[0], CLASSES[1]]
    place = [1, 2, 0]
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": names}}
    table = pa.table(
        {
            "image": pa.array([{"bytes": encode_png(image), "path": None} for image in eight_bit(pixels)]),
            "label": pa.array([place[row // 2] for row in range(6)]),
        }
    ).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, folder / "train.parquet")
    return folder / "train.parquet"


LAYOUTS: dict[str, tuple[Write, str]] = {
    "tensor in the order of classes": (saved("a.pt", lambda x: x), "the order of the classes, 2 of each"),
    "parameter in double precision": (saved("a.pth", lambda x: torch.nn.Parameter(x.double())), "2 of each"),
    "beside": (beside, "labels are those of labels_best.pt"),
    "the last beside": (several_beside, "the last of 2 sets is taken"),
    "pair": (saved("data_best.pt", lambda x: [x[ORDER], torch.tensor(OF_ORDER)]), "0 to 1"),
    "pair in bytes": (saved("a.pt", lambda x: (torch.from_numpy(eight_bit(x)), labels())), "0 to 255, by their range"),
    "pair of columns": (saved("a.pt", lambda x: (x, labels().float()[:, None])), "0 to 1"),
    "list of moments": (saved("a.pt", lambda x: [torch.zeros_like(x), x]), "the last of 2 sets is taken"),
    "dict": (saved("a.pt", lambda x: {"images": x, "labels": labels(), "mean": x}), "left out `mean`"),
    "VICO": (saved("res_DM.pt", vico), "`data` is taken; the last of 2 sets is taken"),
    "npz": (npz(images=lambda x: x[ORDER].numpy(), labels=lambda _: np.array(OF_ORDER)), "taken are `images`"),
    "npz channels last": (
        npz(x=lambda x: x.permute(0, 2, 3, 1).numpy(), y=lambda _: labels().numpy()), "the channels are the last axis",
    ),
    "npz big-endian": (
        npz(X=lambda x: x.numpy().astype(">f8"), y=lambda _: labels().numpy().astype(">u2")), "taken are `X` and `y`",
    ),
    "safetensors": (safetensors, "0 to 1"),
    "folders": (folders, "0 to 255"),
    "archive": (numbered_zip, "0 to 255"),
    "parquet": (parquet, "0 to 255"),
}  # fmt: skip


def by_class(read: Foreign, dataset: Dataset) -> dict[int, list[list[float]]]:
    """Pixels of each class, images sorted: slowly, number by number."""
    found: dict[int, list[list[float]]] = {label: [] for label in range(3)}
    for image, label in zip(read.pixels(dataset), read.labels.tolist(), strict=True):
        found[label].append([round(value * 255, 3) for value in image.flatten().tolist()])
    return {label: sorted(images) for label, images in found.items()}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_gives_every_pixel_and_class(layout: str, tmp_path: Path, dataset: Dataset, pixels: Tensor) -> None:
    write, said = LAYOUTS[layout]
    read = foreign.read(write(tmp_path, pixels), dataset)
    images = [[round(float(value) * 255, 3) for value in image.flatten()] for image in pixels]
    expected = {label: sorted(images[2 * label : 2 * label + 2]) for label in range(3)}
    assert by_class(read, dataset) == expected
    assert said in "; ".join(read.origin.remarks)
    assert (read.ipc, read.soft_labels, read.labels.dtype) == (2, None, torch.int64)
    assert read.pixels(dataset).is_contiguous()
    assert not read.pixels(dataset).requires_grad


def test_labels_for_each_class_of_a_parquet_file_follow_its_names(
    tmp_path: Path, dataset: Dataset, pixels: Tensor
) -> None:
    """The file lists coat, t-shirt, dress; the dataset t-shirt, dress, coat."""
    table = pq.read_table(parquet(tmp_path, pixels))
    rows = [[0.1 + row / 20, 0.2, 0.7 - row / 20] for row in range(6)]
    pq.write_table(table.append_column("soft_label", pa.array(rows)), tmp_path / "train.parquet")
    read = foreign.read(tmp_path / "train.parquet", dataset)
    assert read.soft_labels is not None
    assert read.labels.tolist() == [0, 0, 1, 1, 2, 2]
    for found, (coat, shirt, dress) in zip(read.soft_labels.tolist(), rows, strict=True):
        assert found == pytest.approx([shirt, dress, coat])
    pq.write_table(table.append_column("soft_label", pa.array([[0.5]] * 5 + [[]])), tmp_path / "train.parquet")
    with pytest.raises(DataError, match=r"`soft_label` holds no list of as many numbers"):
        foreign.read(tmp_path / "train.parquet", dataset)


def test_grey_images_without_an_axis_of_channels(tmp_path: Path) -> None:
    digit = digits.read()
    torch.save(digit.train.images[:1].repeat(10, 1, 1, 1)[:, 0], tmp_path / "grey.pt")
    assert foreign.read(tmp_path / "grey.pt", digit).images.shape == (10, 1, 8, 8)


def test_labels_of_a_file_of_their_own(tmp_path: Path, dataset: Dataset, pixels: Tensor) -> None:
    file = saved("a.pt", lambda x: x[ORDER])(tmp_path, pixels)
    torch.save(torch.tensor(OF_ORDER), tmp_path / "classes.pt")
    assert foreign.read(file, dataset, labels=tmp_path / "classes.pt").labels.tolist() == OF_ORDER
    torch.save({"a": 1}, tmp_path / "classes.pt")
    with pytest.raises(DataError, match=r"classes\.pt holds a dict, but the labels must be one tensor"):
        foreign.read(file, dataset, labels=tmp_path / "classes.pt")
    with pytest.raises(DataError, match=r"--labels goes with a \.pt file of images, but set\.zip"):
        foreign.read(numbered_zip(tmp_path, pixels), dataset, labels=tmp_path / "classes.pt")


def test_the_file_is_named_by_its_content(tmp_path: Path, dataset: Dataset, pixels: Tensor) -> None:
    file = numbered_zip(tmp_path, pixels)
    origin = foreign.read(file, dataset).origin
    assert (origin.file, origin.layout) == ("set.zip", "class folders")
    assert origin.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert foreign.read(folders(tmp_path, pixels), dataset).origin.sha256 is None


@pytest.mark.parametrize("packed", [False, True])
def test_images_and_labels_in_a_folder_or_an_archive(
    packed: bool, tmp_path: Path, dataset: Dataset, pixels: Tensor
) -> None:
    """As the service gets two files that lie beside each other."""
    place = tmp_path / "set"
    place.mkdir()
    torch.save(pixels, place / "images.pt")
    torch.save(torch.tensor([2, 2, 0, 0, 1, 1]), place / "labels.pt")
    if packed:
        place = Path(shutil.make_archive(str(tmp_path / "packed"), "tar", place))
    made = foreign.read(place, dataset, "unit")
    assert made.images.equal(pixels)
    assert (made.labels.tolist(), made.origin.file) == ([2, 2, 0, 0, 1, 1], place.name)


def test_an_archive_of_several_sets_does_not_say_which(tmp_path: Path, dataset: Dataset, pixels: Tensor) -> None:
    for name in ("a.pt", "b.pt"):
        torch.save(pixels, tmp_path / name)
    with zipfile.ZipFile(tmp_path / "sets.zip", "w") as archive:
        archive.write(tmp_path / "a.pt", "a.pt")
        archive.write(tmp_path / "b.pt", "b.pt")
    with pytest.raises(DataError, match=r"sets\.zip is a folder with a\.pt, b\.pt; name the file of the images"):
        foreign.read(tmp_path / "sets.zip", dataset)
