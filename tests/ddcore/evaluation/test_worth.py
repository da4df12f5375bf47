"""What a set is worth in random real images: its subsets, its report, and jobs that cannot have it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from ddcore.evaluation.evaluation import Evaluation
from ddcore.evaluation.plan import NetworkScore
from ddcore.formulas.worth import worth
from ddcore.runtime.context import Run
from ddcore.spec import SpecError, parse
from ddcore.spec.results import Results

FIELDS: dict[str, Any] = {
    "repeats": 2, "epochs": 4, "batch_size": 4, "lr": 0.05, "controls": [], "worth": {"sizes": 3, "networks": 2},
}  # fmt: skip


def scored(run: Run, done: list[NetworkScore], heard: list[NetworkScore]) -> Results:
    images, labels = run.real_images(torch.arange(12)), run.dataset.train.labels[:12]
    return Evaluation(run).score(images, labels, done=done, on_network=heard.append)


def test_it_is_read_off_subsets_up_to_the_smallest_class_and_resumes(make_run: Callable[..., Run]) -> None:
    run = make_run(ipc=20, augmentation="none", evaluation=FIELDS)
    heard: list[NetworkScore] = []
    results = scored(run, [], heard)
    assert results.worth is not None
    assert results.accuracy is not None
    assert [point.images for point in results.worth.curve] == [10, 20, 24]
    assert [point.accuracy.networks for point in results.worth.curve] == [2, 2, 2]
    expected = worth(results.accuracy.values, [(p.images, p.accuracy.values) for p in results.worth.curve])
    assert {name: getattr(results.worth, name) for name in vars(expected)} == vars(expected)
    again: list[NetworkScore] = []
    assert scored(run, heard[:5], again) == results
    assert again == heard[5:]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"evaluation": {"repeats": 0, "worth": {}}}, "`repeats` is 0; choose 1 to 100"),
        ({"method": "pdd", "evaluation": {"protocol": "pdd", "lr": 0.01, "worth": {}}}, "use `staging`: 'together'"),
    ],
)
def test_what_cannot_have_it_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse({"dataset": "digits", "ipc": 2, "method": "dm", **fields})
    assert said in {problem.pointer: problem.detail for problem in caught.value.problems}["/evaluation/worth"]
