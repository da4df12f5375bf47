import json
import math
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddcore.spec import DATASETS, JobSpec, Problem, SpecError, check_dataset_name, parse

JOB: dict[str, Any] = {"dataset": "cifar10", "ipc": 10, "method": "dm"}


def faults(data: Any) -> dict[str, str]:
    """Pointer and detail of every problem with a specification."""
    with pytest.raises(SpecError) as caught:
        parse(data)
    return {problem.pointer: problem.detail for problem in caught.value.problems}


def test_short_and_full_spelling_mean_the_same() -> None:
    short = {"dataset": "cifar10", "ipc": 10, "method": "dm", "regularizers": {"mim": 0.8, "cmi": 2000}}
    full = {
        "dataset": "cifar10",
        "ipc": 10,
        "method": {"name": "dm", "iterations": 20000, "lr_img": 1.0, "batch_real": 256},
        "regularizers": [{"name": "mim", "weight": 0.8}, {"name": "cmi", "weight": 2000}],
        "network": {"name": "convnet", "width": 128, "norm": "instance"},
        "augmentation": "auto",
        "init": "real",
        "seed": 0,
        "precision": "auto",
        "device": "auto",
        "metrics": {"every": 10},
        "snapshots": {"every": 100},
        "evaluation": {"networks": [], "repeats": 3, "epochs": 300, "controls": ["random"]},
    }
    assert parse(short) == parse(full)


def test_regularisers_of_a_mapping_may_have_fields() -> None:
    spec = parse({**JOB, "regularizers": {"mim": {"relative": 1.0, "layers": "last"}}})
    (mim,) = spec.regularizers
    assert (mim.name, mim.weight, mim.relative) == ("mim", None, 1.0)
    assert mim.model_dump()["layers"] == "last"


def test_specification_survives_json() -> None:
    spec = parse({**JOB, "regularizers": {"cmi": {"weight": 3, "teacher": {"network": "resnet18", "pool": 20}}}})
    again = parse(json.loads(spec.model_dump_json()))
    assert again == spec
    assert again.model_dump_json() == spec.model_dump_json()


def test_specification_is_frozen() -> None:
    spec = parse(JOB)
    with pytest.raises(ValueError, match="frozen"):
        spec.ipc = 3  # type: ignore[misc] # read-only: what is tested


@pytest.mark.parametrize(
    ("change", "pointer", "detail"),
    [
        ({"ipc": 0}, "/ipc", "`ipc` is 0, but must be at least 1"),
        ({"ipc": -3}, "/ipc", "`ipc` is -3, but must be at least 1"),
        ({"ipc": 10_001}, "/ipc", "`ipc` is 10001, but must be at most 10000"),
        ({"ipc": 2.5}, "/ipc", "`ipc` is 2.5: input should be a valid integer"),
        ({"seed": 2**63}, "/seed", "must be less than 9223372036854775808"),
        ({"ipcc": 3}, "/ipcc", "unknown field `ipcc`, did you mean `ipc`?"),
        ({"zzzzzz": 3}, "/zzzzzz", "unknown field `zzzzzz`; known fields: dataset, ipc, method"),
        ({"init": "zeros"}, "/init", "`init` is 'zeros', but must be one of 'real', 'noise' or 'k_means'"),
        ({"device": "tpu"}, "/device", "`device` is 'tpu'"),
        ({"dataset": ""}, "/dataset", "`dataset` is ''"),
        ({"method": "dmm"}, "/method", "unknown method 'dmm', did you mean 'dm'? Others: 'idm', 'datm'; known: "),
        ({"method": 5}, "/method", "a method is given by its name, or as an object with a `name`"),
        ({"method": {"lr_img": 1}}, "/method", "a method is given by its name, or as an object with a `name`"),
        ({"method": {"name": "dm", "lr_image": 1}}, "/method/lr_image", "did you mean `lr_img`?"),
        (
            {"method": {"name": "dm", "lr_img": math.nan}},
            "/method/lr_img",
            "`lr_img` is nan, but must be a finite number",
        ),
        ({"method": {"name": "dm", "momentum": 1}}, "/method/momentum", "`momentum` is 1, but must be less than 1"),
        ({"network": "convnett"}, "/network", "unknown network 'convnett', did you mean 'convnet'?"),
        (
            {"network": {"name": "convnet", "norm": "grp"}},
            "/network/norm",
            "must be one of 'instance', 'batch', 'layer'",
        ),
        ({"regularizers": {"cim": 1}}, "/regularizers/0", "unknown regulariser 'cim', did you mean 'mim'?"),
        ({"regularizers": {"mim": math.nan}}, "/regularizers/0/weight", "`weight` is nan, but must be a finite number"),
        ({"regularizers": {"mim": math.inf}}, "/regularizers/0/weight", "`weight` is inf, but must be a finite number"),
        ({"regularizers": {"cmi": -1}}, "/regularizers/0/weight", "`weight` is -1, but must be at least 0"),
        ({"regularizers": {"mim": {}}}, "/regularizers/0", "give `mim` exactly one of `weight`"),
        ({"regularizers": {"mim": {"weight": 1, "relative": 1}}}, "/regularizers/0", "give `mim` exactly one of"),
        ({"regularizers": "mim"}, "/regularizers", "is an object of weights by name, such as {'mim': 0.8}, or a list"),
        (
            {"regularizers": {"cmi": {"weight": 1, "teacher": {"pol": 2}}}},
            "/regularizers/0/teacher/pol",
            "unknown field `pol`, did you mean `pool`?",
        ),
        (
            {"regularizers": {"cmi": {"weight": 1, "teacher": {"network": "resnet19"}}}},
            "/regularizers/0/teacher/network",
            "unknown network 'resnet19', did you mean 'resnet18'?",
        ),
        ({"evaluation": {"epochz": 3}}, "/evaluation/epochz", "unknown field `epochz`, did you mean `epochs`?"),
        ({"evaluation": {"networks": ["convnet", "vgg"]}}, "/evaluation/networks/1", "unknown network 'vgg'"),
        (
            {"evaluation": {"controls": ["best"]}},
            "/evaluation/controls/0",
            "`controls[0]` is 'best', but must be one of",
        ),
        ({"augmentation": "colour_crop"}, "/augmentation", "unknown augmentation 'colour', did you mean 'color'?"),
        ({"augmentation": "crop_crop"}, "/augmentation", "names an operation twice"),
        ({"evaluation": {"augmentation": "mixup"}}, "/evaluation/augmentation", "unknown augmentation 'mixup'"),
        ({"ipc": 1, "regularizers": {"cmi": 1}}, "/regularizers/0", "CMI is identically zero with one image a class"),
        (
            {"ipc": 1, "method": "datm", "regularizers": {"cmi": 1}},
            "/regularizers/0",
            "(a class of one has no spread); use `ipc` 2 or more, or drop `cmi`",
        ),
        ({"method": "random", "regularizers": {"mim": 1}}, "/regularizers/0", "`random` takes no steps"),
        (
            {"method": "herding", "init": "noise"},
            "/init",
            "`herding` keeps real images, but `init` is 'noise'; use 'real'",
        ),
        (
            {"method": "dc", "augmentation": "auto"},
            "/augmentation",
            "`dc` matches images as they are, but `augmentation` is 'auto'; use 'none', or the method `dsa`",
        ),
        ({"method": "dsa", "augmentation": "none"}, "/augmentation", "`dsa` without augmentation is `dc`; use 'auto'"),
        ({"method": {"name": "dc", "outer_loop": 0}}, "/method/outer_loop", "must be at least 1"),
        ({"method": {"name": "dsa", "distance": "l2"}}, "/method/distance", "must be one of 'ours', 'mse' or 'cos'"),
        (
            {"method": "cafe", "network": {"name": "vgg11", "norm": "batch"}},
            "/network/norm",
            "the `batch` normalisation of `vgg11` mixes them; use another `norm`, or the `convnet` network",
        ),
        ({"method": {"name": "cafe", "halve_at": [0]}}, "/method/halve_at/0", "must be at least 1"),
        ({"ipc": 5001}, "/ipc", "the smallest class of cifar10 has 5000 training images"),
        ({"preset": "paper/dm-cifar10-ipc11"}, "/preset", "did you mean 'paper/dm-cifar10-ipc1"),
        ({"preset": 3}, "/preset", "unknown preset 3"),
    ],
)
def test_each_fault_is_located_and_explained(change: dict[str, Any], pointer: str, detail: str) -> None:
    found = faults({**JOB, **change})
    assert list(found) == [pointer]
    assert detail in found[pointer]


def test_all_faults_are_told_at_once() -> None:
    assert set(faults({"ipc": 0, "regularizers": {"mim": math.nan}, "seeed": 1})) == {
        "/dataset", "/method", "/ipc", "/regularizers/0/weight", "/seeed",
    }  # fmt: skip


def test_a_method_sets_what_its_paper_prescribes_and_the_job_does_not_say() -> None:
    assert (parse({**JOB, "method": "dc"}).init, parse({**JOB, "method": "dc"}).augmentation) == ("noise", "none")
    assert (parse({**JOB, "method": "cafe"}).init, parse({**JOB, "method": "cafe"}).augmentation) == ("noise", "none")
    assert (parse({**JOB, "method": "dsa"}).init, parse({**JOB, "method": "dsa"}).augmentation) == ("real", "auto")
    spec = parse({**JOB, "method": {"name": "dc"}, "init": "real"})
    assert spec.init == "real"
    assert parse(spec.model_dump(mode="json")) == spec
    assert parse({**JOB, "method": spec.method}).init == "noise"


def test_regulariser_listed_twice() -> None:
    twice = [{"name": "mim", "weight": 1}, {"name": "mim", "weight": 2}]
    assert "regulariser `mim` is listed 2 times" in faults({**JOB, "regularizers": twice})[""]


@pytest.mark.parametrize("data", [None, [], "dm", 3])
def test_a_job_is_an_object(data: Any) -> None:
    assert "a job is a JSON object" in faults(data)[""]


def test_ipc_may_exceed_a_class_when_images_start_as_noise() -> None:
    assert parse({**JOB, "ipc": 5001, "init": "noise"}).ipc == 5001


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_ipc_may_reach_the_smallest_class(name: str) -> None:
    smallest = DATASETS[name].smallest_class
    assert parse({**JOB, "dataset": name, "ipc": smallest}).ipc == smallest
    assert "/ipc" in faults({**JOB, "dataset": name, "ipc": smallest + 1})


def test_dataset_names_are_checked_against_what_exists() -> None:
    check_dataset_name("cifar10")
    check_dataset_name("photos", ("photos",))
    near = r"unknown dataset 'cifar_10', did you mean 'cifar10'\? Others: 'cifar100'.*; known: cifar10, cifar100"
    with pytest.raises(SpecError, match=near):
        check_dataset_name("cifar_10")
    with pytest.raises(SpecError, match="did you mean 'photos'"):
        check_dataset_name("photo", ("photos",))


def parse_or_problems(data: Any) -> JobSpec | tuple[Problem, ...]:
    try:
        return parse(data)
    except SpecError as error:
        return error.problems


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from([*JobSpec.model_fields, "preset", "method.name"]), json_values)
def test_any_value_anywhere_is_accepted_or_explained(field: str, value: Any) -> None:
    data = {**JOB, "method": {"name": value}} if field == "method.name" else {**JOB, field: value}
    outcome = parse_or_problems(data)
    if isinstance(outcome, JobSpec):
        assert parse(json.loads(outcome.model_dump_json())) == outcome
    else:
        assert all(problem.detail and problem.code for problem in outcome)


def test_the_menu_needs_neither_torch_nor_numpy() -> None:
    code = "import ddcore.spec, sys; sys.exit(', '.join({'torch', 'numpy'} & set(sys.modules)) or 0)"
    subprocess.run([sys.executable, "-c", code], check=True)
