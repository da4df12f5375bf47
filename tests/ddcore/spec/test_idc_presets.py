"""Presets of IDC, IDC-I, DREAM and IDC with CMI against the tables that their citations name."""

from __future__ import annotations

import re

import pytest

from ddcore.spec import CMIConfig, IDCConfig, RepresentativeSamplerConfig, all_presets, parse

FIGURES = {
    "idc mnist": "1: 94.2, 10: 98.4, 50: 99.1",
    "idc fashion_mnist": "1: 81.0, 10: 86.0, 50: 86.2",
    "idc svhn": "1: 68.5, 10: 87.5±0.3, 50: 90.1±0.1",
    "idc cifar10": "1: 50.6, 10: 67.5±0.5, 50: 74.5±0.1",
    "idc cifar100": "10: 45.1±0.4, 20: 49.0",
    "idc_i mnist": "1: 88.9, 10: 98.0, 50: 98.8",
    "idc_i fashion_mnist": "1: 70.7, 10: 85.3, 50: 89.1",
    "idc_i svhn": "1: 46.7, 10: 77.0, 50: 87.9",
    "idc_i cifar10": "1: 36.7, 10: 58.3, 50: 69.5",
    "idc_i cifar100": "10: 36.6, 20: 41.5",
    "dream mnist": "1: 95.7, 10: 98.6, 50: 99.2",
    "dream fashion_mnist": "1: 81.3, 10: 86.4, 50: 86.8",
    "dream svhn": "1: 69.8±0.8, 10: 87.9±0.4, 50: 90.5±0.1",
    "dream cifar10": "1: 51.1±0.3, 10: 69.4±0.4, 50: 74.8±0.1",
    "dream cifar100": "1: 29.5±0.3, 10: 46.8±0.7, 50: 52.6±0.4",
    "idc+cmi svhn": "10: 88.5±0.2, 50: 92.2±0.1",
    "idc+cmi cifar10": "10: 70.0±0.3, 50: 76.6±0.2",
    "idc+cmi cifar100": "10: 46.6±0.3, 50: 53.8±0.2",
}
"""Accuracy by method and dataset: images per class, mean and deviation."""

LAMBDAS = {"svhn": {10: 50, 50: 50}, "cifar10": {10: 100, 50: 50}, "cifar100": {10: 100, 50: 50}}
"""Released weights of CMI inside IDC, by dataset and images per class."""


def scored() -> list[tuple[str, float, float | None]]:
    found = []
    for row, figures in FIGURES.items():
        method, dataset = row.split()
        for ipc, mean, std in re.findall(r"(\d+): ([\d.]+)(?:±([\d.]+))?", figures):
            found.append((f"paper/{method}-{dataset}-ipc{ipc}", float(mean), float(std) if std else None))
    return found


NAMES = [name for name, *_ in scored()]


@pytest.mark.parametrize(("name", "mean", "std"), scored())
def test_every_published_figure_has_its_preset(name: str, mean: float, std: float | None) -> None:
    published = all_presets()[name].published
    assert published is not None
    assert (published.accuracy, published.std) == (mean, std)


@pytest.mark.parametrize("name", NAMES)
def test_presets_hold_the_published_setting(name: str) -> None:
    spec = parse({"preset": name})
    method = spec.method
    assert isinstance(method, IDCConfig)
    assert (method.iterations, method.steps_per_network) == (2000 * 100, 100)
    of_greys = spec.dataset in ("mnist", "fashion_mnist")
    assert (method.distance, method.lr_img) == (("l1", 1e-4) if of_greys else ("mse", 5e-3))
    assert method.lr_side == (28 if spec.dataset == "mnist" else 32)
    assert method.train_images == (2000 if spec.dataset.startswith("cifar") else 500)
    assert method.batch_real == (128 if "dream" in name else 64)
    assert spec.decoder.views == (1 if "idc_i" in name else 4)
    mild = spec.dataset == "mnist" and spec.decoder.views > 1
    assert spec.augmentation == ("color_crop" if mild else "color_crop_cutout")
    assert method.cutmix == (0.0 if mild else 0.5)
    assert method.batch_train == (128 if "dream" in name else 64)
    assert "flip" not in str(spec.evaluation.augmentation) or spec.dataset not in ("mnist", "svhn")
    assert (spec.evaluation.epochs, spec.evaluation.batch_size) == (1000, 64)


@pytest.mark.parametrize("name", [n for n in NAMES if re.match(r"paper/(idc|dream)-mnist", n)])
def test_mosaics_of_mnist_are_matched_and_scored_mildly(name: str) -> None:
    """IDC's `test.py` names its MNIST mosaics by what made them: color and crop, networks without CutMix."""
    spec = parse({"preset": name})
    assert isinstance(spec.method, IDCConfig)
    assert (spec.augmentation, spec.method.cutmix) == ("color_crop", 0.0)
    assert (spec.evaluation.augmentation, spec.evaluation.cutmix) == ("color_crop_scale_rotate", 0.0)


@pytest.mark.parametrize("name", [name for name in NAMES if "dream" in name])
def test_dream_clusters_all_images_every_ten_steps_as_released(name: str) -> None:
    spec = parse({"preset": name})
    assert isinstance(spec.sampler, RepresentativeSamplerConfig)
    assert (spec.sampler.interval, spec.sampler.normalize, spec.init) == (10, False, "k_means")
    assert spec.sampler.candidates is not None
    assert spec.sampler.candidates > 13_861  # the largest class of all, a digit of SVHN


@pytest.mark.parametrize("name", [name for name in NAMES if "cmi" in name])
def test_cmi_weighs_the_number_of_classes_times_the_released_weight(name: str) -> None:
    spec = parse({"preset": name})
    (cmi,) = spec.regularizers
    assert isinstance(cmi, CMIConfig)
    classes = 100 if spec.dataset == "cifar100" else 10
    assert cmi.weight == LAMBDAS[spec.dataset][spec.ipc] * classes
    assert (cmi.teacher.network.name, cmi.teacher.pool, cmi.teacher.epochs) == ("resnet18", 200, 40)
