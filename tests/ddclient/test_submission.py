from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from ddclient.errors import BadInputError
from ddclient.submission import build
from ddcore.spec import parse


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"dataset": "digits", "ipc": 2}, {"dataset": "digits", "ipc": 2, "method": "dm"}),
        (
            {"dataset": "cifar10", "method": "dm", "iterations": 300, "seed": 0},
            {"dataset": "cifar10", "method": {"name": "dm", "iterations": 300}, "seed": 0},
        ),
        (
            {"dataset": "digits", "regularizers": ["cmi=2000", "mim=relative:1.0", "x=weight:3"]},
            {
                "dataset": "digits",
                "method": "dm",
                "regularizers": {"cmi": {"weight": 2000.0}, "mim": {"relative": 1.0}, "x": {"weight": 3.0}},
            },
        ),
        ({"preset": "quick/dm-digits"}, {"preset": "quick/dm-digits"}),
        (
            {"preset": "quick/dm-digits", "method": "dm", "iterations": 5},
            {"preset": "quick/dm-digits", "method": {"name": "dm", "iterations": 5}},
        ),
        (
            {"dataset": "digits", "settings": ["evaluation.epochs=10", "network.width=32", "init=noise", "seed=7"]},
            {
                "dataset": "digits",
                "method": "dm",
                "evaluation": {"epochs": 10},
                "network": {"name": "convnet", "width": 32},
                "init": "noise",
                "seed": 7,
            },
        ),
        (
            {"dataset": "digits", "regularizers": ["cmi=1"], "settings": ["regularizers.cmi.teacher.epochs=2"]},
            {
                "dataset": "digits",
                "method": "dm",
                "regularizers": {"cmi": {"weight": 1.0, "teacher": {"epochs": 2}}},
            },
        ),
        (
            {"dataset": "digits", "settings": ["method.lr_img=0.5"]},
            {"dataset": "digits", "method": {"name": "dm", "lr_img": 0.5}},
        ),
    ],
)
def test_options_become_a_body(options: dict[str, Any], expected: dict[str, Any]) -> None:
    assert build(**options) == expected


def test_a_preset_keeps_what_the_options_do_not_name() -> None:
    body = build(preset="quick/dm-mim-cmi-digits", iterations=7, settings=["evaluation.epochs=9"])
    spec = parse(body)
    assert (spec.method.iterations, spec.evaluation.epochs, spec.evaluation.repeats) == (7, 9, 3)
    assert spec.method.model_dump()["batch_real"] == 64
    assert [term.name for term in spec.regularizers] == ["mim", "cmi"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("job.json", '{"dataset": "digits", "ipc": 2, "regularizers": [{"name": "cmi", "weight": 1}]}'),
        ("job.toml", 'dataset = "digits"\nipc = 2\nregularizers = [{ name = "cmi", weight = 1 }]'),
    ],
)
def test_a_file_is_the_ground_that_options_stand_on(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    body = build(spec=tmp_path / name, ipc=3, settings=["regularizers.0.weight=5"])
    assert body == {
        "dataset": "digits",
        "ipc": 3,
        "method": "dm",
        "regularizers": [{"name": "cmi", "weight": 5}],
    }


def test_a_specification_may_come_through_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO('{"dataset": "digits", "method": "random"}'))
    assert build(spec=Path("-")) == {"dataset": "digits", "method": "random"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "nothing says what to distill"),
        ({"dataset": "d", "regularizers": ["cmi"]}, "--reg is 'cmi'"),
        ({"dataset": "d", "regularizers": ["cmi=much"]}, "--reg is 'cmi=much'"),
        ({"dataset": "d", "regularizers": ["=1"]}, "--reg is '=1'"),
        ({"dataset": "d", "regularizers": ["cmi=rel:1"]}, "cmi=relative:0.2"),
        ({"dataset": "d", "settings": ["epochs"]}, "--set is 'epochs'"),
        ({"dataset": "d", "settings": ["a..b=1"]}, r"--set is 'a\.\.b=1'"),
        ({"dataset": "d", "settings": ["seed=1", "seed.x=2"]}, "would go inside seed, which is 1"),
        ({"dataset": "d", "settings": ["x=[1]", "x.3=2"]}, "'3' is no index of a list of 1"),
        ({"spec": Path("missing.json")}, r"cannot read missing\.json: No such file"),
    ],
)
def test_bad_options_say_what_they_should_look_like(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        build(**options)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b"{", "not valid JSON"),
        ("a.toml", b"= 1", "not valid TOML"),
        ("a.json", b"[1]", "must hold an object"),
        ("a.json", b"\xff\xfe", "not UTF-8"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInputError, match=message):
        build(spec=tmp_path / name)
