"""Coresets keep the images that their rule names, as they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ddcore.errors import ConfigurationError
from ddcore.formulas import selection
from ddcore.methods import build_method, build_producer
from ddcore.methods.coreset import Coreset, FeatureCoreset
from ddcore.nets import build
from ddcore.runtime.context import Run
from ddcore.runtime.randomness import Randomness

Rule = Callable[[Tensor, int], Tensor]
TEACHER = {"network": {"name": "convnet", "width": 4}, "epochs": 1, "pool": 50}


def ready(make_run: Callable[..., Run], name: str, **fields: Any) -> tuple[Coreset[Any], Run]:
    run = make_run(method={"name": name, "teacher": TEACHER}, ipc=3, **fields)
    method = build_producer(run.spec.method, run)
    assert isinstance(method, Coreset)
    method.prepare()
    return method, run


def by_k_means() -> Rule:
    generator = Randomness(0, torch.device("cpu")).host_stream("method/clusters")
    return lambda features, n: selection.k_means(features, n, generator)


@pytest.mark.parametrize(
    ("name", "make_rule"),
    [("herding", lambda: selection.herding), ("k_center", lambda: selection.k_center), ("k_means", by_k_means)],
)
def test_images_are_those_of_the_rule_on_the_features_of_the_teacher(
    make_run: Callable[..., Run], name: str, make_rule: Callable[[], Rule]
) -> None:
    rule = make_rule()
    method, run = ready(make_run, name)
    assert isinstance(method, FeatureCoreset)
    network = build(method.config.teacher.network, run.dataset.shape, 3).eval()
    network.load_state_dict(method._teacher._params)
    expected = []
    for label in range(3):
        rows = (run.dataset.train.labels == label).nonzero().flatten()
        images = run.dataset.normalize(run.dataset.train.images[rows])
        with torch.no_grad():
            expected.append(images[rule(network.features(images), 3)])
    synthetic = method.start()
    assert torch.equal(synthetic.images.detach(), torch.cat(expected))
    assert synthetic.labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    assert (synthetic.learned["images"].lr, synthetic.learned["images"].momentum) == (0, 0)


def test_random_keeps_distinct_images_of_each_class(make_run: Callable[..., Run]) -> None:
    run = make_run(method="random", ipc=5)
    synthetic = build_producer(run.spec.method, run).start()
    images = run.real_images(torch.arange(len(run.dataset.train)))
    same = (synthetic.images.detach()[:, None] == images[None]).flatten(2).all(dim=2)
    assert same.sum(dim=1).tolist() == [1] * 15
    assert same.any(dim=0).sum() == 15
    assert run.dataset.train.labels[same.int().argmax(dim=1)].tolist() == synthetic.labels.tolist()


def test_the_seed_decides_on_one_teacher_and_only_that_is_trained(make_run: Callable[..., Run], tmp_path: Path) -> None:
    weights = []
    for seed in (0, 1, 0):
        run = make_run(method={"name": "herding", "teacher": TEACHER}, seed=seed)
        run.cache = tmp_path
        method = build_producer(run.spec.method, run)
        method.prepare()
        assert isinstance(method, FeatureCoreset)
        weights.append(method._teacher._params["classifier.weight"])
    assert torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[0], weights[1])
    assert len(list(tmp_path.glob("teachers/*/*.safetensors"))) == 2


def test_a_coreset_is_no_method_of_steps(make_run: Callable[..., Run]) -> None:
    run = make_run(method="random")
    with pytest.raises(ConfigurationError, match="`random` keeps images as they are and takes no steps"):
        build_method(run.spec.method, run)


def test_noise_is_refused_also_where_the_specification_was_not_parsed(make_run: Callable[..., Run]) -> None:
    run = make_run(method="random")
    run.spec = run.spec.model_copy(update={"init": "noise"})
    with pytest.raises(ConfigurationError, match="`random` keeps real images"):
        build_producer(run.spec.method, run)
