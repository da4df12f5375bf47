"""The audit: real neighbours found, copies told, classes compared, and nothing of a job moved by it."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ddcore import engine
from ddcore.bundle.neighbours import closest, nearest_png, neighbours_png
from ddcore.bundle.preview import preview_png
from ddcore.data.sampling import reserve
from ddcore.evaluation.audit import audit, summary
from ddcore.evaluation.probe import Probe
from ddcore.evaluation.similarity import ClassMeans
from ddcore.formulas.cka import linear_cka
from ddcore.runtime.callback import Stop
from ddcore.runtime.context import Run
from ddcore.spec import DATASETS, parse
from ddcore.spec.audit import AuditDocument
from ddcore.spec.cost import Cost
from ddcore.spec.sheets import LAYOUT_CHUNK, SheetLayout
from ddcore.spec.work import DataSizes
from tests.ddcore.conftest import blobs
from tests.ddcore.recorder import Recorder


@pytest.fixture(scope="module")
def small() -> Any:
    return blobs(per_class=30)


@pytest.fixture
def seen(make_run: Callable[..., Run], small: Any) -> tuple[Run, Probe]:
    run = make_run(small)
    probe = Probe(run, reserve(run.dataset, 4, torch.Generator().manual_seed(0)), "random")
    probe.prepare()
    return run, probe


def noisy(run: Run, rows: list[int], noise: float) -> tuple[Tensor, Tensor]:
    """Real training images with noise on them, in pixel units, and their labels."""
    pixels = run.pixels(torch.tensor(rows))
    grain = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(4))
    return pixels + noise * grain, run.dataset.train.labels[rows]


def test_copies_are_found_with_their_rows_and_named_near_copies(seen: tuple[Run, Probe]) -> None:
    run, probe = seen
    rows = [0, 1, 2, 41, 7, 86]
    found = audit(run, probe, *noisy(run, rows, 0.0))
    assert [image.pixels.row for image in found.images] == rows
    assert [image.features.row for image in found.images] == rows
    assert {image.pixels.distance for image in found.images} == {0.0}
    assert all(image.near_copy for image in found.images)
    assert summary(found, real_pixels=True).near_copies == 6


def test_distances_ranks_and_classes_are_those_of_a_search_by_hand(seen: tuple[Run, Probe]) -> None:
    run, probe = seen
    images, labels = noisy(run, [3, 10, 20, 31, 50, 89], 0.2)
    found = audit(run, probe, images, labels)
    real = run.pixels(torch.arange(len(run.dataset.train))).flatten(1).double()
    among_real = [min(rms(a, b) for j, b in enumerate(real) if j != i) for i, a in enumerate(real)]
    assert found.compared_with == len(real)  # fewer than 500, so that all of them are the sample
    assert found.near_copy_below == pytest.approx(float(np.quantile(among_real, 0.01)), rel=1e-5)
    for image, given in zip(found.images, images.flatten(1).double(), strict=True):
        distances = [rms(given, other) for other in real]
        nearest = min(distances)
        assert image.pixels.row == distances.index(nearest)
        assert image.pixels.distance == pytest.approx(nearest, rel=1e-5)
        assert image.pixels.label == int(run.dataset.train.labels[image.pixels.row])
        assert image.pixels.rank == pytest.approx(sum(d <= nearest for d in among_real) / len(real), abs=1e-6)
        around = sum(sorted(distances)[:3]) / 3  # a tenth of the 30 images of a class
        assert image.near_copy == (nearest <= found.near_copy_below and nearest <= around / 2)


def test_blurred_images_are_no_near_copies_though_they_are_closer_than_real_ones(seen: tuple[Run, Probe]) -> None:
    run, probe = seen
    real, labels = run.pixels(torch.arange(90)), run.dataset.train.labels
    means = torch.stack([real[labels == label].mean(dim=0) for label in range(3)])
    copies, _ = noisy(run, [0, 1, 2], 0.01)
    found = audit(run, probe, torch.cat([means, copies]), torch.arange(3).repeat(2))
    assert all(image.pixels.distance <= found.near_copy_below for image in found.images)
    assert [image.near_copy for image in found.images] == [False] * 3 + [True] * 3


def rms(a: Tensor, b: Tensor) -> float:
    return math.sqrt(float((a - b).square().mean()))


def test_classes_of_real_images_resemble_themselves_and_exchanged_ones_do_not(seen: tuple[Run, Probe]) -> None:
    run, probe = seen
    images, labels = noisy(run, list(range(60)), 0.0)
    as_they_are = audit(run, probe, images, labels).similarity
    exchanged = audit(run, probe, images, (labels + 1) % 3).similarity
    assert all(cosine is not None and cosine > 0.9 for cosine in as_they_are.by_class)
    assert all(cosine is not None and cosine < 0.3 for cosine in exchanged.by_class)
    assert as_they_are.cka is not None
    assert exchanged.cka is not None
    assert as_they_are.cka > max(0.98, exchanged.cka)
    features, of_real = probe.features(run.dataset.normalize(images)), run.dataset.train.labels
    means = [features[labels == c].double().mean(0) for c in range(3)]
    real = probe.features(run.real_images(torch.arange(90)))
    expected = linear_cka(torch.stack(means), torch.stack([real[of_real == c].double().mean(0) for c in range(3)]))
    assert as_they_are.cka == pytest.approx(expected, rel=1e-5)


def test_two_classes_have_no_alignment_to_speak_of(make_run: Callable[..., Run]) -> None:
    run = make_run(blobs(classes=2, per_class=6))
    probe = Probe(run, reserve(run.dataset, 1, torch.Generator().manual_seed(0)), "random")
    probe.prepare()
    found = audit(run, probe, *noisy(run, [0, 1], 0.1))
    assert (found.similarity.cka, found.similarity.cka_random) == (None, None)
    assert len(found.map) == 12 + 2


def test_the_map_is_the_same_again_and_puts_classes_apart(seen: tuple[Run, Probe]) -> None:
    run, probe = seen
    first, second = (audit(run, probe, *noisy(run, list(range(30)), 0.05)) for _ in range(2))
    assert first == second
    points = torch.tensor([[point.x, point.y] for point in first.map])
    labels = torch.tensor([point.label for point in first.map])
    nearest = (torch.cdist(points, points) + torch.eye(len(points)) * 1e9).argmin(dim=1)
    assert (labels[nearest] == labels).float().mean() > 0.9
    assert [sum(point.real is kind for point in first.map) for kind in (True, False)] == [90, 30]


def test_means_of_pieces_are_those_of_the_whole() -> None:
    features, labels = torch.randn(10, 4, generator=torch.Generator().manual_seed(0)), torch.arange(10) % 3
    means = ClassMeans(3)
    for rows in torch.arange(10).split(4):
        means.add(features[rows], labels[rows])
    assert torch.allclose(means.value, torch.stack([features[labels == c].double().mean(0) for c in range(3)]))


def test_the_picture_shows_each_class_beside_its_real_neighbours(seen: tuple[Run, Probe]) -> None:
    run, probe = seen
    images, labels = noisy(run, [0, 3, 1, 4, 2, 5], 0.01)
    found = audit(run, probe, images, labels)
    shown = closest(found.images)
    assert [image.label for image in shown.values()] == [0, 1, 2]
    assert [image.label for image in closest(found.images, rows=1).values()] == [
        min(found.images, key=lambda image: image.pixels.distance).label
    ]
    sheet = np.asarray(Image.open(io.BytesIO(neighbours_png(found, images, run.dataset.train))))
    first = next(iter(shown.values()))
    expected = run.dataset.train.images[first.pixels.row].permute(1, 2, 0).numpy().repeat(6, 0).repeat(6, 1)
    windows = np.lib.stride_tricks.sliding_window_view(sheet[:100], expected.shape)
    assert (windows == expected).all(axis=(3, 4, 5)).sum() >= 1


def test_a_sheet_has_the_nearest_real_image_at_the_place_of_each(seen: tuple[Run, Probe]) -> None:
    run, probe = seen
    train = run.dataset.train
    rows = [0, 3, 1, 4, 2, *range(30, 42)]
    images, labels = noisy(run, rows, 0.01)
    found = audit(run, probe, images, labels)
    sheets = [preview_png(images, labels, train.classes), nearest_png(found, train)]
    of_images, of_real = (Image.open(io.BytesIO(sheet)) for sheet in sheets)
    assert of_real.size == of_images.size
    assert of_real.text == of_images.text  # type: ignore[attr-defined]  # of PNG files alone
    layout = SheetLayout.model_validate_json(of_real.text[LAYOUT_CHUNK])  # type: ignore[attr-defined]  # likewise
    drawn = np.asarray(of_real)
    for number, row in enumerate(layout.rows):
        members = [real for real in rows if int(train.labels[real]) == number][: row.images]
        for place, real in enumerate(members):
            left = row.left + place * layout.stride
            tile = drawn[row.top : row.top + layout.tile[1] : 6, left : left + layout.tile[0] : 6]
            assert (tile == train.images[real].permute(1, 2, 0).numpy()).all()


JOB: dict[str, Any] = {
    "dataset": "digits",
    "ipc": 1,
    "method": {"name": "dm", "iterations": 2, "batch_real": 8},
    "network": {"name": "convnet", "width": 4, "depth": 2},
    "metrics": {"probe": "random"},
    "evaluation": {"repeats": 0, "audit": False},
}


def run_job(folder: Path, callback: Recorder | None = None, **fields: Any) -> engine.Result:
    spec = parse({**JOB, **fields})
    return engine.run(spec, folder / "out", run_dir=folder, callback=callback)


def test_a_job_leaves_its_audit_beside_the_bundle_and_its_images_as_they_are(tmp_path: Path) -> None:
    audited = run_job(tmp_path / "a", evaluation={"repeats": 0})
    without = run_job(tmp_path / "b")
    tensors = [(result.out / "distilled.safetensors").read_bytes() for result in (audited, without)]
    assert tensors[0] == tensors[1]
    document = AuditDocument.model_validate_json((audited.out / "audit" / "audit.json").read_bytes())
    assert len(document.images) == 10
    assert audited.results.audit == summary(document, real_pixels=False)
    for name in ("neighbours.png", "nearest.png"):
        assert (audited.out / "audit" / name).read_bytes().startswith(b"\x89PNG")
    assert without.results["audit"] == {"real_pixels": False}
    assert not (without.out / "audit").exists()


def test_real_pixels_are_declared_where_the_job_keeps_them(tmp_path: Path) -> None:
    unmoved = Recorder(stop_after=0, how=Stop.FINALIZE)
    noise = Recorder(stop_after=0, how=Stop.FINALIZE)
    declared = [
        run_job(tmp_path / "coreset", method="random"),
        run_job(tmp_path / "unmoved", unmoved),
        run_job(tmp_path / "noise", noise, init="noise"),
    ]
    assert [result.results["audit"] for result in declared] == [
        {"real_pixels": True}, {"real_pixels": True}, {"real_pixels": False}
    ]  # fmt: skip


def test_a_wish_to_finish_ends_an_audit(tmp_path: Path) -> None:
    class Hasty(Recorder):
        def should_stop(self) -> Stop | None:
            return Stop.FINALIZE if "finalizing" in self.phases else None

    hasty = Hasty()
    result = run_job(tmp_path, hasty, evaluation={"repeats": 0, "audit": True})
    assert result.results["audit"] == {"real_pixels": False}
    assert any("finishing early" in line for line in hasty.logs)


def test_an_audit_is_made_unasked_where_it_is_cheap() -> None:
    def made(dataset: str, **fields: Any) -> bool:
        spec = parse({**JOB, "dataset": dataset, "network": "convnet", "evaluation": {"repeats": 0}, **fields})
        return Cost(spec, DataSizes.of(DATASETS[dataset])).audited

    assert made("digits")
    assert not made("cifar100", ipc=50)
    assert made("cifar100", ipc=50, evaluation={"repeats": 0, "audit": True})
    assert made("cifar10", ipc=10, method="dm")
    assert not made("digits", evaluation={"audit": False})
