"""ZCA whitening against figures worked out beforehand and the plain formula."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ddcore import bundle, engine
from ddcore.data import load
from ddcore.data.dataset import Dataset, ImageSet, describe
from ddcore.data.whitening import Whitening, fit, whitened
from ddcore.errors import ConfigurationError
from ddcore.pretrained.teachers import TeacherPool
from ddcore.spec import TeacherConfig, parse
from tests.ddcore.conftest import blobs

pytestmark = pytest.mark.usefixtures("plain_map")


def test_printed_figures(fill: Any) -> None:
    images = fill(6, 1, 2, 2, a=1.3)
    found = fit(images).apply(images).flatten(1)
    assert found.abs().sum().item() == pytest.approx(13.419572, rel=1e-5)
    assert found[0].tolist() == pytest.approx([-0.084336, 0.866991, 0.548174, -0.573719], abs=2e-6)


def plain(train: Tensor, images: Tensor) -> Tensor:
    """x -> (x - m) U diag((lambda + 0.1)^-1/2) U^T in NumPy, with the mean and covariance of the training images."""
    x, others = (part.flatten(1).double().numpy() / 255 for part in (train, images))
    mean = x.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(x, rowvar=False))
    matrix = vectors @ np.diag((values + 0.1) ** -0.5) @ vectors.T
    return torch.from_numpy((others - mean) @ matrix).float().view(images.shape)


def test_fitted_to_training_images_and_applied_to_all() -> None:
    data = blobs(per_class=40)
    units = whitened(data)
    for split in (data.train, data.test):
        torch.testing.assert_close(
            units.normalize(split.images), plain(data.train.images, split.images), rtol=1e-4, atol=1e-4
        )


def test_a_piece_at_a_time_is_the_whole_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    images = blobs(per_class=30).train.images
    whole = fit(images)
    monkeypatch.setattr("ddcore.data.whitening._PIECE", 7)
    pieces = fit(images)
    torch.testing.assert_close(pieces.matrix, whole.matrix, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(pieces.mean, whole.mean)


def test_pictures_are_the_pixels_again() -> None:
    units = whitened(load("digits"))
    pixels = units.test.images.float() / 255
    torch.testing.assert_close(units.denormalize(units.normalize(units.test.images)), pixels, rtol=0, atol=2e-6)
    torch.testing.assert_close(units.normalize(pixels), units.normalize(units.test.images), rtol=0, atol=1e-5)


def test_every_direction_is_shrunk_as_far_as_epsilon_lets_it() -> None:
    units = whitened(load("digits"))
    before, after = (
        torch.linalg.eigvalsh(torch.cov(pixels.flatten(1).T.double()))
        for pixels in (units.train.images / 255, units.normalize(units.train.images))
    )
    torch.testing.assert_close(after, before / (before + 0.1), rtol=1e-4, atol=1e-6)


def test_one_fit_serves_all_jobs_and_a_damaged_file_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    data = blobs()
    first = whitened(data, tmp_path).whitening
    (path,) = tmp_path.glob("whitening/*.safetensors")
    with monkeypatch.context() as patched:
        patched.setattr("ddcore.data.whitening.fit", lambda _: pytest.fail("fitted again"))
        second = whitened(data, tmp_path).whitening
    assert first is not None
    assert second is not None
    assert torch.equal(first.matrix, second.matrix)
    path.write_bytes(path.read_bytes()[:50])
    third = whitened(data, tmp_path).whitening
    assert "damaged" in caplog.text
    assert third is not None
    assert torch.equal(first.matrix, third.matrix)


def test_too_large_and_too_few_images_are_refused() -> None:
    def one(side: int) -> Dataset:
        images = ImageSet(torch.zeros(2, 3, side, side, dtype=torch.uint8), torch.arange(2), ("a", "b"))
        return describe("large", images, images)

    with pytest.raises(ConfigurationError, match=r"`whitening` is true, but .* 3 x 65 x 65 .* at most 12288"):
        whitened(one(65))
    with pytest.raises(ValueError, match="1 images have no covariance"):
        fit(torch.zeros(1, 1, 2, 2))
    with pytest.raises(ValueError, match="do not whiten"):
        Whitening(torch.zeros(4), torch.eye(3))


def test_teachers_of_whitened_images_are_others(make_run: Any) -> None:
    data = blobs()
    digests = {TeacherPool(TeacherConfig(), make_run(dataset)).digest() for dataset in (data, whitened(data))}
    assert len(digests) == 2


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bundle of a short whitened job."""
    folder = tmp_path_factory.mktemp("whitened")
    job = {
        "dataset": "digits",
        "ipc": 1,
        "whitening": True,
        "method": {"name": "dm", "iterations": 3, "batch_real": 8},
        "network": {"name": "convnet", "width": 4, "depth": 2},
        "evaluation": {"repeats": 1, "epochs": 5},
    }
    engine.run(parse(job), folder / "out", run_dir=folder / "run")
    return folder / "out"


def test_a_bundle_carries_its_whitening_and_trains_to_the_reported_figures(result: Path) -> None:
    content = bundle.read(result)
    assert content.whitening is not None
    assert json.loads((result / "manifest.json").read_text())["normalization"]["whitened"] is True
    assert "whitening_matrix" in (result / "README.md").read_text()
    assert bundle.train_on(result)["accuracy"] == content.results["accuracy"]
    whitened_units = whitened(load("digits")).normalize(content.images)
    assert torch.equal(content.training_images(), whitened_units)
    bundle.export_npz(result, result.parent / "set.npz")
    arrays = np.load(result.parent / "set.npz")
    assert np.array_equal(arrays["whitening_matrix"], content.whitening.matrix.numpy())


@pytest.mark.parametrize("protocol", ["dc_mnist", "idc", "dc_bench_randaugment"])
def test_every_augmenter_and_control_sees_whitened_images(protocol: str, result: Path, tmp_path: Path) -> None:
    evaluation = {
        "protocol": protocol,
        "repeats": 1,
        "epochs": 2,
        "controls": ["random", "herding", "full"],
        "labels": "soft",
        "teacher": {"network": {"name": "convnet", "width": 4}, "epochs": 1},
        "full_images": 1500,
    }
    spec = parse({**bundle.read(result).spec.model_dump(mode="json"), "evaluation": evaluation})
    engine.run(spec, tmp_path / "out", run_dir=tmp_path / "run")
    reported = bundle.read(tmp_path / "out").results
    again = bundle.train_on(tmp_path / "out")
    assert (again["accuracy"], again["controls"]) == (reported["accuracy"], reported["controls"])


def test_a_bundle_without_the_whitening_of_its_job_is_refused(result: Path) -> None:
    with pytest.raises(ValueError, match="`whitening`: True, which the tensors contradict"):
        replace(bundle.read(result), whitening=None)
