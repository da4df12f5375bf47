"""What was typed into the form of a study, read into a base and a space."""

from __future__ import annotations

from app.dashboard.job_form import schema
from app.dashboard.study_form.draft import StudyDraft, from_request
from app.dashboard.study_form.space import part
from app.studies.schemas import StudyRequest
from ddcore.spec import Problem


def test_one_value_is_of_the_base_and_several_are_of_the_space() -> None:
    typed = {
        "dataset": "digits", "ipc": "1..10:3", "method": "dm", "method.iterations": "50", "method.lr_img": "0.1, 1",
        "regularizers.mim": "on", "regularizers.mim.weight": "0.1..10:5:log", "evaluation.controls": "random, herding",
        "seed": "",
    }  # fmt: skip
    found = part(schema.submission(), typed)
    assert found.base == {
        "dataset": "digits", "method": {"name": "dm", "iterations": 50}, "regularizers": {"mim": {}},
        "evaluation": {"controls": ["random", "herding"]},
    }  # fmt: skip
    assert found.space == {
        "ipc": {"from": 1, "to": 10, "count": 3},
        "method.lr_img": [0.1, 1],
        "regularizers.mim.weight": {"from": 0.1, "to": 10, "count": 5, "scale": "log"},
    }
    assert found.unread == {}


def test_what_belongs_to_several_methods_goes_with_them() -> None:
    typed = {
        "method": "dm, idm",
        "method.iterations": "50",
        "method.batch_real": "32",
        "network": "convnet",
        "network.width": "32",
    }
    found = part(schema.submission(), typed)
    assert found.space == {"method": ["dm", "idm"], "method.batch_real": [32]}
    assert found.base == {"iterations": 50, "network": {"name": "convnet", "width": 32}}
    several = part(schema.submission(), {**typed, "method.iterations": "50, 100"})
    assert (several.space["iterations"], "iterations" in several.base) == ([50, 100], False)


def test_a_line_that_says_no_values_is_named() -> None:
    found = part(schema.submission(), {"dataset": "digits", "ipc": "1..10", "seed": "1,,2"})
    assert found.space == {}
    assert found.unread["ipc"].startswith("'1..10' is no span; write values as dm, idm or a span as")
    assert "leaves a value out" in found.unread["seed"]
    assert found.base == {"dataset": "digits"}


def test_a_study_is_spelt_out_as_it_was_typed() -> None:
    typed = {
        "dataset": "digits", "ipc": "1, 2", "method": "dm, idm", "method.iterations": "50", "regularizers.mim": "on",
        "regularizers.mim.relative": "null, 1", "study.budget.jobs": "9", "study.seeds": "0, 1", "study.name": "mine",
    }  # fmt: skip
    body = StudyDraft(typed).body
    assert body["space"]["regularizers.mim.relative"] == [None, 1]
    normalised = StudyRequest.model_validate(body).model_dump(mode="json", by_alias=True)
    copied = from_request(normalised)
    assert StudyRequest.model_validate(copied.body) == StudyRequest.model_validate(body)
    assert copied.left_out == []


def test_an_automatic_study_takes_no_regularisers() -> None:
    typed = {"dataset": "digits", "method": "auto", "regularizers.mim": "on", "regularizers.mim.weight": "1, 2"}
    draft = StudyDraft(typed)
    assert draft.body == {"base": {"dataset": "digits", "method": "auto"}}
    assert [path for path, _ in draft.left_out] == ["regularizers.mim", "regularizers.mim.weight"]
    assert StudyDraft({**typed, "method": "auto, dm"}).left_out == []


def test_faults_stand_beside_what_was_typed() -> None:
    draft = StudyDraft({"dataset": "digits", "ipc": "1..9", "method": "dm, idm", "regularizers.mim": "on"})
    problems = [
        Problem("/base/ipc", "missing", "`ipc` is required"),
        Problem("/base/iterations", "range", "too many steps"),
        Problem("/base/regularizers/mim/weight", "range", "no weight"),
        Problem("/budget/jobs", "range", "no jobs"),
        Problem("/space/method/1", "unknown", "no such method"),
        Problem("/space", "empty", "nothing"),
    ]
    found = draft.placed(problems, sent=True)
    assert found.beside.keys() == {
        "ipc", "method", "method.iterations", "regularizers.mim.weight", "study.budget.jobs",
    }  # fmt: skip
    assert "is no span" in found.beside["ipc"][0]
    assert found.elsewhere == ["nothing"]
