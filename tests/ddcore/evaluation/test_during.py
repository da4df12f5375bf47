"""Accuracy while the images are learned: what it costs, what it is of, and what follows from it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ddcore import engine
from ddcore.engine.loop import Engine
from ddcore.evaluation.during import During, Look
from ddcore.spec import DATASETS, DuringConfig, SpecError, parse
from ddcore.spec.cost import Cost
from ddcore.spec.work import DataSizes
from tests.ddcore.counting import counted
from tests.ddcore.recorder import Recorder

TEACHER = {"network": {"name": "convnet", "width": 4}, "epochs": 1}


def job(during: dict[str, Any] | None, iterations: int = 8, **fields: Any) -> dict[str, Any]:
    return {
        "dataset": "digits", "ipc": 1, "method": {"name": "dm", "iterations": iterations, "batch_real": 16},
        "network": {"name": "convnet", "width": 8}, "compile": "off",
        "metrics": {"every": 4, "probe": "random"},
        "evaluation": {"repeats": 0, "audit": False, "during": during}, **fields,
    }  # fmt: skip


def run(spec: dict[str, Any], folder: Path, cache: Path) -> tuple[engine.Result, Recorder, torch.Tensor]:
    said = Recorder()
    result = engine.run(parse(spec), folder / "out", run_dir=folder / "run", cache=cache, callback=said)
    return result, said, load_file(folder / "out" / "distilled.safetensors")["images"]


def steps_of(said: Recorder, name: str) -> list[int]:
    return [step for step, values in sorted(said.metrics.items()) if name in values]


class TestWhatItIsOf:
    def test_validation_images_are_training_images_of_each_class(
        self, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[torch.Tensor] = []
        from ddcore.evaluation import during

        def accuracy(_functional: Any, _params: Any, images: Any, labels: Any, **_: Any) -> float:
            seen.append(labels)
            return float(len(seen))

        monkeypatch.setattr(during, "accuracy", accuracy)
        _, said, _ = run(job({"every": 4, "networks": 2, "validation": 0.2}), tmp_path, cache)
        counts = torch.bincount(seen[0], minlength=10).tolist()
        real = DATASETS["digits"]
        assert all(real.smallest_class * 0.2 - 1 <= count <= 31 for count in counts)
        assert all(torch.equal(labels, seen[0]) for labels in seen)
        # Two networks are averaged; the first look scores random images too.
        assert said.metrics[4]["accuracy/validation"] == 1.5
        assert said.metrics[4]["accuracy/random"] == 3.5
        assert said.metrics[8]["accuracy/validation"] == 5.5

    def test_the_test_set_by_name(self, tmp_path: Path, cache: Path) -> None:
        _, said, _ = run(job({"every": 8, "on": "test", "epochs": 2}), tmp_path, cache)
        assert steps_of(said, "accuracy/test") == [8]
        share = said.metrics[8]["accuracy/test"] * DATASETS["digits"].test_size / 100
        assert share == pytest.approx(round(share))

    def test_the_best_coreset_is_read_once_where_it_is_a_control(self, tmp_path: Path, cache: Path) -> None:
        """It is worth more than random images, and no rule keeps an image that validates."""
        spec = job({"every": 4, "epochs": 60})
        spec["evaluation"] |= {"controls": ["best_coreset"], "repeats": 1, "epochs": 1, "teacher": TEACHER}
        _, said, _ = run(spec, tmp_path, cache)
        assert steps_of(said, "accuracy/best_coreset") == [4]
        assert said.metrics[4]["accuracy/best_coreset"] > said.metrics[4]["accuracy/random"]

    def test_a_teacher_labels_every_batch_on_the_way_too(
        self, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from ddcore.evaluation import during

        learned: list[tuple[bool, float]] = []

        def train(*arguments: Any, labeller: Any, **_: Any) -> None:
            learned.append((labeller is not None, arguments[4].temperature))

        monkeypatch.setattr(during, "train", train)
        spec = job({"every": 4, "epochs": 1})
        spec["evaluation"] |= {"labels": "online", "teacher": TEACHER}
        run(spec, tmp_path, cache)
        assert learned == [(True, 20.0)] * 3, "the images twice, and random ones"

    def test_better_images_score_better(self, tmp_path: Path, cache: Path) -> None:
        """Of a start from noise, which teaches nothing, and what it becomes."""
        spec = job({"every": 1, "epochs": 60}, iterations=2, init="noise")
        _, early, _ = run(spec, tmp_path / "early", cache)
        spec = job({"every": 120, "epochs": 60}, iterations=120, init="noise")
        _, late, _ = run(spec, tmp_path / "late", cache)
        assert late.metrics[120]["accuracy/validation"] > early.metrics[1]["accuracy/validation"] + 10


class TestAtGivenSteps:
    def test_only_these_and_only_the_images(self, tmp_path: Path, cache: Path) -> None:
        _, said, _ = run(job({"at": [0, 3, 8], "epochs": 2, "networks": 2}), tmp_path, cache)
        assert steps_of(said, "accuracy/validation") == [0, 3, 8]
        assert steps_of(said, "accuracy/random") == []

    def test_the_deviation_is_that_over_the_networks(
        self, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from ddcore.evaluation import during

        values = iter([50.0, 54.0, 55.0])
        monkeypatch.setattr(during, "accuracy", lambda *_, **__: next(values))
        _, said, _ = run(job({"at": [8], "epochs": 1, "networks": 3}), tmp_path, cache)
        assert said.metrics[8]["accuracy/validation"] == 53
        assert said.metrics[8]["accuracy/validation/deviation"] == pytest.approx(math.sqrt((9 + 1 + 4) / 2))

    def test_one_network_has_no_deviation(self, tmp_path: Path, cache: Path) -> None:
        _, said, _ = run(job({"at": [8], "epochs": 1}), tmp_path, cache)
        assert "accuracy/validation/deviation" not in said.metrics[8]

    def test_a_coreset_is_scored_as_it_is(self, tmp_path: Path, cache: Path) -> None:
        spec = job({"at": [0], "epochs": 60}) | {"method": "random"}
        _, said, _ = run(spec, tmp_path, cache)
        assert said.metrics[0]["accuracy/validation"] > 30

    @pytest.mark.parametrize(
        ("during", "code", "says"),
        [
            ({"at": [2], "every": 2}, "value_error", "leave one of them out"),
            ({"at": []}, "value_error", "steps from 0 on"),
            ({"at": [4, 2]}, "value_error", "rising, got [4, 2]"),
            ({"at": [-1]}, "value_error", "got [-1]"),
            ({"at": [2, 9]}, "beyond_the_end", "choose 0 to 8"),
            ({"held_out": True, "on": "test"}, "value_error", "leave one of them out"),
        ],
    )
    def test_what_cannot_be(self, during: dict[str, Any], code: str, says: str) -> None:
        with pytest.raises(SpecError) as caught:
            parse(job(during))
        (problem,) = caught.value.problems
        assert problem.code == code
        assert says in problem.detail


class TestHeldOut:
    def test_the_method_and_the_controls_do_not_see_them(
        self, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        engines = []
        original = Engine.run

        def noted(self: Any, out: Path) -> Any:
            engines.append(self)
            return original(self, out)

        monkeypatch.setattr(Engine, "run", noted)
        for seed, held_out in ((0, True), (1, True), (0, False)):
            spec = job({"at": [4], "epochs": 1, "held_out": held_out}, iterations=4, seed=seed)
            run(spec, tmp_path / f"{seed} {held_out}", cache)
        first, second, plain = engines
        tested = first.during._tested[0]
        # The same ones for every seed, and of each class as large a share.
        assert torch.equal(tested, second.during._tested[0])
        counts = torch.bincount(first.during._tested[1]).tolist()
        assert counts == [round(count / 10) for count in plain.prepared.whole.dataset.class_counts]
        left = {image.numpy().tobytes() for image in first.prepared.whole.dataset.train.images}
        whole = [image.numpy().tobytes() for image in plain.prepared.whole.dataset.train.images]
        held = {image.numpy().tobytes() for image in tested}
        twice = {image for image in whole if whole.count(image) > 1}
        assert left | held == set(whole)
        assert left & held <= twice
        assert len(first.prepared.whole.dataset.train) + len(tested) == len(whole)
        # Another set for caches, the same one for readers of the manifest, in the same units.
        assert (
            first.prepared.whole.dataset.digest
            == second.prepared.whole.dataset.digest
            != plain.prepared.whole.dataset.digest
        )
        manifests = [
            json.loads((tmp_path / name / "out" / "manifest.json").read_text())["dataset"]
            for name in ("0 True", "0 False")
        ]
        assert manifests[0] == manifests[1]

    def test_the_best_coreset_may_keep_any_image_that_is_left(self, tmp_path: Path, cache: Path) -> None:
        spec = job({"every": 8, "epochs": 20, "held_out": True})
        spec["evaluation"] |= {"controls": ["best_coreset"], "repeats": 1, "epochs": 1, "teacher": TEACHER}
        _, said, _ = run(spec, tmp_path, cache)
        assert steps_of(said, "accuracy/best_coreset") == [8]

    def test_the_passes_are_those_that_are_made(self, tmp_path: Path) -> None:
        spec = job({"at": [2, 4], "epochs": 3, "held_out": True, "validation": 0.3}, iterations=4)
        spec["evaluation"] |= {"repeats": 1, "epochs": 1}
        passes: list[float] = []
        with counted(passes.append):
            run(spec, tmp_path / "run", tmp_path / "cache")
        parsed = parse(spec)
        sizes = parsed.evaluation.left_of(DataSizes.of(DATASETS["digits"]))
        assert sum(passes) == pytest.approx(Cost(parsed, sizes).passes(), rel=0.01)

    def test_more_images_than_are_left(self) -> None:
        smallest = DATASETS["digits"].smallest_class
        during = {"held_out": True, "validation": 0.5}
        assert parse(job(during, ipc=smallest // 2 - 1)).ipc
        with pytest.raises(SpecError, match="without the images held out"):
            parse(job(during, ipc=smallest - 1))


class TestCost:
    @pytest.mark.parametrize("dataset", ["digits", "cifar10"])
    @pytest.mark.parametrize("method", ["dm", "dsa", "mtt"])
    def test_a_tenth_of_the_job_by_default(self, dataset: str, method: str) -> None:
        spec = parse({"dataset": dataset, "ipc": 10, "method": method, "evaluation": {"during": {}}})
        cost = Cost(spec, DataSizes.of(DATASETS[dataset]))
        assert 1 <= len(cost.looks) <= 20
        assert cost.looks[-1] == spec.method.iterations
        assert len(cost.looks) == 1 or cost.passes() <= 1.1 * cost.passes_without_looks

    def test_it_is_in_the_estimate_and_decides_nothing_else(self) -> None:
        sizes = DataSizes.of(DATASETS["digits"])
        plain, looked = (Cost(parse(job(during)), sizes) for during in (None, {"every": 1, "networks": 3}))
        assert looked.passes("distilling") > plain.passes("distilling")
        assert looked.passes_without_looks == plain.passes() == plain.passes_without_looks
        assert looked.probe == plain.probe

    @pytest.mark.parametrize("controls", [[], ["best_coreset"]], ids=["no control", "best coreset"])
    def test_the_passes_are_those_that_are_made(self, controls: list[str], tmp_path: Path) -> None:
        sizes = DataSizes.of(DATASETS["digits"])
        specs = [job(during, iterations=4) for during in (None, {"every": 2, "epochs": 3})]
        for spec in specs:
            spec["evaluation"] |= {"controls": controls, "repeats": 1, "epochs": 1, "teacher": TEACHER}
        made = []
        for number, spec in enumerate(specs):
            passes: list[float] = []
            with counted(passes.append):
                run(spec, tmp_path / str(number), tmp_path / f"cache {number}")
            made.append(sum(passes))
        predicted = [Cost(parse(spec), sizes).passes() for spec in specs]
        assert made[1] - made[0] == pytest.approx(predicted[1] - predicted[0], rel=0.01)


def looked(*accuracies: float, **fields: Any) -> During:
    """Scorings after steps 1, 2, …"""
    found = During.__new__(During)
    found._config = DuringConfig(**fields)
    found.looks = [Look(step, accuracy) for step, accuracy in enumerate(accuracies, start=1)]
    return found


class TestPlateau:
    def test_it_takes_patience(self) -> None:
        assert not looked(10, 9, 9, stop="plateau", patience=3).plateau
        assert looked(10, 9, 9, 10, stop="plateau", patience=3).plateau
        assert not looked(10, 9, 9, 11, stop="plateau", patience=3).plateau
        assert not looked(stop="plateau").plateau
        assert not looked(10, 9, 9, 9, 9).plateau

    def test_it_ends_the_job_with_its_reason(
        self, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from ddcore.evaluation import during

        monkeypatch.setattr(during, "accuracy", lambda *_, **__: 50.0)
        spec = job({"every": 2, "stop": "plateau", "patience": 2, "epochs": 1}, iterations=40)
        result, said, images = run(spec, tmp_path / "stopped", cache)
        assert result.steps == 6
        assert any("ends at step 6" in line and "plateau" in line for line in said.logs)
        assert {2, 4, 6} <= set(said.metrics)
        assert 6 in said.checkpoints
        _, _, expected = run(job(None, iterations=6), tmp_path / "short", cache)
        assert torch.equal(images, expected)


class TestBest:
    def test_the_images_of_that_step_are_delivered(
        self, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from ddcore.evaluation import during

        # The second number is that of random real images, which are scored once.
        told = iter([30.0, 0.0, 70.0, 50.0, 60.0])
        monkeypatch.setattr(during, "accuracy", lambda *_, **__: next(told))
        spec = job({"every": 2, "checkpoint": "best", "epochs": 1})
        result, said, images = run(spec, tmp_path / "best", cache)
        assert (result.results.checkpoint, result.results.at_step, result.steps) == ("best", 4, 8)
        assert any("step 4" in line for line in said.logs)
        _, _, expected = run(job(None, iterations=4), tmp_path / "four", cache)
        assert torch.equal(images, expected)

    def test_an_interrupted_run_remembers_it(self, tmp_path: Path, cache: Path) -> None:
        from ddcore.errors import Interrupted

        spec = job({"every": 1, "checkpoint": "best", "epochs": 3})
        whole, said, images = run(spec, tmp_path / "whole", cache)
        parts = [Recorder(stop_after=3), Recorder(stop_after=6)]
        for part in parts:
            with pytest.raises(Interrupted):
                engine.run(
                    parse(spec), tmp_path / "parts" / "out", run_dir=tmp_path / "parts" / "run", cache=cache,
                    callback=part,
                )  # fmt: skip
        resumed, last, same = run(spec, tmp_path / "parts", cache)
        assert parts[0].metrics | parts[1].metrics | last.metrics == said.metrics
        assert resumed.results.at_step == whole.results.at_step
        assert torch.equal(same, images)


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"method": "random", "evaluation": {"during": {}}}, "/evaluation/during"),
        ({"method": "seqmatch", "ipc": 10, "evaluation": {"during": {"checkpoint": "best"}}}, "checkpoint"),
        ({"evaluation": {"during": {"every": 0}}}, "every"),
        ({"evaluation": {"during": {"validation": 0}}}, "validation"),
        ({"evaluation": {"during": {"on": "train"}}}, "on"),
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, Any], pointer: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse({"dataset": "digits", "ipc": 1, "method": "dm", **fields})
    assert any(pointer in problem.pointer for problem in caught.value.problems)
