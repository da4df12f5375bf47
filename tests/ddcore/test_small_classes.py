"""Every method on sets of one's own whose classes are tiny, or of very different size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from ddcore import engine
from ddcore.data import sources
from ddcore.data.dataset import Dataset, ImageSet, describe
from ddcore.errors import ConfigurationError, DataError
from ddcore.spec import METHODS, SpecError, parse
from ddcore.spec.results import Results
from tests.ddcore.test_contract import fitting, job

COUNTS = ((2, 2), (2, 30, 9))
MEASURES_SPREAD = "bacon"


def unbalanced(counts: Sequence[int]) -> Dataset:
    """So many training images of each class, of a grey of its own under noise; four test images of each."""
    generator = torch.Generator().manual_seed(5)
    classes = tuple(f"class {label}" for label in range(len(counts)))
    colours = torch.rand(len(counts), 1, 8, 8, generator=generator) * 160 + 40

    def split(sizes: Sequence[int]) -> ImageSet:
        labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
        noise = torch.randn(len(labels), 1, 8, 8, generator=generator) * 25
        return ImageSet((colours[labels] + noise).clamp(0, 255).to(torch.uint8), labels, classes)

    return describe("own", split(counts), split([4] * len(counts)))


TOO_FEW = "cim"
"""Its tiles are real images to begin with, four of them in each image."""


def small_job(names: Sequence[str], counts: Sequence[int], **fields: Any) -> dict[str, Any]:
    """At a fixed learning rate of students; where the start wants more images, from noise or with fewer."""
    data = job(*names, dataset="own", **fields)
    for part in (data["method"], data["method"].get("base", {})):
        learns = "lr_lr" in METHODS[part["name"]].model_fields if part else False
        part |= {"lr_lr": 1e-12} if learns else {}
    tiles = parse(data).decoder.tiles
    if tiles * data["ipc"] <= min(counts):
        return data
    return data | ({"ipc": min(counts), "decoder": "identity"} if "rded" in names else {"init": "noise"})


def run(data: Mapping[str, Any], counts: Sequence[int], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Results:
    """Results of a job on such a set."""
    monkeypatch.setattr(sources, "load", lambda *_: unbalanced(counts))
    return engine.run(parse(data), folder / "out", run_dir=folder / "run").results


@pytest.mark.parametrize("counts", COUNTS, ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs_or_says_why_not(
    method: str, counts: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all its regularisers where the sizes differ."""
    terms = [term for term in fitting(method) if term != MEASURES_SPREAD] if len(counts) > 2 else []
    data = small_job([method, *terms], counts)
    if method == TOO_FEW:
        with pytest.raises(SpecError, match="begins with mosaics of real images, but `init` is 'noise'"):
            parse(data)
        with pytest.raises(ConfigurationError, match="has 2 training images and `init` is 'real'; add images to it"):
            run(data | {"init": "real"}, counts, tmp_path, monkeypatch)
        return
    if method == MEASURES_SPREAD:
        with pytest.raises(ConfigurationError, match="'class 0' of own has a single training image beside those of"):
            run(data, counts, tmp_path, monkeypatch)
        return
    results = run(data, counts, tmp_path, monkeypatch)
    assert results["accuracy"]["networks"] == 1
    assert results["probe"]["mi_lower_bound"] <= math.log(len(counts))


@pytest.mark.parametrize(("counts", "calibrated"), [((2, 2), False), ((2, 9), False), ((2, 5, 5), True)], ids=str)
def test_a_trained_probe_is_calibrated_where_two_classes_have_images_left(
    counts: tuple[int, ...], calibrated: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = small_job(["dm"], counts, metrics={"every": 2, "probe": "teacher"}, evaluation={"repeats": 0})
    probe = run(data, counts, tmp_path, monkeypatch)["probe"]
    assert (probe["temperature"] != 1.0) == calibrated
    assert math.isfinite(probe["mi_lower_bound"])


def test_a_class_of_one_is_refused_before_advice_that_could_not_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `ipc` 2 the advice was to choose 1, which was refused in its turn."""
    with pytest.raises(DataError, match=r"class 'class 0' of own has 1 training image; .* or leave the class out"):
        run(small_job(["dm"], (1, 9), ipc=2), (1, 9), tmp_path, monkeypatch)


def test_mixtures_start_from_as_many_images_as_there_are_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A budget of one image a class holds (2 x 64 - 2 x 16) / (2 x 2) = 24 mixtures of each beside two bases."""
    data = small_job(["bptt"], (20, 20), decoder={"name": "addressed", "bases": 2}, ipc=1, init="real")
    with pytest.raises(ConfigurationError, match=r"mixed into 24 images, but class 'class 0' of own has 20 training"):
        run(data, (20, 20), tmp_path, monkeypatch)
