"""The form of a job without its page: every field is there, and what was typed becomes what was meant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import pytest

from app.dashboard.job_form import schema
from app.dashboard.job_form.draft import Draft
from app.dashboard.job_form.faults import placed
from app.dashboard.job_form.known import Known
from app.dashboard.job_form.presets import Search
from app.dashboard.job_form.reading import read
from app.dashboard.job_form.spelling import spell
from ddcore.spec import CATALOGS, METHODS, REGULARIZERS, Problem, SpecError, all_presets, method_config, parse
from ddcore.spec.base import MethodConfig

PLAIN = {"dataset": "digits", "ipc": "2", "method": "dm"}


def body_of(values: Mapping[str, str]) -> dict[str, Any]:
    return read(schema.submission(), values)


def bodies() -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield from ((name, preset.job) for name, preset in all_presets().items())
    for catalog in CATALOGS:
        for name, cls in catalog.items():
            field = catalog.kind.replace("regulariser", "regularizers")
            given: Any = {**cls.smoke, "name": name}
            if field == "regularizers":
                given = {name: {"relative": 0.5, **cls.smoke}}
            yield f"{field} {name}", {"dataset": "digits", "ipc": 2, "method": "dm", field: given}


def test_every_preset_and_component_comes_back_from_the_form_as_it_was() -> None:
    seen = 0
    for name, body in bodies():
        again = body_of(spell(schema.submission(), body))
        try:
            meant = parse(body)
        except SpecError:
            continue
        assert parse(again) == meant, name
        # And in the full spelling, as of jobs that an older version has written.
        assert parse(body_of(spell(schema.submission(), meant.model_dump(mode="json")))) == meant, name
        seen += 1
    assert seen > len(all_presets())


def test_every_field_of_every_method_and_regulariser_is_on_the_form() -> None:
    for kind, catalog in (("method", METHODS), ("regularizers", REGULARIZERS)):
        for name, cls in catalog.items():
            chosen = {"method": name} if kind == "method" else {**PLAIN, f"regularizers.{name}": "on"}
            above = "method" if kind == "method" else f"regularizers.{name}"
            paths = Draft(chosen).paths
            assert {f"{above}.{field}" for field in cls.model_fields if field != "name"} <= set(paths)


def test_a_component_that_joins_is_on_the_form_at_once() -> None:
    assert "toy_of_the_form" not in schema.submission()["method"].components

    @method_config
    class ToyConfig(MethodConfig):
        name: Literal["toy_of_the_form"] = "toy_of_the_form"
        iterations: int = 7

    try:
        assert Draft({"method": "toy_of_the_form"}).fields()["method"].usual[0].path == "method.iterations"
        assert body_of({"method": "toy_of_the_form", "method.iterations": "3"}) == {
            "method": ToyConfig(iterations=3).model_dump()
        }
    finally:
        METHODS.unregister("toy_of_the_form")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ({"seed": " 7 "}, {"seed": 7}),
        ({"seed": "7.5"}, {"seed": 7.5}),
        ({"seed": "seven"}, {"seed": "seven"}),
        ({"seed": "1_0"}, {"seed": "1_0"}),
        ({"seed": "nan"}, {"seed": "nan"}),
        ({"seed": "  "}, {}),
        ({"method": "dm", "method.lr_img": "1e-3"}, {"method": {"name": "dm", "lr_img": 0.001}}),
        ({"method": "cafe", "method.networks": "null"}, {"method": {"name": "cafe", "networks": None}}),
        ({"method": "cafe", "method.halve_at": "3, 5"}, {"method": {"name": "cafe", "halve_at": [3, 5]}}),
        ({"regularizers.cmi": "on", "regularizers.cmi.weight": "20"}, {"regularizers": {"cmi": 20}}),
        ({"regularizers.cmi.weight": "20"}, {}),
        ({"evaluation.controls": "none"}, {"evaluation": {"controls": []}}),
        ({"evaluation.during": "on"}, {"evaluation": {"during": {}}}),
        (
            {"evaluation.networks": '["mlp", {"name": "lenet"}]'},
            {"evaluation": {"networks": ["mlp", {"name": "lenet"}]}},
        ),
        ({"whitening": "true"}, {"whitening": True}),
        ({"name": "null"}, {"name": "null"}),
        ({"labels": "team: a:b\n\nrun=3"}, {"labels": {"team": "a:b", "run": "3"}}),
        ({"labels": "team"}, {"labels": "team"}),
        ({"labels": "a: 1\na: 2"}, {"labels": "a: 1\na: 2"}),
        ({"limits.max_queue_s": "60"}, {"limits": {"max_queue_s": 60}}),
    ],
)
def test_what_was_typed(typed: Mapping[str, str], meant: Mapping[str, Any]) -> None:
    assert body_of(typed) == meant


def test_what_an_older_version_had_and_the_form_has_not_is_said() -> None:
    old = {"method": {"name": "dm", "gone": 3}, "regularizers": [{"name": "cmi", "weight": 1, "old": True}], "x": "y"}
    draft = Draft(spell(schema.submission(), old))
    assert draft.left_out == [("method.gone", "3"), ("regularizers.cmi.old", "true"), ("x", "y")]
    assert draft.body == {"method": "dm", "regularizers": {"cmi": 1}}


def test_faults_stand_beside_their_field_or_the_nearest_around_it() -> None:
    draft = Draft({**PLAIN, "regularizers.mim": "on", "regularizers.cmi": "on"})
    problems = [
        Problem("/regularizers/1/weight", "x", "a"),
        Problem("/regularizers/0/teacher/network/gone", "x", "b"),
        Problem("/evaluation/networks/0/width", "x", "c"),
        Problem("/nowhere", "x", "d"),
        Problem("/seed", "missing", "e"),
    ]
    found = placed(problems, draft.body, draft.paths, sent=False)
    assert found.beside == {
        "regularizers.cmi.weight": ["a"],
        "regularizers.mim.teacher.network": ["b"],
        "evaluation.networks": ["c"],
    }
    assert (found.elsewhere, found.missing, found.count) == (["d"], ["seed"], 4)
    assert placed(problems, draft.body, draft.paths, sent=True).beside["seed"] == ["e"]


def test_defaults_are_those_that_the_rest_of_the_job_decides() -> None:
    plain = parse({"dataset": "digits", "ipc": 1, "method": "bptt"}).model_dump(mode="json")
    fields = Draft({"method": "bptt", "init": "real"}).fields(known=Known(plain, plain))
    assert fields["init"].default == "noise"
    evaluation = {one.path: one for one in fields["evaluation"].all()}
    assert evaluation["evaluation.epochs"].default == str(plain["evaluation"]["epochs"])


def test_presets_are_found_by_method_dataset_and_words() -> None:
    names = [preset.name for preset in Search("CMI", "mtt", "cifar10").found()]
    assert names == [name for name in all_presets() if name.startswith("paper/mtt+cmi-cifar10-")]
    assert names
    assert Search("no such paper").found() == []


def test_several_components_have_their_common_fields_with_what_is_alike() -> None:
    method = schema.submission()["method"]
    shared = method.shared_parts(["dm", "idm"])
    assert set(shared) == set(method.parts("dm")) & set(method.parts("idm"))
    assert (shared["iterations"].default, shared["lr_img"].default) == (20_000, None)
    assert method.parts("dm")["lr_img"].default != method.parts("idm")["lr_img"].default
    assert method.shared_parts(["dm"]) == method.parts("dm")
    assert method.shared_parts(["dm", "nothing"]) == {}
