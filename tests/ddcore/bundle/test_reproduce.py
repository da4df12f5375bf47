from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ddcore import bundle
from ddcore.data import load
from ddcore.data.images import Dataset
from ddcore.errors import DataError
from ddcore.evaluation import evaluate
from ddcore.hooks import Callback
from ddcore.spec import JobSpec, parse

FIELDS = {
    "dataset": "digits",
    "ipc": 2,
    "method": "random",
    "network": {"name": "convnet", "depth": 1, "width": 8},
    "evaluation": {"repeats": 2, "epochs": 12},
    "seed": 11,
}


def scored(spec: JobSpec, dataset: Dataset) -> bundle.Distilled:
    """Real images scored by the evaluation itself, as a run would."""
    from ddcore.compute import Compute

    rows = torch.cat([(dataset.train.labels == number).nonzero().flatten()[:2] for number in range(10)])
    pixels = dataset.denormalize(dataset.normalize(dataset.train.images[rows]) + 0.1)
    compute = Compute(torch.device("cpu"))
    results = evaluate(
        dataset.normalize(pixels),
        dataset.train.labels[rows],
        dataset,
        spec.evaluation,
        network=spec.network,
        augmentation=spec.augmentation,
        compute=compute,
        seed=spec.seed,
    )
    reference = bundle.DatasetReference.of(dataset)
    return bundle.Distilled(pixels, dataset.train.labels[rows], spec, reference, results, compute.describe())


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


@pytest.fixture(scope="module")
def scored_bundle(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scored")
    bundle.write(out, scored(parse(FIELDS), digits))
    return out


def test_training_again_gives_the_reported_figures(scored_bundle: Path) -> None:
    assert bundle.train_on(scored_bundle) == bundle.read(scored_bundle).results


def test_fewer_networks_are_the_first_of_those_reported(scored_bundle: Path) -> None:
    reported = bundle.read(scored_bundle).results
    again = bundle.train_on(str(scored_bundle), repeats=1)
    assert again["accuracy"]["values"] == reported["accuracy"]["values"][:1]
    assert again["controls"]["random"]["values"] == reported["controls"]["random"]["values"][:1]


def test_progress_is_told(scored_bundle: Path) -> None:
    class Phases(Callback):
        def __init__(self) -> None:
            self.seen: list[tuple[str, int | None]] = []

        def on_phase(self, phase: str, total: int | None) -> None:
            self.seen.append((phase, total))

    phases = Phases()
    bundle.train_on(scored_bundle, repeats=1, callback=phases)
    assert phases.seen == [("loading", None), ("evaluating", 26)]


def test_unscored_bundle_is_scored_as_a_job_would_by_default(digits: Dataset, tmp_path: Path) -> None:
    spec = parse({**FIELDS, "evaluation": {"repeats": 0, "epochs": 1}})
    bundle.write(tmp_path, scored(spec, digits))
    assert bundle.read(tmp_path).results["accuracy"] is None
    assert bundle.train_on(tmp_path)["accuracy"]["networks"] == 3


def test_another_dataset_of_that_name_is_refused(
    distilled: Callable[..., bundle.Distilled], digits: Dataset, tmp_path: Path
) -> None:
    content = scored(parse({**FIELDS, "evaluation": {"repeats": 0}}), digits)
    fields: dict[str, Any] = {**vars(content.dataset), "digest": "cd" * 32}
    bundle.write(
        tmp_path,
        bundle.Distilled(
            content.images, content.labels, content.spec, bundle.DatasetReference(**fields), {}, content.compute
        ),
    )
    with pytest.raises(DataError, match=r"56c2193b2975….* is not the one that was distilled \(cdcdcdcdcdcd…\)"):
        bundle.train_on(tmp_path)


def test_data_root_comes_from_the_environment_unless_given(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DD_DATA_ROOT", str(tmp_path / "from environment"))
    with pytest.raises(DataError, match="from environment/garments"):
        bundle.train_on(out)
    with pytest.raises(DataError, match="given/garments"):
        bundle.train_on(out, data_root=tmp_path / "given")
    monkeypatch.delenv("DD_DATA_ROOT")
    with pytest.raises(DataError, match="no data root"):
        bundle.train_on(out)
