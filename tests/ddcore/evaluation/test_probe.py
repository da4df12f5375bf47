"""The probe: bounded, comparable between jobs, and apart from every update."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from ddcore.data.sampling import ClassSampler, reserve
from ddcore.data.whitening import whitened
from ddcore.evaluation import probe_network
from ddcore.evaluation.probe import Probe
from ddcore.evaluation.probe_network import seen_by_probes
from ddcore.machine.compute import Compute
from ddcore.pretrained.teachers import TeacherPool
from ddcore.runtime.context import Run
from ddcore.spec import TeacherConfig
from ddcore.synthetic.set import SyntheticSet
from tests.ddcore.compiler import needs_compiler
from tests.ddcore.conftest import blobs


def probe_of(run: Run, kind: Any = "teacher", per_class: int = 8) -> Probe:
    rows = reserve(run.dataset, per_class, torch.Generator().manual_seed(0))
    run.sampler = ClassSampler(run.dataset.train.labels, len(run.dataset.classes), exclude=rows)
    probe = Probe(run, rows, kind)
    probe.prepare()
    return probe


@pytest.mark.parametrize("kind", ["teacher", "random"])
def test_real_images_read_near_the_ceiling_and_noise_near_nothing(make_run: Callable[..., Run], kind: str) -> None:
    run = make_run(ipc=4)
    probe = probe_of(run, kind)
    real = probe.read(run.synthetic_set(1, 0))
    noise = torch.randn(12, *run.dataset.shape, generator=torch.Generator().manual_seed(1))
    unrelated = probe.read(SyntheticSet(noise, 4, lr=1, momentum=0))
    assert 0.8 * math.log(3) < real["mi_lower_bound"] <= math.log(3)
    assert unrelated["mi_lower_bound"] < 0.3
    assert real["cmi"] > 0


def test_images_of_the_wrong_class_read_below_zero(make_run: Callable[..., Run]) -> None:
    run = make_run(ipc=4)
    probe = probe_of(run)
    right = run.starting_images()
    wrong = SyntheticSet(right.roll(4, dims=0), 4, lr=1, momentum=0)
    assert probe.read(wrong)["mi_lower_bound"] < 0


def test_identical_images_of_a_class_have_no_cmi(make_run: Callable[..., Run]) -> None:
    run = make_run(ipc=4)
    same = run.starting_images()[::4].repeat_interleave(4, dim=0)
    assert probe_of(run).read(SyntheticSet(same, 4, lr=1, momentum=0))["cmi"] == pytest.approx(0, abs=1e-6)


def test_a_dataset_has_one_probe_whatever_a_job_asks_for(make_run: Callable[..., Run]) -> None:
    """Seed, regularisers, images a class and arithmetic of the job make no other."""
    term = {"name": "mim", "weight": 1, "teacher": {"network": {"name": "convnet", "width": 8}, "epochs": 1}}
    half = Compute(torch.device("cpu"), "bf16", piece=16)
    runs = [make_run(), make_run(seed=7), make_run(regularizers=[term], ipc=1), make_run(compute=half)]
    probes = [probe_of(run) for run in runs]
    images = runs[0].starting_images()
    readings = [probe.read(SyntheticSet(images, 2, lr=1, momentum=0)) for probe in probes]
    assert all(reading == readings[0] for reading in readings)
    assert len({probe.digest for probe in probes}) == 1
    assert re.fullmatch("pr_[0-9a-f]{12}", probes[0].digest or "")


@needs_compiler
def test_kernels_of_our_own_read_the_same_up_to_rounding(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()
    synthetic = SyntheticSet(run.starting_images(), 2, lr=1, momentum=0)
    by_layers = probe_of(run).read(synthetic)
    monkeypatch.setattr("ddcore.spec.speed.OWN_KERNELS_S", 0.0)
    assert seen_by_probes(run).compute.fused
    assert probe_of(run).read(synthetic) == pytest.approx(by_layers, abs=1e-3)


def test_another_dataset_sample_or_network_is_another_probe(make_run: Callable[..., Run]) -> None:
    run, other = make_run(), make_run(blobs(per_class=25))
    probes = [probe_of(run), probe_of(other), probe_of(run, per_class=7), probe_of(run, "random")]
    assert len({probe.digest for probe in probes}) == 4


def test_a_job_in_whitened_pixels_reads_the_same_of_the_same_pictures(make_run: Callable[..., Run]) -> None:
    plain, white = make_run(), make_run(whitened(blobs()), whitening=True)
    pictures = plain.dataset.denormalize(plain.starting_images())
    probes = [probe_of(run) for run in (plain, white)]
    sets = [SyntheticSet(run.dataset.normalize(pictures), 2, lr=1, momentum=0) for run in (plain, white)]
    ours, theirs = (probe.read(synthetic) for probe, synthetic in zip(probes, sets, strict=True))
    assert probes[0].digest == probes[1].digest
    assert theirs == pytest.approx(ours, abs=1e-3)


def test_the_network_has_seen_neither_what_it_reads_with_nor_what_calibrates_it(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ddcore.spec.probe.MOST_IMAGES_SEEN", 20)
    run = make_run()
    seen: dict[str, torch.Tensor] = {}

    class Pool(TeacherPool):
        def __init__(self, config: TeacherConfig, run: Run, rows: torch.Tensor) -> None:
            seen["trained on"] = rows
            super().__init__(config, run, rows)

    class Noted(Probe):
        def _calibrated(self, others: Sequence[torch.Tensor]) -> float:
            seen["calibrated with"] = torch.cat(list(others))
            return super()._calibrated(others)

    monkeypatch.setattr(probe_network, "TeacherPool", Pool)
    sample = reserve(run.dataset, 2, torch.Generator().manual_seed(0))
    run.sampler = ClassSampler(run.dataset.train.labels, 3, exclude=sample)
    Noted(run, sample, "teacher").prepare()
    sets = [set(of.flatten().tolist()) for of in (seen["trained on"], sample, seen["calibrated with"])]
    assert [len(one) for one in sets] == [20, 6, 3 * 4]
    assert len(set.union(*sets)) == sum(map(len, sets))


def test_jobs_at_once_read_with_the_same_weights(make_run: Callable[..., Run], tmp_path: Path) -> None:
    runs = [make_run(seed=seed) for seed in range(3)]
    for run in runs:
        run.cache = tmp_path
    with ThreadPoolExecutor(3) as threads:
        digests = {probe.digest for probe in threads.map(probe_of, runs)}
    assert len(digests) == len(list(tmp_path.rglob("*.safetensors"))) == 1


def test_no_update_draws_a_probe_image(make_run: Callable[..., Run]) -> None:
    run = make_run()
    probe = probe_of(run)
    drawn = torch.cat(run.sampler.draw_each(1000, torch.Generator().manual_seed(0)))
    assert len(drawn) == len(run.dataset.train) - len(probe._rows)
    assert not set(drawn.tolist()) & set(probe._rows.tolist())


def test_reading_leaves_no_gradient_and_says_what_it_rests_on(make_run: Callable[..., Run]) -> None:
    run = make_run()
    probe = probe_of(run, "random")
    synthetic = run.synthetic_set(1, 0)
    probe.read(synthetic)
    assert synthetic.images.grad is None
    facts = probe.report({"cmi": 0.5})
    assert facts.digest == probe.digest
    assert (facts.network, facts.real_images, facts.ceiling_nats) == ("random", 24, math.log(3))
    assert (facts.cmi, facts.mi_lower_bound) == (0.5, None)
