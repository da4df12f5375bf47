"""The loop: resumption, early ends, failures, and what a user is told."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch._inductor.exc import CppCompileError

import ddcore
from ddcore import engine
from ddcore.data import sources
from ddcore.engine.preparation import check
from ddcore.errors import (
    CheckpointError,
    CompilerError,
    ConfigurationError,
    DivergedError,
    Interrupted,
    OutOfMemoryError,
)
from ddcore.runtime.callback import Callback, Stop
from ddcore.runtime.checkpoint import newest_valid, save_checkpoint
from ddcore.spec import SpecError, parse
from ddcore.spec.cost import Cost
from ddcore.synthetic.decoders import Mosaic
from ddcore.training.trainer import train
from tests.ddcore.recorder import Recorder

RunJob = Callable[..., engine.Result]
"""Run a small job with an observer, in a folder of its own; keywords are fields of the specification."""
SMALL: dict[str, Any] = {
    "dataset": "digits",
    "ipc": 2,
    "method": {"name": "dm", "iterations": 8, "batch_real": 8},
    "network": {"name": "convnet", "width": 4, "depth": 2},
    "metrics": {"every": 3, "probe": "random"},
    "evaluation": {"repeats": 2, "epochs": 2, "audit": False},
    "checkpoints": {"every": 4},
}


@pytest.fixture
def run(tmp_path: Path, cache: Path) -> RunJob:
    def run_job(callback: Callback | None = None, folder: str = "a", **fields: Any) -> engine.Result:
        spec = parse({**SMALL, **fields})
        return engine.run(spec, tmp_path / folder / "out", run_dir=tmp_path / folder, cache=cache, callback=callback)

    return run_job


def images(tmp_path: Path, folder: str = "a") -> torch.Tensor:
    return load_file(tmp_path / folder / "out" / "distilled.safetensors")["images"]


@pytest.mark.parametrize("choice", [None, "compiles", "takes_own_kernels"])
def test_more_steps_that_change_what_is_compiled_are_said_to(
    choice: str | None, run: RunJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    if choice is not None:
        monkeypatch.setattr(Cost, choice, lambda cost, device: cost.job.method.iterations > 4)
    run(method={**SMALL["method"], "iterations": 4})
    seen = Recorder()
    run(seen)
    assert [step for step, _ in seen.resumed] == [4]
    assert any("choose differently what to compile" in log for log in seen.logs) is (choice is not None)


def test_remarks_on_the_dataset_are_told(run: RunJob, monkeypatch: pytest.MonkeyPatch) -> None:
    found = sources.load("digits")
    remarked = replace(found, train=replace(found.train, remarks=("4 images were laid on white",)))
    monkeypatch.setattr(sources, "load", lambda *_: remarked)
    seen = Recorder()
    run(seen)
    assert "4 images were laid on white" in seen.logs


def test_metrics_come_at_the_start_every_so_often_and_at_the_end(run: RunJob) -> None:
    seen = Recorder()
    result = run(seen)
    assert list(seen.metrics) == [0, 1, 3, 6, 8]
    assert set(seen.metrics[0]) == {"mi_lower_bound", "cmi"}
    assert set(seen.metrics[3]) == {"loss", "mi_lower_bound", "cmi"}
    assert seen.checkpoints == [4, 8]
    assert list(seen.snapshots) == [0, 8]
    assert all(png.startswith(b"\x89PNG") for png in seen.snapshots.values())
    assert seen.phases == ["loading", "distilling", "evaluating", "finalizing"]
    assert result.results["probe"]["mi_lower_bound"] == seen.metrics[8]["mi_lower_bound"]


def test_metric_cadence_does_not_touch_the_result(run: RunJob, tmp_path: Path) -> None:
    run(folder="a")
    run(folder="b", metrics={"every": 1, "probe": "random"}, snapshots={"every": 1})
    assert torch.equal(images(tmp_path, "a"), images(tmp_path, "b"))


def test_regularisers_leave_the_draws_of_the_method_alone(run: RunJob) -> None:
    teacher = {"network": {"name": "convnet", "width": 4}, "epochs": 1}
    alone, beside = Recorder(), Recorder()
    run(alone, folder="a")
    run(beside, folder="b", regularizers=[{"name": "cmi", "weight": 0.0, "teacher": teacher}])
    assert [v.get("loss") for v in alone.metrics.values()] == [v.get("loss") for v in beside.metrics.values()]


TEACHER = {"network": {"name": "convnet", "width": 4}, "epochs": 1}
EVALUATIONS = {
    "plain": {},
    "everything": {
        "repeats": 1,
        "protocol": "idc",
        "labels": "soft",
        "teacher": TEACHER,
        "controls": ["herding", "full"],
        "full_images": 1500,
        "scores": ["label_robust", "augmentation_robust"],
    },
}


@pytest.mark.parametrize(("kind", "networks"), [("plain", 4), ("everything", 8)])
def test_an_interrupted_evaluation_does_not_train_finished_networks_again(
    kind: str, networks: int, run: RunJob, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fields = {"evaluation": {**SMALL["evaluation"], **EVALUATIONS[kind]}}
    whole = run(folder="whole", **fields)
    trained = 0

    def counting(*args: Any, **kwargs: Any) -> None:
        nonlocal trained
        trained += 1
        train(*args, **kwargs)

    monkeypatch.setattr("ddcore.evaluation.network_scorer.train", counting)

    class StopInEvaluation(Recorder):
        def should_stop(self) -> Stop | None:
            return Stop.CHECKPOINT if self.phases[-1] == "evaluating" and trained == 2 else None

    with pytest.raises(Interrupted) as stopped:
        run(StopInEvaluation(), **fields)
    assert stopped.value.step == 8
    assert stopped.value.checkpoint is not None
    result = run(Recorder(), **fields)
    assert trained == networks + 1
    assert result.results == whole.results
    bundles = [load_file(tmp_path / folder / "out" / "distilled.safetensors") for folder in ("a", "whole")]
    assert all(torch.equal(bundles[0][name], bundles[1][name]) for name in bundles[1])
    assert ("soft_labels" in bundles[1]) == (kind == "everything")


def test_a_network_to_score_that_does_not_fit_is_refused_before_distillation(run: RunJob) -> None:
    seen = Recorder()
    with pytest.raises(ConfigurationError, match="VGG-11"):
        run(seen, evaluation={"networks": ["convnet", "vgg11"]})
    assert seen.phases == ["loading"]


def test_the_teacher_of_an_evaluation_is_trained_before_distillation(run: RunJob) -> None:
    seen, teacher = Recorder(), {**TEACHER, "lr": 0.02}
    run(seen, evaluation={"repeats": 1, "epochs": 1, "labels": "soft", "teacher": teacher})
    assert seen.phases == ["loading", "pretraining", "distilling", "evaluating", "finalizing"]


@pytest.mark.parametrize("steps", [0, 3])
def test_finishing_early_keeps_the_images_unscored(run: RunJob, tmp_path: Path, steps: int) -> None:
    evaluation = {**SMALL["evaluation"], "labels": "soft", "teacher": TEACHER}
    result = run(Recorder(stop_after=steps, how=Stop.FINALIZE), evaluation=evaluation)
    assert load_file(tmp_path / "a" / "out" / "distilled.safetensors")["soft_labels"].shape == (20, 10)
    assert (result.steps, result.results["accuracy"]) == (steps, None)
    manifest = json.loads((tmp_path / "a" / "out" / "manifest.json").read_text())
    assert manifest["results"]["steps"] == steps
    assert len(images(tmp_path)) == 20


def test_a_run_that_goes_on_with_another_probe_says_so(run: RunJob, monkeypatch: pytest.MonkeyPatch) -> None:
    first, again = Recorder(stop_after=4), Recorder()
    with pytest.raises(Interrupted):
        run(first)
    monkeypatch.setattr("ddcore.evaluation.probe.digest_of", lambda *_: "pr_of_elsewhere")
    assert run(again).results["probe"]["digest"] == "pr_of_elsewhere"
    (told,) = [message for message in again.logs if "pr_of_elsewhere" in message]
    assert told.startswith("from step 4 on `mi_lower_bound` and `cmi` are read with the probe pr_of_elsewhere")


def test_a_checkpoint_of_another_job_is_refused(run: RunJob) -> None:
    with pytest.raises(Interrupted):
        run(Recorder(stop_after=2))
    with pytest.raises(CheckpointError, match="another specification"):
        run(seed=1)


def respelt(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Make the newest checkpoint one of a version that spelt its job otherwise."""
    checkpoint, _ = newest_valid(folder)
    assert checkpoint is not None
    job = copy.deepcopy(checkpoint.facts["job"])
    change(job)
    facts = {**checkpoint.facts, "spec": "of other fields", "job": job}
    save_checkpoint(folder, replace(checkpoint, facts=facts), keep=1)


def test_a_run_goes_on_after_an_upgrade_that_brought_new_fields(run: RunJob, tmp_path: Path) -> None:
    """A checkpoint that knows nothing of a field is of a job that has its default."""
    run(folder="whole")
    with pytest.raises(Interrupted):
        run(Recorder(stop_after=4))
    respelt(tmp_path / "a" / "checkpoints", lambda job: [job["evaluation"].pop("cutmix"), job.pop("whitening")])
    seen = Recorder()
    run(seen)
    assert seen.resumed == [(4, True)]
    assert torch.equal(images(tmp_path), images(tmp_path, "whole"))


@pytest.mark.parametrize(
    "change",
    [
        lambda job: job["method"].update(batch_real=7),
        lambda job: job["method"].update(of_a_later_version=1),
        lambda job: job.pop("dataset"),
    ],
)
def test_a_checkpoint_of_a_job_that_differs_is_refused_after_an_upgrade_too(
    run: RunJob, tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    with pytest.raises(Interrupted):
        run(Recorder(stop_after=4))
    respelt(tmp_path / "a" / "checkpoints", change)
    with pytest.raises(CheckpointError, match="another specification"):
        run()


def test_a_checkpoint_of_other_images_is_refused(run: RunJob, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        run(Recorder(stop_after=4))
    folder = tmp_path / "a" / "checkpoints"
    checkpoint, _ = newest_valid(folder)
    assert checkpoint is not None
    facts = {**checkpoint.facts, "spec": "of other fields", "data": "of other images"}
    save_checkpoint(folder, replace(checkpoint, facts=facts), keep=1)
    with pytest.raises(CheckpointError, match="another specification or dataset"):
        run()


def test_a_damaged_checkpoint_falls_back_and_ends_alike(run: RunJob, tmp_path: Path) -> None:
    run(folder="whole")
    with pytest.raises(Interrupted):
        run(Recorder(stop_after=6))
    newest = max((tmp_path / "a" / "checkpoints").iterdir())
    newest.write_bytes(newest.read_bytes()[:-1])
    seen = Recorder()
    run(seen)
    assert seen.resumed == [(4, True)]
    assert any("damaged" in line for line in seen.logs)
    assert torch.equal(images(tmp_path, "a"), images(tmp_path, "whole"))


@pytest.mark.parametrize("lr", [1e30, 3e38])
def test_a_learning_rate_that_explodes_stops_with_the_reason_and_keeps_the_last_finite_state(
    run: RunJob, tmp_path: Path, lr: float
) -> None:
    seen = Recorder()
    with pytest.raises(DivergedError, match=r"became (nan|inf|NaN).*step \d+.*lr_img"):
        run(seen, method={"name": "dm", "iterations": 60, "batch_real": 8, "lr_img": lr}, checkpoints={"every": 1})
    kept, _ = newest_valid(tmp_path / "a" / "checkpoints")
    assert kept is None or bool(torch.isfinite(kept.part("synthetic")["images/value"]).all())
    assert (kept.step if kept else 0) == len(seen.checkpoints)


def test_running_out_of_memory_names_the_knobs(run: RunJob, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("tried to allocate 1 GiB")

    monkeypatch.setattr("ddcore.methods.dm.DM.backward", exhausted)
    with pytest.raises(OutOfMemoryError, match="batch_real"):
        run()


def test_a_pass_that_cannot_be_compiled_names_the_way_out(run: RunJob, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise CppCompileError(["g++"], "/var/once.h:3: fatal error: /var/twice.h: No such file or directory")

    monkeypatch.setattr("ddcore.methods.dm.DM.backward", broken)
    with pytest.raises(CompilerError, match=r"\(once.h:3: fatal error: twice.h: No .*directory\); `compile: off`"):
        run()


def test_more_images_than_the_smallest_class_are_refused_by_name(run: RunJob) -> None:
    spec = parse({**SMALL, "ipc": 2})
    too_many = spec.model_copy(update={"ipc": 100_000})
    with pytest.raises(ConfigurationError, match=r"class '\d' of digits has \d+ training images"):
        check(too_many, sources.load("digits", None, None))


def test_without_repeats_nothing_is_scored(run: RunJob) -> None:
    result = run(evaluation={"repeats": 0})
    assert result.results["accuracy"] is None


def test_noise_can_be_the_start(run: RunJob, tmp_path: Path) -> None:
    run(init="noise", method={"name": "dm", "iterations": 1, "batch_real": 8, "lr_img": 1e-6})
    assert images(tmp_path).min() < -0.2


def test_distill_is_one_call(tmp_path: Path, cache: Path) -> None:
    fields = {key: value for key, value in SMALL.items() if key != "dataset"}
    result = ddcore.distill("digits", tmp_path / "set", cache=cache, **fields)
    assert (tmp_path / "set" / "manifest.json").is_file()
    assert result.results["accuracy"]["networks"] == 2


def test_a_bounded_decoder_delivers_all_images_in_the_end(run: RunJob, tmp_path: Path) -> None:
    seen = Recorder()
    decoder = {"name": "mosaic", "scales": "bound", "bound": 5}
    result = run(seen, decoder=decoder, evaluation={"repeats": 1, "epochs": 1})
    assert images(tmp_path).shape == (10 * 2 * 4, 1, 8, 8)
    assert result.results["accuracy"]["networks"] == 1
    content = ddcore.bundle.read(tmp_path / "a" / "out")
    assert content.stored is not None
    decoded = Mosaic(2, (1, 8, 8)).decode(content.stored, 2)
    torch.testing.assert_close(content.images, decoded, rtol=1e-5, atol=1e-6)
    assert content.labels.bincount().tolist() == [8] * 10


def test_more_tiles_than_a_class_has_images_are_refused(run: RunJob) -> None:
    with pytest.raises(SpecError, match=r"`ipc` is 40 of 4 tiles, but .* 141 .* `init` is 'k_means'; choose 1 to 35"):
        run(ipc=40, decoder="mosaic", init="k_means")
