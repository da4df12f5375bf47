"""Plain loops are made, scored and stored beside ours, and compared seed by seed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import quality
from benchmarks.plain import recovered, trajectories
from benchmarks.plain.comparison import MODULES, SEEDS, Run, compared, loop_of, runs, sides, summary, table
from benchmarks.plain.given import Given
from benchmarks.plain.mosaics import mosaics, tiles
from ddcore.augment.resized_crop import ResizedCrop
from ddcore.data import sources
from ddcore.machine.compute import Compute
from ddcore.methods import build_method
from ddcore.methods.pad import PAD
from ddcore.methods.sre2l import FADRM
from ddcore.nets import build
from ddcore.runtime.assembly import assemble
from ddcore.spec import parse
from ddcore.spec.results import Score

NARROW = {"name": "convnet", "width": 4}
BATCH_NORM = {**NARROW, "norm": "batch"}
SCORING = {"repeats": 1, "epochs": 1}
RECOVERED: dict[str, Any] = {
    "network": BATCH_NORM,
    "method": {"iterations": 4, "rounds": 2, "candidates": 3, "teacher": {"network": BATCH_NORM, "epochs": 1}},
    "evaluation": {**SCORING, "teacher": {"network": BATCH_NORM, "epochs": 1}},
}
MATCHED: dict[str, Any] = {
    "network": NARROW,
    "method": {"iterations": 2, "student_steps": 2, "threshold": 1e9, "experts": {"count": 2}},
    "evaluation": SCORING,
}


@pytest.mark.parametrize(("method", "changes"), [("fadrm", RECOVERED), ("datm", MATCHED)])
def test_both_sides_are_stored_and_then_left_out(
    method: str,
    changes: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(quality, "RESULTS", tmp_path)
    file = quality.StudyFile("plain", tmp_path / "locks")
    every = [Run(method, side, 1, changes) for side in sides(method)]
    quality.run_stored(every, file, summary)
    assert capsys.readouterr().out.count("s of a core") == len(every)
    quality.run_stored(every, file, summary)
    assert not capsys.readouterr().out
    stored = json.loads((tmp_path / "quality" / "plain.json").read_text())["jobs"]
    adopted = [] if method == "datm" else ["fadrm adopted seed 1"]
    assert list(stored) == [f"{method} ours seed 1", f"{method} plain seed 1", *adopted]
    if adopted:
        assert stored["fadrm adopted seed 1"]["teacher"] == stored["fadrm ours seed 1"]["teacher"]
    for name, found in stored.items():
        accuracy = Score.model_validate(found["accuracy"])
        assert accuracy.networks == 1
        assert 0 < accuracy.mean <= 100
        assert found["seconds"] > 0 < found["core_seconds"]
        assert (found["teacher"] is None) == (method == "datm")
        assert found["job"]["preset"] == f"quick/{method}-digits"
        assert found["job"]["seed"] == 1
        assert found["command"] == f"python -m benchmarks.plain {method} --seeds 2 --only '{name}'"
        assert {"torch", "python", "ddservice", "processor", "threads"} <= found["machine"].keys()
        assert found["date"].endswith("+00:00")


def test_every_method_has_a_loop_and_a_preset() -> None:
    for method in MODULES:
        assert callable(loop_of(method))
        assert Run(method, "plain", 2).spec.method.name == method
        assert parse({"preset": f"quick/{method}-digits"}).dataset == "digits"


def test_the_runs_go_seed_by_seed() -> None:
    names = [one.name for one in runs(["sre2l"])]
    assert len(names) == SEEDS * len(sides("sre2l"))
    assert names[:3] == ["sre2l ours seed 0", "sre2l plain seed 0", "sre2l adopted seed 0"]
    assert runs(["ncfm"], seeds=5)[-1].name == "ncfm plain seed 4"
    assert [one.name for one in runs(list(MODULES), "ncfm plain seed 1")] == ["ncfm plain seed 1"]


def results(method: str, side: str, accuracies: list[float], seconds: float) -> dict[str, Any]:
    return {
        Run(method, side, seed).name: {"accuracy": {"mean": mean}, "core_seconds": seconds}
        for seed, mean in enumerate(accuracies)
    }


def test_seeds_are_paired() -> None:
    found = results("pad", "ours", [80.0, 90.0, 85.0], 4.0) | results("pad", "plain", [79.0, 88.0, 82.0], 8.0)
    (one,) = compared(found)
    assert one.difference == pytest.approx(2.0)
    assert one.error == pytest.approx(1 / math.sqrt(3))
    assert list(table(found))[-1] == "| `pad` | 3 | 85.0 ± 5.0 | 83.0 ± 4.6 | +2.0 ± 0.6 |  | 4 | 8 |"


def test_a_seed_of_one_side_alone_is_left_out() -> None:
    found = results("pad", "ours", [80.0, 90.0], 4.0) | results("pad", "plain", [79.0], 8.0)
    (one,) = compared(found)
    assert one.ours == [80.0]
    assert math.isnan(one.error)


def test_tiles_are_those_that_a_mosaic_was_put_together_of() -> None:
    images = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 1, 4, 4)
    assert torch.equal(tiles(mosaics(images, rows=2)), images)


def test_by_the_same_draws_the_loop_of_fadrm_arrives_where_ours_does(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = Run("fadrm", "ours", 0, RECOVERED).spec
    dataset = sources.load("digits", None, None)
    run = assemble(spec, dataset, Compute.choose("cpu", "fp32", "off", expected_images_forwarded=0))
    method = build_method(spec.method, run)
    assert isinstance(method, FADRM)
    method.prepare()
    synthetic = method.start()
    crops, views = synthetic.stored.detach().clone(), []
    for index in range(method.config.iterations):
        synthetic.begin_step()
        step = method.draw(index, synthetic)
        views.append(step.views)
        method.backward(step)
        synthetic.step()

    # The loop takes all steps of one batch before the first of the next.
    drawn = iter([of_step[batch] for batch in range(spec.ipc) for of_step in views])
    monkeypatch.setattr(ResizedCrop, "draw", lambda *_, **__: next(drawn))
    monkeypatch.setattr(
        recovered, "_crops", lambda _given, _config, _teacher, label: crops.unflatten(0, (10, -1))[label]
    )
    teacher = build(method.config.teacher.network, dataset.shape, 10)
    teacher.load_state_dict(method._teacher._params)
    made = recovered.fadrm(Given.of(spec, dataset, teacher.eval().requires_grad_(False)))
    assert (synthetic.stored.detach() - crops).abs().max() > 0.1
    assert torch.allclose(made.images, synthetic.stored.detach(), atol=1e-4)


def test_by_the_same_start_the_loop_of_pad_arrives_where_ours_does(monkeypatch: pytest.MonkeyPatch) -> None:
    # One expert, one place to start from and no augmentation: nothing is left to chance.
    fields = {
        "early_start": 1, "max_start": 1, "student_steps": 3, "iterations": 5, "threshold": 1e9,
        "experts": {"count": 1, "rho": 0.01, "batch_size": 64},
        "curriculum": {"scorers": {"network": NARROW, "pool": 1, "epochs": 1}},
    }  # fmt: skip
    spec = Run("pad", "ours", 0, {"network": NARROW, "augmentation": "none", "method": fields}).spec
    dataset = sources.load("digits", None, None)
    run = assemble(spec, dataset, Compute.choose("cpu", "fp32", "off", expected_images_forwarded=0))
    method = build_method(spec.method, run)
    assert isinstance(method, PAD)
    method.prepare()
    synthetic = method.start()
    logits = synthetic.learned["label_logits"].value
    start = (synthetic.images.detach().clone(), logits.detach().clone())
    for index in range(method.config.iterations):
        synthetic.begin_step()
        method.backward(method.draw(index, synthetic))
        synthetic.step()

    monkeypatch.setattr(trajectories, "_start", lambda *_: tuple(part.clone() for part in start))
    followed = [[method._experts.snapshot(0, epoch) for epoch in (0, 1)]]
    monkeypatch.setattr(trajectories, "experts", lambda *_: followed)
    made = trajectories.pad(Given.of(spec, dataset))
    assert (made.images - start[0]).abs().max() > 0.1
    assert torch.allclose(made.images, synthetic.images.detach(), atol=1e-5)
    assert made.soft_labels is not None
    assert torch.allclose(made.soft_labels, logits.detach().softmax(dim=1), atol=1e-6)
    assert made.learning_rate == pytest.approx(synthetic.learning_rate, rel=1e-5)
