"""What was typed into the form of a study, read into a base and a space."""

from __future__ import annotations

from app.dashboard.job_form import schema
from app.dashboard.study_form.space import part


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
    typed = {"method": "dm, idm", "method.iterations": "50", "method.augment": "color, crop", "network.width": "32"}
    found = part(schema.submission(), typed)
    assert found.space["method"] == ["dm", "idm"]
    assert found.space["method.iterations"] == [50]
    assert "method" not in found.base


def test_a_line_that_says_no_values_is_named() -> None:
    found = part(schema.submission(), {"dataset": "digits", "ipc": "1..10", "seed": "1,,2"})
    assert found.space == {}
    assert found.unread["ipc"].startswith("'1..10' is no span; write values as dm, idm or a span as")
    assert "leaves a value out" in found.unread["seed"]
    assert found.base == {"dataset": "digits"}
