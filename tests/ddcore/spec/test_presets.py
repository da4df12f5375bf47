"""Presets: one for each published figure, each a valid job that is what its name says."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ddcore.spec import (
    DATASETS,
    METHODS,
    REGULARIZERS,
    CAFEConfig,
    CMIConfig,
    DMConfig,
    FeatureCoresetConfig,
    GradientMatchingConfig,
    IIDConfig,
    JobSpec,
    QueueMatchingConfig,
    RatBPTTConfig,
    SpecError,
    TrajectoryConfig,
    all_presets,
    parse,
)
from ddcore.spec.presets import _completed

ROOT = Path(__file__).parents[3]
FIGURES = {
    "random mnist": "1: 64.9±3.5, 10: 95.1±0.9, 50: 97.9±0.2",
    "random fashion_mnist": "1: 51.4±3.8, 10: 73.8±0.7, 50: 82.5±0.7",
    "random svhn": "1: 14.6±1.6, 10: 35.1±4.1, 50: 70.9±0.9",
    "random cifar10": "1: 14.4±2.0, 10: 26.0±1.2, 50: 43.4±1.0",
    "random cifar100": "1: 4.2±0.3, 10: 14.6±0.5, 50: 30.0±0.4",
    "herding mnist": "1: 89.2±1.6, 10: 93.7±0.3, 50: 94.8±0.2",
    "herding fashion_mnist": "1: 67.0±1.9, 10: 71.1±0.7, 50: 71.9±0.8",
    "herding svhn": "1: 20.9±1.3, 10: 50.5±3.3, 50: 72.6±0.8",
    "herding cifar10": "1: 21.5±1.2, 10: 31.6±0.7, 50: 40.4±0.6",
    "herding cifar100": "1: 8.4±0.3, 10: 17.3±0.3, 50: 33.7±0.5",
    "k_center mnist": "1: 89.3±1.5, 10: 84.4±1.7, 50: 97.4±0.3",
    "k_center fashion_mnist": "1: 66.9±1.8, 10: 54.7±1.5, 50: 68.3±0.8",
    "k_center svhn": "1: 21.0±1.5, 10: 14.0±1.3, 50: 20.1±1.4",
    "k_center cifar10": "1: 21.5±1.3, 10: 14.7±0.9, 50: 27.0±1.4",
    "dc mnist": "1: 91.7±0.5, 10: 97.4±0.2, 50: 98.8±0.2",
    "dc fashion_mnist": "1: 70.5±0.6, 10: 82.3±0.4, 50: 83.6±0.4",
    "dc svhn": "1: 31.2±1.4, 10: 76.1±0.6, 50: 82.3±0.3",
    "dc cifar10": "1: 28.3±0.5, 10: 44.9±0.5, 50: 53.9±0.5",
    "dc cifar100": "1: 12.8±0.3, 10: 25.2±0.3",
    "dsa mnist": "1: 88.7±0.6, 10: 97.8±0.1, 50: 99.2±0.1",
    "dsa fashion_mnist": "1: 70.6±0.6, 10: 84.6±0.3, 50: 88.7±0.2",
    "dsa svhn": "1: 27.5±1.4, 10: 79.2±0.5, 50: 84.4±0.4",
    "dsa cifar10": "1: 28.8±0.7, 10: 52.1±0.5, 50: 60.6±0.5",
    "dsa cifar100": "1: 13.9±0.3, 10: 32.3±0.3, 50: 42.8±0.4",
    "datm cifar10": "1: 46.9±0.5, 10: 66.8±0.2, 50: 76.1±0.3, 500: 83.5±0.2, 1000: 85.5±0.4",
    "datm cifar100": "1: 27.9±0.2, 10: 47.2±0.4, 50: 55.0±0.2, 100: 57.5±0.2",
    "pad cifar10": "1: 47.2±0.6, 10: 67.4±0.3, 50: 77.0±0.5, 500: 84.6±0.3, 1000: 86.7±0.2",
    "pad cifar100": "1: 28.4±0.5, 10: 47.8±0.2, 50: 55.9±0.3, 100: 58.5±0.3",
    "fadrm cifar100": "1: 31.8, 10: 67.4, 50: 71.0",
    "dm mnist": "1: 89.7±0.6, 10: 97.5±0.1, 50: 98.6±0.1",
    "dm svhn": "1: 21.6, 10: 72.8±0.3, 50: 82.6±0.5",
    "dm cifar10": "1: 26.0±0.8, 10: 48.9±0.6, 50: 63.0±0.4, 100: 67.0±0.3, 200: 71.2±0.4, 500: 76.1±0.3, "
    "1000: 79.8±0.3, 1250: 80.8±0.3",
    "dm cifar100": "1: 11.4±0.3, 10: 29.7±0.3, 50: 43.6±0.4",
    "cafe mnist": "1: 93.1±0.3, 10: 97.2±0.2, 50: 98.6±0.2",
    "cafe fashion_mnist": "1: 77.1±0.9, 10: 83.0±0.4, 50: 84.8±0.4",
    "cafe svhn": "1: 42.6±3.3, 10: 75.9±0.6, 50: 81.3±0.3",
    "cafe cifar10": "1: 30.3±1.1, 10: 46.3±0.6, 50: 55.5±0.6",
    "cafe cifar100": "1: 12.9±0.3, 10: 27.8±0.3, 50: 37.9±0.3",
    "cafe_dsa mnist": "1: 90.8±0.5, 10: 97.5±0.1, 50: 98.9±0.2",
    "cafe_dsa fashion_mnist": "1: 73.7±0.7, 10: 83.0±0.3, 50: 88.2±0.3",
    "cafe_dsa svhn": "1: 42.9±3.0, 10: 77.9±0.6, 50: 82.3±0.4",
    "cafe_dsa cifar10": "1: 31.6±0.8, 10: 50.9±0.5, 50: 62.3±0.4",
    "cafe_dsa cifar100": "1: 14.0±0.3, 10: 31.5±0.2, 50: 42.9±0.2",
    "dm+iid svhn": "10: 75.7±0.3, 50: 85.3±0.2",
    "dm+iid cifar10": "10: 55.1±0.1, 50: 65.1±0.2",
    "dm+iid cifar100": "10: 32.2±0.5, 50: 43.6±0.3",
    "idm svhn": "1: 65.3, 10: 81.0±0.1, 50: 84.1±0.1",
    "idm cifar10": "1: 45.2, 10: 58.6±0.1, 50: 67.5±0.1",
    "idm cifar100": "1: 20.1±0.3, 10: 45.1±0.1, 50: 50.0±0.2",
    "bacon svhn": "1: 69.44, 10: 84.64, 50: 89.1",
    "bacon cifar10": "1: 45.62, 10: 62.06, 50: 70.06",
    "bacon cifar100": "1: 23.68, 10: 46.15, 50: 52.29",
    "idm+iid svhn": "1: 66.3±0.1, 10: 82.1±0.3, 50: 85.1±0.5",
    "idm+iid cifar10": "1: 47.1±0.1, 10: 59.9±0.2, 50: 69.0±0.3",
    "idm+iid cifar100": "1: 24.6±0.1, 10: 45.7±0.4, 50: 51.3±0.4",
    "idm+cmi svhn": "10: 84.3±0.2, 50: 88.9±0.2",
    "idm+cmi cifar10": "10: 62.2±0.3, 50: 71.3±0.2",
    "idm+cmi cifar100": "10: 47.2±0.4, 50: 51.9±0.3",
    "dm+cmi svhn": "10: 77.9±0.4, 50: 84.9±0.4",
    "dm+cmi cifar10": "10: 52.9±0.3, 50: 65.8±0.3",
    "dm+cmi cifar100": "10: 32.5±0.4, 50: 44.9±0.2",
    "mtt svhn": "10: 79.9±0.1, 50: 87.7±0.3",
    "mtt cifar10": "1: 46.3±0.8, 10: 65.3±0.4, 50: 71.6±0.2",
    "mtt cifar100": "1: 24.3±0.3, 10: 39.7±0.4, 50: 47.7±0.2",
    "mtt+mim cifar10": "10: 66.4±0.2, 50: 71.4±0.3",
    "mtt+mim cifar100": "10: 41.5±0.2",
    "mtt+cmi svhn": "10: 80.8±0.2, 50: 88.8±0.1",
    "mtt+cmi cifar10": "10: 66.7±0.3, 50: 72.4±0.3",
    "mtt+cmi cifar100": "10: 41.9±0.4, 50: 48.8±0.2",
    "tesla cifar10": "1: 48.5±0.8, 10: 66.4±0.8, 50: 72.6±0.7",
    "tesla cifar100": "1: 24.8±0.4, 10: 41.7±0.3, 50: 47.9±0.3",
    "seqmatch cifar10": "50: 74.4±0.5",
    "pdd cifar10": "10: 67.9±0.2, 50: 76.5±0.4",
    "pdd cifar100": "10: 45.8±0.5, 50: 53.1±0.4",
    "bptt cifar10": "1: 49.1±0.6, 10: 62.4±0.4, 50: 70.5±0.4",
    "bptt cifar100": "1: 21.3±0.6, 10: 34.7±0.5",
    "rat_bptt cifar10": "1: 53.2, 10: 69.4, 50: 75.3",
    "rat_bptt cifar100": "1: 35.3, 10: 47.5, 50: 50.6",
    "rat_bptt_at cifar10": "1: 53.9, 10: 70.6, 50: 76.2",
    "rat_bptt_at cifar100": "1: 36.6, 10: 48.7, 50: 55.9",
    "rded cifar10": "1: 22.9±0.4, 10: 37.1±0.3, 50: 62.1±0.1",
    "rded cifar100": "1: 11.0±0.3, 10: 42.6±0.2, 50: 62.6±0.1",
    "rded_convnet cifar10": "1: 23.5±0.3, 10: 50.2±0.3, 50: 68.4±0.1",
    "cim cifar10": "10: 66.2",
    "cim cifar100": "10: 61.7",
    "bptt+addressed mnist": "1: 98.7±0.7, 10: 99.3±0.5, 50: 99.4±0.4",
    "bptt+addressed fashion_mnist": "1: 88.5±0.1, 10: 90.0±0.7, 50: 91.2±0.3",
    "bptt+addressed svhn": "1: 87.3±0.1, 10: 91.4±0.2, 50: 92.2±0.1",
    "bptt+addressed cifar10": "1: 66.4±0.4, 10: 71.2±0.4, 50: 73.6±0.5",
    "bptt+addressed cifar100": "1: 34.0±0.4, 10: 42.9±0.7",
}
"""Accuracy by method and dataset: images per class, mean and deviation.

From the tables that the presets' citations name: of the papers, of the released code, and of later papers that print
them again.
"""

CMI_WEIGHTS = {
    "dm": "svhn 18000/500, cifar10 8000/2000, cifar100 2000/500",
    "dsa": "svhn 80000/10000, cifar10 50000/10000, cifar100 80000/20000",
    "dc": "cifar10 50000/10000",
}
"""Weights at 10 and 50 images per class that the comments of github.com/ndhg1213/CMIDD give (arXiv 2412.09945)."""


def scored() -> list[tuple[str, float, float | None]]:
    """Every published figure with the preset that stands for it."""
    found = []
    for row, figures in FIGURES.items():
        method, dataset = row.split()
        for ipc, mean, std in re.findall(r"(\d+): ([\d.]+)(?:±([\d.]+))?", figures):
            found.append((f"paper/{method}-{dataset}-ipc{ipc}", float(mean), float(std) if std else None))
    return found


def weighted() -> list[tuple[str, float]]:
    """Every released weight of CMI with its preset."""
    return [
        (f"paper/{method}+cmi-{dataset}-ipc{ipc}", float(weight))
        for method, row in CMI_WEIGHTS.items()
        for dataset, *weights in re.findall(r"(\w+) (\d+)/(\d+)", row)
        for ipc, weight in zip((10, 50), weights, strict=True)
    ]


@pytest.mark.parametrize(("name", "mean", "std"), scored(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_published_figure_has_its_preset(name: str, mean: float, std: float | None) -> None:
    published = all_presets()[name].published
    assert published is not None
    assert (published.accuracy, published.std) == (mean, std)
    assert published.tolerance >= max(1.5, std or 0)
    assert published.source == all_presets()[name].citation


@pytest.mark.parametrize("name", sorted(all_presets()))
def test_preset_is_a_valid_job_with_a_source_and_what_its_name_says(name: str) -> None:
    preset = all_presets()[name]
    spec = parse({"preset": name})
    assert spec.dataset in DATASETS
    assert preset.title
    assert preset.citation
    kind, _, rest = name.partition("/")
    words = re.split("[-+]", rest)
    assert f"{words[0]}_".startswith(f"{spec.method.name}_")
    assert spec.dataset in words
    assert [word for word in words[1:] if word in REGULARIZERS] == [term.name for term in spec.regularizers]
    if kind == "paper":
        assert words[-1] == f"ipc{spec.ipc}"
        assert preset.published is not None or "no score is known" in preset.citation


def test_measured_figures_are_those_stored_with_their_command() -> None:
    """A preset of a paper claims no figure of ours unless a stored result is of exactly that job, run to its end."""
    results = ROOT / "benchmarks" / "results"
    quick = json.loads((results / "quality" / "quick.json").read_text("utf-8"))["presets"]
    ledger = [json.loads(path.read_text("utf-8")) for path in (results / "ledger").glob("*.json")]
    whole = {entry["preset"]: entry for entry in ledger if entry["steps"]["taken"] == entry["steps"]["of"]}
    stored = {f"quick/{name}": found for name, found in quick.items()} | whole
    measured = {name: preset.measured for name, preset in all_presets().items() if preset.measured is not None}
    assert set(stored) == set(measured)
    for name, figure in measured.items():
        found = stored[name]
        assert figure.command == found["command"]
        assert (figure.accuracy, figure.std) == tuple(round(found["accuracy"][key], 1) for key in ("mean", "std"))


def test_every_method_and_regulariser_can_be_tried_quickly() -> None:
    jobs = [parse({"preset": name}) for name in all_presets() if name.startswith("quick/")]
    assert {job.method.name for job in jobs} == set(METHODS)
    assert {term.name for job in jobs for term in job.regularizers} == set(REGULARIZERS)


def test_a_preset_adds_to_the_job_of_its_base() -> None:
    for name in ("paper/dm+cmi-cifar10-ipc10", "paper/dm+iid-cifar10-ipc10", "paper/dm+mim-cifar10-ipc10"):
        plain, regularised = parse({"preset": "paper/dm-cifar10-ipc10"}), parse({"preset": name})
        assert regularised.model_dump(exclude={"regularizers"}) == plain.model_dump(exclude={"regularizers"})
        assert "base" not in all_presets()[name].model_dump()


def test_bases_have_bases() -> None:
    others: dict[str, dict[str, Any]] = {"a": {"job": {"ipc": 1, "seed": 2}}, "b": {"base": "a", "job": {"seed": 3}}}
    assert _completed({"base": "b", "title": "c", "job": {"init": "noise"}}, others) == {
        "title": "c", "job": {"ipc": 1, "seed": 3, "init": "noise"},
    }  # fmt: skip


@pytest.mark.parametrize(("name", "weight"), weighted())
def test_cmi_has_the_released_weight_and_teachers(name: str, weight: float) -> None:
    (term,) = parse({"preset": name}).regularizers
    assert isinstance(term, CMIConfig)
    assert term.weight == weight
    teacher = term.teacher.model_dump()
    assert teacher.pop("network") == {"name": "resnet18", "norm": "instance", "downsampling": "stride"}
    assert teacher == {
        "pool": 200, "epochs": 40, "lr": 0.01, "momentum": 0.9, "weight_decay": 1e-3, "batch_size": 256,
    }  # fmt: skip


@pytest.mark.parametrize("name", [name for name in all_presets() if "+iid-" in name])
def test_iid_has_the_released_coefficients_and_teachers(name: str) -> None:
    (term,) = parse({"preset": name}).regularizers
    assert isinstance(term, IIDConfig)
    assert term.weight == 1
    assert (term.covariance, term.centralization) == ((0.03, 0.01) if "/idm" in name else (0.01, 0.05))
    assert (term.teacher.network.name, term.teacher.epochs, term.teacher.weight_decay) == ("resnet18", 40, 5e-4)


def preset_jobs(*methods: str) -> list[JobSpec]:
    return [
        job
        for name in all_presets()
        if name.startswith("paper/") and (job := parse({"preset": name})).method.name in methods
    ]


@pytest.mark.parametrize(
    "job", preset_jobs("random", "herding", "k_center"), ids=lambda job: f"{job.method.name}-{job.dataset}"
)
def test_coresets_are_scored_without_augmentation(job: JobSpec) -> None:
    assert (job.augmentation, job.evaluation.augmentation, job.evaluation.epochs) == ("none", None, 300)
    if isinstance(job.method, FeatureCoresetConfig):
        assert (job.method.teacher.network, job.method.teacher.epochs) == (job.network, 40)


@pytest.mark.parametrize("job", preset_jobs("dm"), ids=lambda job: f"{job.dataset}-{job.ipc}")
def test_dm_learns_at_the_rate_of_the_size_and_mirrors_what_may_be_mirrored(job: JobSpec) -> None:
    assert isinstance(job.method, DMConfig)
    assert (job.method.iterations, job.method.momentum, job.method.batch_real) == (20_000, 0.5, 256)
    assert job.method.lr_img == (10 if job.ipc >= 100 else 1)
    assert ("flip" in job.augmentation) == (job.dataset in ("cifar10", "cifar100"))
    assert (job.init, job.evaluation.epochs) == ("real", 1000)


def test_paper_presets_hold_the_published_setting() -> None:
    spec = parse({"preset": "paper/dm-mnist-ipc10"})
    assert spec.method.model_dump() == {
        "name": "dm", "iterations": 20_000, "lr_img": 1.0, "momentum": 0.5, "batch_real": 256, "distance": "mean",
    }  # fmt: skip
    assert spec.augmentation == "color_crop_cutout_scale_rotate"
    assert (spec.evaluation.epochs, spec.evaluation.lr, spec.evaluation.batch_size) == (1000, 0.01, 256)


@pytest.mark.parametrize("name", [name for name in all_presets() if name.startswith(("paper/dc", "paper/dsa"))])
def test_gradient_matching_presets_are_1001_networks_with_the_published_loops(name: str) -> None:
    spec = parse({"preset": name})
    assert isinstance(spec.method, GradientMatchingConfig)
    loops = {1: (1, 1), 10: (10, 50), 50: (50, 10)}[spec.ipc]
    assert (spec.method.outer_loop, spec.method.inner_loop) == loops
    assert spec.method.iterations == 1001 * loops[0]
    assert (spec.method.lr_img, spec.method.momentum, spec.method.lr_net) == (0.1, 0.5, 0.01)
    if spec.method.name == "dc":
        assert (spec.init, spec.augmentation) == ("noise", "none")
        assert spec.evaluation.epochs == (1000 if spec.dataset == "mnist" else 300)
    else:
        assert (spec.init, spec.evaluation.epochs) == ("real", 1000)
        assert ("flip" in spec.augmentation) == (spec.dataset not in ("mnist", "svhn"))


@pytest.mark.parametrize("name", [name for name in all_presets() if name.startswith("paper/cafe")])
def test_cafe_presets_are_2001_networks_from_noise_with_the_released_setting(name: str) -> None:
    spec, released = parse({"preset": name}), CAFEConfig()
    assert spec.method == released
    assert isinstance(spec.method, CAFEConfig)
    assert (spec.method.networks, spec.method.halve_at) == (2001, (1200, 1600, 1800))
    assert (spec.method.lambda_1, spec.method.lambda_2, spec.method.weight_discrimination) == (0.04, 0.03, 0.01)
    assert spec.method.iterations == 2001 * spec.method.max_image_steps, "the number of networks decides"
    assert spec.init == "noise"
    if name.startswith("paper/cafe_dsa"):
        assert ("flip" in spec.augmentation) == (spec.dataset not in ("mnist", "svhn"))
        assert (spec.evaluation.augmentation, spec.evaluation.epochs) == (None, 1000)
    else:
        assert spec.augmentation == "none"
        assert spec.evaluation.epochs == (1000 if spec.dataset == "mnist" else 600)


@pytest.mark.parametrize("name", [name for name in all_presets() if name.startswith(("paper/idm", "paper/bacon"))])
def test_queue_matching_presets_hold_the_released_commands(name: str) -> None:
    spec = parse({"preset": name})
    method = spec.method
    assert isinstance(method, QueueMatchingConfig)
    assert method.batch_real == (5000 if spec.ipc == 1 else 256)
    assert method.grow_every == (5 if spec.ipc == 1 else 30)
    assert method.eval_interval == (500 if spec.ipc == 50 else 100)
    many = spec.dataset == "cifar100"
    assert method.ce_weight == (0.1 if spec.ipc == 50 or (many and spec.ipc == 10) else 0.5)
    steps = {("idm", 10): 50, ("bacon", 10): 50, ("idm", 50): 40, ("bacon", 50): 50}
    assert method.network_steps == (steps.get((method.name, spec.ipc), 10) if many else 10)
    assert (method.iterations, method.lr_img, method.momentum, method.networks_trained) == (20_000, 0.2, 0.5, 2)
    assert (method.queue_start, method.queue_size, method.batch_train, method.lr_net) == (3, 100, 256, 0.01)
    assert (spec.decoder.name, spec.images_per_class, spec.init) == ("mosaic", 4 * spec.ipc, "real")
    assert (spec.evaluation.epochs, spec.evaluation.repeats) == (1000, 5)
    assert "flip" in spec.augmentation


def test_fields_override_a_preset_object_by_object() -> None:
    base = parse({"preset": "paper/dm-cifar10-ipc10"})
    spec = parse(
        {"preset": "paper/dm-cifar10-ipc10", "seed": 7, "method": {"iterations": 300}, "evaluation": {"epochs": 9}}
    )
    assert (spec.seed, spec.method.iterations) == (7, 300)
    assert spec.method.model_dump(exclude={"iterations"}) == base.method.model_dump(exclude={"iterations"})
    assert (spec.evaluation.epochs, spec.evaluation.repeats) == (9, base.evaluation.repeats)


def test_a_method_of_another_name_replaces_the_one_of_the_preset() -> None:
    assert parse({"preset": "paper/dm-cifar10-ipc10", "method": "random"}).method.model_dump() == {
        "name": "random", "iterations": 0,
    }  # fmt: skip


def test_regularisers_replace_those_of_the_preset() -> None:
    assert parse({"preset": "quick/dm-mim-cmi-digits", "regularizers": {}}).regularizers == ()


def test_a_wrong_override_is_explained() -> None:
    with pytest.raises(SpecError, match="/ipc: `ipc` is 0, but must be at least 1"):
        parse({"preset": "paper/dm-cifar10-ipc10", "ipc": 0})


TRAJECTORIES = {
    # dataset, ipc: whitening, N, M, max_start, lr_img, lr_lr, alpha_0, batch_syn
    ("cifar10", 1): (True, 50, 2, 2, 1e2, 1e-7, 0.01, None),
    ("cifar10", 10): (True, 30, 2, 20, 1e2, 1e-5, 0.001, None),
    ("cifar10", 50): (False, 30, 2, 40, 1e3, 1e-5, 0.001, None),
    ("cifar100", 1): (True, 20, 3, 20, 1e3, 1e-5, 0.01, None),
    ("cifar100", 10): (False, 20, 2, 20, 1e3, 1e-5, 0.01, None),
    ("cifar100", 50): (True, 80, 2, 40, 1e3, 1e-5, 0.01, 125),
}


def trajectory(name: str) -> tuple[object, ...]:
    spec = parse({"preset": name})
    m = spec.method
    assert isinstance(m, TrajectoryConfig)
    return (
        spec.whitening, m.student_steps, m.expert_epochs, m.max_start, m.lr_img, m.lr_lr, m.lr_init, m.batch_syn,
    )  # fmt: skip


@pytest.mark.parametrize(("dataset", "ipc"), list(TRAJECTORIES))
def test_trajectory_matching_presets_hold_the_published_settings(dataset: str, ipc: int) -> None:
    row = TRAJECTORIES[dataset, ipc]
    assert trajectory(f"paper/mtt-{dataset}-ipc{ipc}") == row
    released = (True, 50, 2, 5, 1e3, 1e-7, 0.01, None) if (dataset, ipc) == ("cifar10", 1) else row
    halved = (*released[:4], released[4] / 2, *released[5:])
    assert trajectory(f"paper/tesla-{dataset}-ipc{ipc}") == halved, "its code moves images half as far at a rate"
    for name, iterations, repeats in (("mtt", 5000, 5), ("tesla", 10_000, 3)):
        spec = parse({"preset": f"paper/{name}-{dataset}-ipc{ipc}"})
        assert (spec.method.iterations, spec.evaluation.repeats, spec.evaluation.epochs) == (iterations, repeats, 1000)


def test_staged_presets_hold_the_published_settings() -> None:
    """Stages, N, M, max_start, lr_img, lr_lr, alpha_0, batch_syn.

    From seqmatch-mtt/run.sh of github.com/shqii1j/seqmatch, but for what the preset's citation says, and from the
    README of github.com/VITA-Group/ProgressiveDD.
    """
    released = {
        "seqmatch-cifar10-ipc50": ((17, 17, 16), 30, 2, 20, 1e2, 1e-5, 0.01, None),
        "pdd_mtt-cifar10-ipc10": ((2,) * 5, 50, 2, 5, 1e3, 1e-7, 0.01, None),
        "pdd_mtt-cifar10-ipc50": ((10,) * 5, 30, 2, 15, 1e3, 1e-5, 0.01, None),
        "pdd_mtt-cifar100-ipc10": ((2,) * 5, 20, 3, 20, 1e3, 1e-5, 0.01, None),
        "pdd_mtt-cifar100-ipc50": ((10,) * 5, 20, 2, 20, 1e3, 1e-5, 0.01, 512),
    }
    for name, row in released.items():
        spec = parse({"preset": f"paper/{name}"})
        m = spec.method.matcher
        assert isinstance(m, TrajectoryConfig)
        assert (
            spec.method.shares(spec.ipc), m.student_steps, m.expert_epochs, m.max_start, m.lr_img, m.lr_lr, m.lr_init,
            m.batch_syn,
        ) == row  # fmt: skip
        assert (spec.whitening, m.iterations, spec.method.networks_pretrained) == (True, 5000, 100 * len(row[0]))


@pytest.mark.parametrize("name", [name for name in all_presets() if name.startswith(("paper/pdd-", "paper/seqmatch_"))])
def test_staged_presets_on_idc_are_idc_in_each_stage(name: str) -> None:
    spec = parse({"preset": name})
    alone = parse({"preset": "paper/idc-cifar10-ipc10"}).method
    sweeps = 100_000 if name == "paper/pdd-cifar100-ipc50" else 200_000
    assert spec.method.matcher == alone.model_copy(update={"iterations": sweeps})
    assert spec.method.shares(spec.ipc) == ((25, 25) if "seqmatch" in name else (spec.ipc // 5,) * 5)
    assert spec.decoder.views == 4


def test_terms_beside_trajectory_matching_change_nothing_else() -> None:
    pairs = [name for name in all_presets() if name.startswith(("paper/mtt+mim", "paper/mtt+cmi"))]
    assert len(pairs) == 9
    for name in pairs:
        alone, beside = (parse({"preset": p}) for p in (name.replace("+mim", "").replace("+cmi", ""), name))
        assert beside.model_copy(update={"regularizers": ()}) == alone
        assert [r.name for r in beside.regularizers] == [name[10:13]]


def test_memories_hold_as_many_mixtures_as_their_budget() -> None:
    found = {
        (spec.dataset, spec.ipc): spec.images_per_class
        for spec in (parse({"preset": name}) for name in all_presets() if name.startswith("paper/bptt+addressed"))
    }
    colour = {1: 115, 10: 163, 50: 223}
    grey = {1: 29, 10: 41, 50: 56}
    expected = {"cifar10": colour, "svhn": colour, "mnist": grey, "fashion_mnist": grey, "cifar100": {1: 40, 10: 232}}
    assert found == {(dataset, ipc): count for dataset, row in expected.items() for ipc, count in row.items()}


WINDOWS = {
    "rat_bptt-cifar10-ipc1": (200, 60, 0, 500, "hard", 1e-3, 600_000),
    "rat_bptt-cifar10-ipc10": (200, 60, 0, 500, "hard", 1e-3, 600_000),
    "rat_bptt-cifar10-ipc50": (200, 60, 0, 500, "hard", 1e-3, 600_000),
    "rat_bptt-cifar100-ipc1": (130, 90, 40, 50, "learned", 3e-4, 600_000),
    "rat_bptt-cifar100-ipc10": (300, 100, 0, 50, "learned", 1e-3, 600_000),
    "rat_bptt-cifar100-ipc50": (300, 100, 0, 50, "learned", 1e-3, 600_000),
    "rat_bptt_at-cifar10-ipc1": (200, 40, 0, 500, "hard", 1e-3, 600_000),
    "rat_bptt_at-cifar10-ipc10": (200, 40, 0, 500, "hard", 1e-3, 600_000),
    "rat_bptt_at-cifar10-ipc50": (200, 40, 0, 500, "hard", 1e-3, 600_000),
    "rat_bptt_at-cifar100-ipc1": (300, 100, 0, 10, "learned", 1e-3, 3_000_000),
    "rat_bptt_at-cifar100-ipc10": (300, 100, 0, 10, "learned", 1e-3, 3_000_000),
    "rat_bptt_at-cifar100-ipc50": (300, 100, 0, 10, "learned", 1e-3, 3_000_000),
}
"""T, M, first start, real images of a class, labels, rate and image steps of 60,000 passes, as in released commands."""


@pytest.mark.parametrize("name", [name for name in all_presets() if name.startswith("paper/rat_bptt")])
def test_presets_of_windows_hold_the_released_commands(name: str) -> None:
    spec = parse({"preset": name})
    m, scoring = spec.method, spec.evaluation
    assert isinstance(m, RatBPTTConfig)
    assert (
        m.student_steps, m.window, m.min_start, m.batch_real, m.labels, m.lr_img, m.iterations
    ) == WINDOWS[name.removeprefix("paper/")]  # fmt: skip
    spread = {"cifar10": 10, "cifar100": 20}[spec.dataset]
    assert (m.window_rule, m.window_spread) == (("at", spread) if "_at-" in name else ("uniform", 10))
    assert (m.inner_lr, m.batch_syn, m.clip_factor) == (1e-3, 10 if spec.dataset == "cifar10" else 1, 2.0)
    assert (spec.whitening, spec.init, spec.augmentation) == (True, "noise", "flip_rotate")
    images = spec.ipc * len(DATASETS[spec.dataset].classes)
    assert scoring.epochs * images == 3000 * scoring.batch_size
    assert (scoring.optimizer, scoring.lr, scoring.weight_decay, scoring.tests) == ("adam", 1e-3, 0.0, 10)
    assert scoring.during is not None
    assert scoring.during.stop == "plateau"
