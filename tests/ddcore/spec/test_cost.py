"""The cost model against the engine: passes counted, memory measured, networks built."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from typing_extensions import override

from ddcore import engine
from ddcore.data import sources
from ddcore.machine.compute import Compute
from ddcore.runtime.assembly import choose_compute
from ddcore.runtime.callback import Callback
from ddcore.spec import (
    DATASETS,
    METHODS,
    JobSpec,
    MLPConfig,
    NetworkConfig,
    RegularizerConfig,
    all_presets,
    parse,
    probe,
)
from ddcore.spec.cost import Cost, networks_trained, pools, reports
from ddcore.spec.probe import probe_images_trained_on, probe_training
from ddcore.spec.weight_files import completed
from ddcore.spec.work import DataSizes, Load
from tests.ddcore.counting import Passes, counted
from tests.ddcore.memory import PeakMemory
from tests.ddcore.weights import OURS, train_ours

CIFAR10 = DataSizes.of(DATASETS["cifar10"])
DM = {"dataset": "cifar10", "ipc": 10, "method": {"name": "dm", "iterations": 100}, "evaluation": {"repeats": 0}}

CAPS = {
    "iterations": 4, "steps_per_network": 3, "student_steps": 3, "inner_loop": 2, "network_steps": 2, "window": 3,
    "train_images": 128, "max_start": 1, "early_start": 1, "count": 2, "epochs": 1, "repeats": 1, "pool": 2,
}  # fmt: skip
"""What a preset is cut down to, for the prediction and the run alike: whatever makes it long, and nothing else."""
SMALL = {"name": "convnet", "width": 32}
"""For what is not about a preset: passes are counted and bytes measured whatever the width."""
PASSES_TOLERANCE = 0.01
MEMORY_TOLERANCE = 0.3


@pytest.fixture
def short_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trains the probe for ten steps instead of 430, of which every job has its share of passes."""
    monkeypatch.setattr(probe, "MOST_IMAGES_SEEN", 320)


def cut(value: Any) -> Any:
    """The fields of a job with its iterations, epochs and networks capped, at whatever depth they are."""
    if isinstance(value, dict):
        return {key: min(v, CAPS[key]) if key in CAPS and type(v) is int else cut(v) for key, v in value.items()}
    return [cut(item) for item in value] if isinstance(value, (list, tuple)) else value


def short(preset: str, **fields: Any) -> JobSpec:
    """A ``quick`` preset that takes a second, in float32 on a CPU."""
    return parse({**cut(all_presets()[preset].job), "precision": "fp32", "compile": "off", "device": "cpu", **fields})


def predicted(job: JobSpec) -> Cost:
    return Cost(job, DataSizes.of(DATASETS[job.dataset]))


def measured(job: JobSpec, folder: Path) -> tuple[Passes, int]:
    """Image passes by phase of a run, and the bytes of tensors that it has at its peak."""
    seen = Passes()
    with counted(seen.note), PeakMemory() as memory:
        engine.run(job, folder / "out", run_dir=folder / "run", cache=folder / "cache", callback=seen)
    return seen, memory.peak


def check(job: JobSpec, folder: Path) -> None:
    """Hold the passes of every phase, and the peak of memory, against a run."""
    expected, (seen, peak) = predicted(job), measured(job, folder)
    # Between two phases, so that the sum alone can be held against it.
    labelled = job.evaluation.labels in ("soft", "stored")
    for phase in () if labelled else ("pretraining", "distilling", "evaluating"):
        assert expected.passes(phase) == pytest.approx(seen.passes[phase], rel=PASSES_TOLERANCE), phase
    assert sum(seen.passes.values()) == pytest.approx(expected.passes(), rel=PASSES_TOLERANCE)
    assert expected.peak_bytes == pytest.approx(peak, rel=MEMORY_TOLERANCE)


@pytest.mark.usefixtures("plain_map", "short_probe")
@pytest.mark.parametrize("preset", [name for name in all_presets() if name.startswith("quick/")])
def test_passes_and_memory_of_every_quick_preset_are_predicted(preset: str, tmp_path: Path) -> None:
    check(short(preset), tmp_path)


@pytest.mark.usefixtures("plain_map", "short_probe")
@pytest.mark.parametrize(
    ("preset", "fields"),
    [
        ("dm", {"metrics": {"every": 2, "probe": "random"}}),
        ("dm", {"ipc": 30, "regularizers": {"bacon": 1}, "decoder": "mosaic"}),
        ("dsa", {"ipc": 20, "regularizers": {"iid": {"weight": 1, "centralization": 0}}}),
        ("dsa", {"sampler": {"name": "representative", "interval": 2, "candidates": 100}}),
        ("idc", {"ipc": 6, "decoder": {"name": "mosaic", "factor": 3, "scales": "bound", "bound": 20}}),
        (
            "pdd",
            {
                "method": {"name": "pdd", "iterations": 4, "epochs": 1, "pool": 2, "base": "idc"},
                "evaluation": {"protocol": "pdd", "lr": 0.01, "epochs": 1, "repeats": 1},
            },
        ),
        ("mtt", {"method": {**cut(all_presets()["quick/mtt-digits"].job["method"]), "batch_syn": 8, "labels": "soft"}}),
        ("bptt", {"regularizers": {"mim": {"weight": 1, "path": "unrolled"}}}),
        (
            "random",
            {
                "evaluation": {
                    "repeats": 1, "epochs": 1, "labels": "soft", "controls": ["herding", "best_coreset", "full"],
                },
            },
        ),
        ("random", {"evaluation": {"repeats": 1, "epochs": 2, "tests": 2, "controls": ["random", "best_coreset"]}}),
        (
            "random",
            {"evaluation": {"repeats": 1, "epochs": 1, "labels": "soft", "eight_bit": True, "worth": {"sizes": 6}}},
        ),
        ("random", {"evaluation": {"repeats": 1, "epochs": 1, "scores": ["label_robust", "augmentation_robust"]}}),
        (
            "random",
            {
                "evaluation": {
                    "repeats": 1, "epochs": 2, "labels": "online", "controls": ["random", "best_coreset"],
                    "eight_bit": True, "worth": {"sizes": 2}, "scores": ["augmentation_robust"],
                    "teacher": {"network": {"name": "convnet", "width": 16}, "epochs": 1},
                },
            },
        ),
        ("random", {"evaluation": {"repeats": 1, "epochs": 4, "tests": 2, "networks": ["mlp", "convnet"]}}),
        (
            "random",
            {
                "evaluation": {
                    "repeats": 2, "epochs": 3, "labels": "stored", "stored_epochs": 2, "eight_bit": True,
                    "controls": ["random", "full"], "worth": {"sizes": 2}, "scores": ["augmentation_robust"],
                    "teacher": {"network": {"name": "convnet", "width": 16}, "epochs": 1},
                    "other_teachers": [{"network": {"name": "convnet", "width": 8}, "epochs": 2}],
                },
            },
        ),
        (
            "linear_gradient",
            {
                "ipc": 30,
                "evaluation": {
                    "protocol": "linear_probe", "repeats": 1, "epochs": 2, "during": {"every": 1, "epochs": 1},
                    "worth": {"sizes": 2}, "teacher": {"network": {"name": "convnet", "width": 16}, "epochs": 1},
                },
            },
        ),
    ],
)  # fmt: skip
def test_so_are_those_of_what_no_quick_preset_does(preset: str, fields: dict[str, Any], tmp_path: Path) -> None:
    """Teachers of the probe, shared real features, clusterings, bounded mosaics, stages of a sweep, soft labels, …"""
    check(short(f"quick/{preset}-digits", **{"network": SMALL, **fields}), tmp_path)


@pytest.mark.usefixtures("short_probe", "plain_map")
def test_so_are_those_of_a_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules choose by its features, classifiers are put on them, and it sees images twice as large as they are."""
    train_ours(sources.load("digits", None, None), tmp_path, classes=10, size=16, width=16, norm="instance")
    monkeypatch.setenv("DD_BACKBONES_DIR", str(tmp_path))
    backbone = {"weights": "ours", "network": {**OURS, "width": 16, "norm": "instance"}, "size": 16}
    job = short(
        "quick/linear_gradient-digits",
        ipc=12,
        network=SMALL,
        method={"name": "linear_gradient", "iterations": 4, "views": 1, "backbone": backbone},
        evaluation={
            "protocol": "linear_probe", "repeats": 1, "epochs": 2, "during": {"every": 2, "epochs": 1},
            "controls": ["random", "herding", "best_coreset"], "backbone": backbone,
        },
    )  # fmt: skip
    check(completed(job, tmp_path), tmp_path)


class Pixels(RegularizerConfig):
    """A term without a network."""

    name: Literal["pixels"] = "pixels"


class Glances(RegularizerConfig):
    """A term that looks at every synthetic image through a network of its own."""

    name: Literal["glances"] = "glances"

    @override
    def image_passes(self, job: JobSpec, load: Load) -> Iterator[tuple[NetworkConfig, float]]:
        yield MLPConfig(), load.synthetic


def with_term(term: RegularizerConfig) -> Cost:
    return Cost(parse(DM).model_copy(update={"regularizers": (term,)}), CIFAR10)


def test_a_regulariser_is_charged_for_what_it_says_alone() -> None:
    plain, free, glances = Cost(parse(DM), CIFAR10), with_term(Pixels()), with_term(Glances())
    assert free.flop == plain.flop
    assert glances.passes() - plain.passes() == 100 * 100
    assert glances.flop - plain.flop == 100 * 100 * MLPConfig().flop((3, 32, 32), 10)


def test_one_pool_serves_all_who_ask_for_it() -> None:
    teacher = {"epochs": 3, "pool": 5}
    terms = [{"name": name, "weight": 1, "teacher": teacher} for name in ("mim", "cmi")]
    alone, both = (parse({**DM, "regularizers": regularizers}) for regularizers in (terms[:1], terms))
    assert networks_trained(alone) == networks_trained(both) == 5
    assert Cost(alone, CIFAR10).passes("pretraining") == Cost(both, CIFAR10).passes("pretraining")
    scored = parse({**DM, "method": "herding", "evaluation": {"repeats": 1, "labels": "soft"}})
    assert sum(pools(scored).values()) == 2


def test_reports_are_those_of_the_engine() -> None:
    for steps in range(30):
        for every in range(1, 12):
            shown = {step for step in range(1, steps + 1) if step in (1, steps) or step % every == 0}
            assert reports(steps, every) == len(shown)


def test_every_job_on_a_dataset_reads_with_its_trained_probe_unless_it_names_another() -> None:
    terms = {"mim": 1, "cmi": 1, "iid": {"weight": 1, "teacher": {"pool": 100}}}
    jobs: list[dict[str, Any]] = [{}, {"regularizers": terms}, {"method": "random"}, {"metrics": {"probe": "teacher"}}]
    assert {Cost(parse({**DM, **fields}), CIFAR10).probe for fields in jobs} == {"teacher"}
    assert Cost(parse({**DM, "metrics": {"probe": "random"}}), CIFAR10).probe == "random"


def test_training_the_probe_is_bounded_however_large_the_dataset_is() -> None:
    """At most 10 epochs and 100,000 images; what is read and calibrated with is not trained on."""
    small, large = DataSizes((1, 8, 8), (100, 120), 10), DataSizes((3, 32, 32), (300_000,) * 10, 10)
    assert (probe_training(small).epochs, probe_images_trained_on(small)) == (10, 220 - 2 * 10 - 2 * 20)
    assert (probe_training(large).epochs, probe_images_trained_on(large)) == (1, 100_000)


@pytest.mark.usefixtures("short_probe")
def test_the_engine_chooses_by_this_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    choose = Compute.choose

    def noted(*args: Any, **fields: Any) -> Compute:
        asked.update(fields)
        return choose(*args, **fields)

    monkeypatch.setattr(Compute, "choose", noted)
    job = short("quick/dm-mim-cmi-digits")
    result = engine.run(job, tmp_path / "out", run_dir=tmp_path / "run")
    expected = predicted(job)
    assert expected.audited
    without = predicted(job.model_copy(update={"evaluation": job.evaluation.model_copy(update={"audit": False})}))
    macs = asked["expected_images_forwarded"] * asked["macs_per_image"]
    assert macs == pytest.approx(without.flop / 2, rel=1e-3)
    assert result.results["probe"]["network"] == expected.probe


@pytest.mark.parametrize(
    ("compile_", "kinds"),
    [
        ("auto", [(False, False), (False, True), (True, True)]),
        ("on", [(True, True)] * 3),
        ("off", [(False, False)] * 3),
    ],
)
def test_what_the_engine_compiles_is_foreseen(
    compile_: str, kinds: list[tuple[bool, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By jobs of about 1, 15 and 150 eager seconds."""
    monkeypatch.setattr("ddcore.machine.compute.missing_compiler", lambda device: None)
    for steps, kind in zip((100, 2_000, 20_000), kinds, strict=True):
        fields = {"compile": compile_, "device": "cpu", "network": {"name": "convnet", "width": 32}}
        fields["evaluation"] = {"repeats": 0, "audit": False}
        job = short("quick/dm-digits", **fields, method={"name": "dm", "iterations": steps})
        cost = predicted(job)
        chosen = choose_compute(job, cost, None, Callback())
        assert (cost.compiles("cpu"), cost.takes_own_kernels("cpu")) == kind
        assert (chosen.compiled, chosen.own_kernels) == kind


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_has_a_cost_that_grows_with_its_steps(name: str) -> None:
    def passes(iterations: int) -> float:
        job = {"dataset": "cifar10", "ipc": 2, "method": {"name": name, "iterations": iterations}}
        found = Cost(parse(job), CIFAR10)
        assert math.isfinite(found.flop)
        assert found.peak_bytes > 60_000 * 3072
        return found.passes("distilling")

    if METHODS[name].model_fields["iterations"].default:
        assert passes(400) > 1.5 * passes(200) > 0
    else:
        assert passes(0) == 0
