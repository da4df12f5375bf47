"""The probe: bounded, comparable between jobs, and apart from every update."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from ddcore.data.sampling import ClassSampler, reserve
from ddcore.evaluation.probe import Probe
from ddcore.runtime.context import Run
from ddcore.synthetic.set import SyntheticSet


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


def test_readings_depend_neither_on_the_seed_nor_on_regularisers(make_run: Callable[..., Run]) -> None:
    term = {"name": "mim", "weight": 1, "teacher": {"network": {"name": "convnet", "width": 8}, "epochs": 1}}
    runs = [make_run(), make_run(seed=7), make_run(regularizers=[term])]
    images = runs[0].starting_images()
    readings = [probe_of(run).read(SyntheticSet(images, 2, lr=1, momentum=0)) for run in runs]
    assert readings[0] == readings[1] == readings[2]


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
    assert (facts.network, facts.real_images, facts.ceiling_nats) == ("random", 24, math.log(3))
    assert (facts.cmi, facts.mi_lower_bound) == (0.5, None)
