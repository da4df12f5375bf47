"""Defaults that follow the rest of a job, and what a job gives itself."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ddcore.spec import (
    METHODS,
    REGULARIZERS,
    DCConfig,
    IDMConfig,
    IIDConfig,
    JobSpec,
    QueueMatchingConfig,
    SeqMatchConfig,
    SpecError,
    StagedConfig,
    parse,
)
from ddcore.spec.catalog import Component

NAMES = ("batch_real", "grow_every", "ce_weight", "eval_interval")
RELEASED = {1: (5000, 5, 0.5, 100), 10: (256, 30, 0.5, 100), 50: (256, 30, 0.1, 500)}
"""IDM's commands for CIFAR-10, by images per class (`README` of the released code)."""


def job(method: Any, ipc: int = 10, **fields: Any) -> JobSpec:
    return parse({"dataset": "cifar10", "ipc": ipc, "method": method} | fields)


def queue(spec: JobSpec) -> tuple[object, ...]:
    return tuple(getattr(spec.method, name) for name in NAMES)


@pytest.mark.parametrize("name", ["idm", "bacon"])
@pytest.mark.parametrize("ipc", RELEASED)
def test_queue_matching_has_the_released_setting_of_its_images(name: str, ipc: int) -> None:
    assert queue(job(name, ipc)) == RELEASED[ipc] == queue(job({"name": name}, ipc))
    preset = parse({"preset": f"paper/{name}-cifar10-ipc{ipc}"})
    assert queue(preset) == RELEASED[ipc], "and so has the preset"


def test_between_the_published_numbers_of_images_the_smaller_holds() -> None:
    assert queue(job("idm", 2)) == queue(job("idm", 49)) == RELEASED[10]
    assert queue(job("idm", 200)) == RELEASED[50]


@pytest.mark.parametrize("name", ["dc", "dsa"])
@pytest.mark.parametrize(("ipc", "steps"), [(1, 1001), (2, 2002), (10, 10_010), (50, 50_050), (100, 50_050)])
def test_gradient_matching_takes_1001_networks(name: str, ipc: int, steps: int) -> None:
    assert job(name, ipc).method.iterations == steps


def test_the_steps_follow_the_loop_and_the_decoded_images() -> None:
    assert job({"name": "dsa", "outer_loop": 3}, 1).method.iterations == 3003
    assert job("dsa", 1, decoder="mosaic").method.iterations == 4004
    assert job({"name": "dsa", "outer_loop": 10_000}, 1).method.iterations == 10_000_000, "the most there may be"


@pytest.mark.parametrize("name", ["sre2l", "fadrm"])
@pytest.mark.parametrize(("dataset", "shift"), [("digits", 1), ("mnist", 3), ("cifar10", 4), ("tiny_imagenet", 4)])
def test_recovered_images_roll_by_no_more_of_a_small_side_than_published(name: str, dataset: str, shift: int) -> None:
    assert job(name, dataset=dataset).method.model_dump()["shift"] == shift


GIVEN: list[tuple[dict[str, Any], int]] = [
    ({"name": "idm", "batch_real": 256, "grow_every": 30}, 1),
    ({"name": "bacon", "ce_weight": 0.5, "eval_interval": 100}, 50),
    ({"name": "dc", "iterations": 10_010}, 1),
    ({"name": "sre2l", "shift": 9}, 1),
]


@pytest.mark.parametrize(("method", "ipc"), GIVEN)
def test_what_a_job_gives_prevails(method: dict[str, Any], ipc: int) -> None:
    found = job(method, ipc).method.model_dump()
    assert {name: found[name] for name in method} == method


@pytest.mark.parametrize("method", ["idm", "dc", {"name": "seqmatch", "base": "dsa"}])
def test_a_specification_says_what_was_filled_in_and_means_the_same_when_read_again(method: Any) -> None:
    spec = job(method, 50)
    again = parse(spec.model_dump(mode="json"))
    assert again == spec
    for config in (IDMConfig(), DCConfig(), SeqMatchConfig(base="dsa")):
        if config.name == spec.method.name:
            assert job(config, 50) == spec, "a configuration that was given nothing is filled in, too"
    assert job(IDMConfig(batch_real=256), 1).method.model_dump()["batch_real"] == 256


def test_bases_of_stages_follow_the_job() -> None:
    spec = job({"name": "seqmatch", "base": "dsa", "stages": 5}, 50)
    assert isinstance(spec.method, StagedConfig)
    assert (spec.method.base.iterations, spec.method.iterations) == (50_050, 5 * 50_050)
    whole = job({"name": "seqmatch", "base": "dc", "stages": 5, "iterations": 100}, 50)
    assert whole.method.matcher.iterations == 20
    of_one = job({"name": "seqmatch", "base": {"name": "dc", "iterations": 30}, "stages": 5}, 50)
    assert (of_one.method.matcher.iterations, of_one.method.iterations) == (30, 150)
    assert SeqMatchConfig(base="dc", stages=3).iterations == 3 * 10_010
    assert SeqMatchConfig(base=DCConfig(iterations=7), stages=3).iterations == 21
    with pytest.raises(SpecError, match="give one of the two"):
        job({"name": "seqmatch", "base": {"name": "dc", "iterations": 30}, "stages": 5, "iterations": 100}, 50)


@pytest.mark.parametrize(
    ("component", "words"),
    [
        (METHODS["mtt"], "`whitening`: true"),
        (METHODS["tesla"], "`whitening`: true"),
        (REGULARIZERS["cmi"], "ResNet-18 trained for 40 epochs"),
        (REGULARIZERS["iid"], "ResNet-18 trained for 40 epochs"),
        (METHODS["idm"], "`network_steps` 50"),
    ],
)
def test_a_default_that_is_not_the_published_setting_is_said(component: type[Component], words: str) -> None:
    assert any(words in sentence for sentence in component.departures)
    for sentence in component.departures:
        assert sentence.endswith(".")
        for name in re.findall(r"`(\w+)`: ", sentence):
            assert name in JobSpec.model_fields


@pytest.mark.parametrize(
    ("method", "shrink"),
    [
        ("idc", "nearest"),
        ("dream", "nearest"),
        ("ncfm", "nearest"),
        ({"name": "pdd", "base": "idc"}, "nearest"),
        ("idm", "bilinear"),
        ("bacon", "bilinear"),
        ("dm", "bilinear"),
    ],
)
def test_mosaics_start_from_images_made_small_as_in_the_code_of_the_method(method: Any, shrink: str) -> None:
    for decoder in ("mosaic", {"name": "mosaic", "factor": 2}):
        assert job(method, decoder=decoder).decoder.model_dump()["shrink"] == shrink
    given = job(method, decoder={"name": "mosaic", "shrink": "bilinear"}).decoder.model_dump()
    assert given["shrink"] == "bilinear"


WITH_DM, WITH_IDM = (0.01, 0.05), (0.03, 0.01)
"""Coefficients of covariance and centralisation in the commands of IID."""


@pytest.mark.parametrize(
    ("method", "coefficients"),
    [("dm", WITH_DM), ("idm", WITH_IDM), ("bacon", WITH_IDM), ("dsa", WITH_DM), ("cafe", WITH_DM)],
)
def test_iid_has_the_coefficients_of_the_method_beside(method: str, coefficients: tuple[float, float]) -> None:
    for terms in ({"iid": 1}, [{"name": "iid", "weight": 1}], [IIDConfig(weight=1)]):
        (term,) = job(method, regularizers=terms).regularizers
        assert isinstance(term, IIDConfig)
        assert (term.covariance, term.centralization) == coefficients


def test_coefficients_of_iid_that_are_given_prevail() -> None:
    (term,) = job("idm", regularizers=[{"name": "iid", "weight": 1, "covariance": 0.01}]).regularizers
    assert isinstance(term, IIDConfig)
    assert (term.covariance, term.centralization) == (0.01, 0.01)
    (term,) = job("idm", regularizers=[{"name": "iid", "weight": 1, "centralization": 0}]).regularizers
    assert isinstance(term, IIDConfig)
    assert (term.covariance, term.centralization) == (0.03, 0)


def test_a_job_given_as_objects_is_filled_in_alike() -> None:
    spec = JobSpec(dataset="cifar10", ipc=1, method=IDMConfig(), regularizers=(IIDConfig(weight=1),))
    assert isinstance(spec.method, QueueMatchingConfig)
    assert spec == job("idm", 1, regularizers={"iid": 1})
