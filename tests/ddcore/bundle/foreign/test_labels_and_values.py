"""What labels and numbers mean, and what is refused because it could mean two things or none."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from ddcore.bundle import foreign
from ddcore.bundle.foreign.values import values_of
from ddcore.bundle.preview import encode_png
from ddcore.data.dataset import Dataset
from ddcore.data.whitening import whitened
from ddcore.errors import DataError
from ddcore.spec.scoring import Values

LOGITS = torch.tensor([[3.0, 0, 0], [1, 0, -1], [0, 2, 0], [0, 1, 0.5], [-2, 0, 1], [0, 0, 4]])


def pt(folder: Path, content: Any) -> Path:
    torch.save(content, folder / "set.pt")
    return folder / "set.pt"


def softmax(rows: list[list[float]]) -> list[list[float]]:
    """Slowly, in double precision."""
    powers = [[math.exp(value) for value in row] for row in rows]
    return [[value / sum(row) for value in row] for row in powers]


def test_logits_become_probabilities(tmp_path: Path, dataset: Dataset, pixels: Tensor) -> None:
    read = foreign.read(pt(tmp_path, (pixels, LOGITS)), dataset)
    assert read.soft_labels is not None
    for found, expected in zip(read.soft_labels.tolist(), softmax(LOGITS.tolist()), strict=True):
        assert found == pytest.approx(expected, abs=1e-6)
    assert read.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert "labels are partly negative, so they are taken for logits" in read.origin.remarks


def test_learned_weights_of_any_sum_stay_as_they_are(tmp_path: Path, dataset: Dataset, pixels: Tensor) -> None:
    learned = torch.eye(3).repeat_interleave(2, dim=0) * 0.9
    learned[0, 1], learned[5] = 0.3, torch.tensor([0.0, 0.7, 1.6])
    read = foreign.read(pt(tmp_path, (pixels, learned)), dataset)
    assert read.soft_labels is not None
    assert torch.equal(read.soft_labels, learned)
    assert any("learned weights of the classes" in remark for remark in read.origin.remarks)


def test_probabilities_stay_as_they_are(tmp_path: Path, dataset: Dataset, pixels: Tensor) -> None:
    given = torch.tensor(softmax(LOGITS.tolist()))
    read = foreign.read(pt(tmp_path, {"images": pixels, "soft_labels": given}), dataset)
    assert read.soft_labels is not None
    assert read.soft_labels.tolist() == given.tolist()
    listed = {"data": [{"images": pixels, "labels": Y, "soft_labels": given}]}
    again = foreign.read(pt(tmp_path, listed), dataset)
    assert again.soft_labels is not None
    assert again.soft_labels.tolist() == given.tolist()
    half = foreign.read(pt(tmp_path, {"images": pixels, "label": given.half()}), dataset)
    assert half.soft_labels is not None
    assert half.soft_labels.tolist() == given.half().float().tolist()


def test_one_hot_labels_are_classes(tmp_path: Path, dataset: Dataset, pixels: Tensor) -> None:
    rows = torch.tensor([[0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0]])
    read = foreign.read(pt(tmp_path, (pixels, rows)), dataset)
    assert (read.labels.tolist(), read.soft_labels) == ([2, 0, 1, 2, 0, 1], None)


def test_classes_of_learned_labels_are_those_of_the_order_where_the_largest_are_not_even(
    tmp_path: Path, dataset: Dataset, pixels: Tensor
) -> None:
    uneven = LOGITS.clone()
    uneven[0] = torch.tensor([0.0, 9, 0])
    read = foreign.read(pt(tmp_path, (pixels, uneven)), dataset)
    assert read.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert "images are taken in the order of the classes, 2 of each" in read.origin.remarks
    both = {"images": pixels, "labels": torch.tensor([2, 2, 1, 1, 0, 0]), "soft_labels": uneven}
    assert foreign.read(pt(tmp_path, both), dataset).labels.tolist() == [2, 2, 1, 1, 0, 0]


def test_normalised_values_are_undone_channel_by_channel(tmp_path: Path, dataset: Dataset, pixels: Tensor) -> None:
    seen = torch.empty_like(pixels)
    for channel in range(3):
        seen[:, channel] = (pixels[:, channel] - dataset.mean[channel]) / dataset.std[channel]
    read = foreign.read(pt(tmp_path, seen), dataset, "normalised")
    torch.testing.assert_close(read.pixels(dataset), pixels, rtol=0, atol=1e-6)
    assert "pixels are normalised, as asked" in read.origin.remarks


def test_whitened_values_are_undone_by_the_whitening(tmp_path: Path, dataset: Dataset, pixels: Tensor) -> None:
    """With the matrix inverted anew, in double precision."""
    white = whitened(dataset)
    assert white.whitening is not None
    seen = torch.randn(6, 3, 6, 5, generator=torch.Generator().manual_seed(2))
    inverse = torch.linalg.inv(white.whitening.matrix.double())
    expected = (seen.flatten(1).double() @ inverse + white.whitening.mean.double()).view(seen.shape).float()
    read = foreign.read(pt(tmp_path, seen), dataset, "normalised")
    torch.testing.assert_close(read.pixels(white), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("numbers", "asked", "expected"),
    [
        ([0.0, 1.0], None, "unit"),
        ([0.25, 0.5], None, "unit"),
        ([0.0, 254.0], None, "byte"),
        ([3, 200], None, "byte"),
        ([-0.25, 1.5], "unit", "unit"),
        ([-0.25, 1.5], "normalised", "normalised"),
        ([-1.5, 260.25], "byte", "byte"),
        ([0, 1], "unit", "unit"),
        ([0, 1], "byte", "byte"),
    ],
)
def test_units_follow_from_the_range_or_are_asked_for(
    numbers: list[float], asked: Values | None, expected: Values
) -> None:
    assert values_of(torch.tensor(numbers).view(1, 1, 1, 2), asked) == expected


@pytest.mark.parametrize(
    ("numbers", "asked", "said"),
    [
        ([-0.25, 0.5], None, r"values from -0\.25 to 0\.5 \(float32\), which does not tell .* --values normalised"),
        ([0.5, 1.5], None, "does not tell the units"),
        ([0.0, 255.5], None, "does not tell the units"),
        ([0, 1], None, r"values from 0 to 1 \(int64\), which does not tell"),
        ([0, 256], None, "whole numbers run from 0 to 255"),
        ([-1, 5], "byte", "whole numbers run from 0 to 255"),
        ([0, 200], "normalised", "cannot be 'normalised' .*; use --values byte"),
        ([0, 200], "unit", "cannot be 'unit' .*; use --values byte"),
        ([0.0, 0.5], "byte", "cannot be 'byte' .*; use --values unit"),
        ([0.0, math.nan], "unit", r"image 0 holds NaN or infinite values \(1 of 1 images do\)"),
        ([0.0, -math.inf], None, "image 0 holds NaN or infinite values"),
    ],
)
def test_units_that_cannot_be_are_refused(numbers: list[float], asked: Values | None, said: str) -> None:
    with pytest.raises(DataError, match=said):
        values_of(torch.tensor(numbers).view(1, 1, 1, 2), asked)


X = torch.zeros(6, 3, 6, 5)
Y = torch.tensor([0, 0, 1, 1, 2, 2])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (torch.zeros(6, 1, 6, 5), r"shape \(6, 1, 6, 5\), but those of garments are \(N, 3, 6, 5\)"),
        (torch.zeros(6, 3, 5, 6), r"shape \(6, 3, 5, 6\)"),
        (torch.zeros(3, 2, 3, 6, 5), r"shape \(3, 2, 3, 6, 5\)"),
        (torch.zeros(()), r"shape \(\)"),
        (torch.zeros(0, 3, 6, 5), r"there are 0 images; 1 to 30,000 can be scored"),
        (torch.zeros(1).as_strided((10**12, 3, 6, 5), (0, 0, 0, 0)), r"there are 1,000,000,000,000 images"),
        (X.to_sparse(), r"torch\.sparse_coo, cpu\); store a dense one"),
        (X.to(torch.complex64), r"tensor of torch\.complex64"),
        (torch.zeros(5, 3, 6, 5), r"5 images without a class each, which is no multiple of the 3 classes"),
        ((X, Y[:5]), r"the labels have the shape \(5,\), but there are 6 images"),
        ((X, Y + 1), r"the labels run from 1 to 3, but those of garments from 0 to 2"),
        ((X, Y - 1), r"the labels run from -1 to 1"),
        ((X, Y + 0.5), r"label 0 is 0\.5; labels are whole numbers"),
        ((X, Y / 0.0), r"label 0 is nan"),
        ((X, torch.zeros(6, 10)), r"the labels have the shape \(6, 10\), but 6 images of the 3 classes .* \(6, 3\)"),
        ((X, torch.full((6, 3), math.nan)), r"the labels of image 0 hold NaN"),
        ((X, torch.tensor([0, 0, 0, 1, 1, 2])), r"\('coat' has 1, 't-shirt/top' has 3\)"),
        ((X, torch.tensor([0, 0, 0, 1, 1, 1])), r"'coat' has 0"),
        (torch.zeros(15, 3, 6, 5), r"5 images of each class, but the smallest class of garments has 4 training images"),
        ({"pictures": X}, r"no images under a usual name \(images, .*present: `pictures`"),
        ({}, r"present: nothing"),
        ([], r"empty list"),
        ("images", r"holds a str where images should be"),
        ([[[[[X]]]]], r"holds a list within others"),
        ([X, "labels"], r"holds a str within others"),
    ],
)
def test_what_does_not_fit_is_refused(content: Any, said: str, tmp_path: Path, dataset: Dataset) -> None:
    with pytest.raises(DataError, match=said):
        foreign.read(pt(tmp_path, content), dataset)


def test_images_that_hold_nan_are_refused_by_number(tmp_path: Path, dataset: Dataset, pixels: Tensor) -> None:
    broken = pixels.clone()
    broken[3, 1, 2, 2] = math.inf
    with pytest.raises(DataError, match=r"image 3 holds NaN or infinite values \(1 of 6 images do\)"):
        foreign.read(pt(tmp_path, broken), dataset, "unit")


def test_names_that_are_no_classes_are_refused(tmp_path: Path, dataset: Dataset) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name in ("n0144", "n0210", "n0301"):
            archive.writestr(f"{name}/0.png", encode_png(np.zeros((3, 6, 5), dtype=np.uint8)))
    with pytest.raises(DataError, match=r"are called n0144, n0210, n0301, which are not those of garments \(t-"):
        foreign.read(tmp_path / "set.zip", dataset)


def test_pictures_of_another_size_are_refused(tmp_path: Path, dataset: Dataset) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for label in range(3):
            archive.writestr(f"{label}/0.png", encode_png(np.zeros((3, 6, 5 + label), dtype=np.uint8)))
    with pytest.raises(DataError, match=r"1/0\.png has 6 x 6 pixels, but the images of the dataset have 6 x 5"):
        foreign.read(tmp_path / "set.zip", dataset)


def test_a_bundle_is_left_to_train_on(tmp_path: Path, dataset: Dataset) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.json").write_text("{}")
    with pytest.raises(
        DataError, match=r"is a bundle, which has its recipe; score it by `ddctl train-on` with its folder"
    ):
        foreign.read(tmp_path / "out", dataset)
    with pytest.raises(DataError, match=r"there is no folder or file .*nowhere"):
        foreign.read(tmp_path / "nowhere", dataset)


def test_what_no_reader_knows_is_refused_in_words_of_what_one_does(
    tmp_path: Path, dataset: Dataset, pixels: Tensor
) -> None:
    (tmp_path / "set.pkl").write_bytes(b"\x80\x04N.")
    with pytest.raises(DataError, match=r"set\.pkl is no file that can be scored: those are \.pt, \.pth, \.npz"):
        foreign.read(tmp_path / "set.pkl", dataset)
    (tmp_path / "logged").mkdir()
    for name in ("epoch_1.pt", "epoch_2.pt"):
        torch.save(pixels, tmp_path / "logged" / name)
    with pytest.raises(DataError, match=r"is a folder with epoch_1\.pt, epoch_2\.pt; name the file"):
        foreign.read(tmp_path / "logged", dataset)


def test_what_undoes_normalised_values_is_said(tmp_path: Path, dataset: Dataset, pixels: Tensor) -> None:
    read = foreign.read(pt(tmp_path, pixels - 0.5), dataset, "normalised")
    mean = f"{dataset.mean[0]:.4f}"
    assert f"by the mean ({mean}, " in read.understood(dataset).remarks[-1]
    assert read.understood(whitened(dataset)).remarks[-1].endswith("by ZCA whitening of garments")
    assert read.understood(dataset).file == "set.pt"


def test_a_damaged_safetensors_file_is_refused(tmp_path: Path, dataset: Dataset, pixels: Tensor) -> None:
    save_file({"images": pixels}, tmp_path / "set.safetensors")
    whole = (tmp_path / "set.safetensors").read_bytes()
    (tmp_path / "set.safetensors").write_bytes(whole[:-40])
    with pytest.raises(DataError, match=r"set\.safetensors is not a readable safetensors file"):
        foreign.read(tmp_path / "set.safetensors", dataset)
