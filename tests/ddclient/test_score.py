"""``ddctl score`` with the real engine, on networks of seconds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from ddclient import cli
from ddclient.errors import Exit

SCORING = (
    "--dataset", "digits", "--set", "network.width=8", "--set", "evaluation.repeats=2", "--set", "evaluation.epochs=3",
    "--set", "compile=off",
)  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two real images a digit."""
    found = load_digits()
    rows = np.concatenate([np.flatnonzero(found.target == label)[:2] for label in range(10)])
    np.savez(tmp_path / "set.npz", images=found.images[rows] / 16, labels=found.target[rows])
    return tmp_path / "set.npz"


def scored(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert cli.invoke(["score", *words, "--json"]) == Exit.SUCCEEDED
    return json.loads(capsys.readouterr().out)


def test_a_set_is_scored_like_a_job(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.invoke(["score", str(file), *SCORING]) == Exit.SUCCEEDED
    captured = capsys.readouterr()
    (line,) = captured.out.splitlines()
    assert line.startswith("accuracy  ")
    assert "over 2 networks; random real images of the same number: " in line
    assert line.endswith("images of set.npz")
    assert "set.npz, an .npz file: taken are `images` and `labels`; pixels run from 0 to 1, by " in captured.err


def test_everything_can_be_asked_for(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        str(file), *SCORING, "--protocol", "dc", "--network", "mlp", "--worth", "--seed", "3", "--values", "unit",
        "--control", "random", "--control", "full", "--set", "evaluation.networks=[\"mlp\", \"convnet\"]",
        "--set", "evaluation.worth.sizes=2", "--set", "evaluation.full_images=1", "--out", str(tmp_path / "out"),
    )  # fmt: skip
    document = scored(capsys, *words)
    results, spec = document["results"], document["spec"]
    assert list(results["controls"]) == ["random", "full"]
    assert [entry["network"]["name"] for entry in results["architectures"]] == ["mlp", "convnet"]
    assert (spec["evaluation"]["protocol"], spec["seed"], spec["network"]["name"]) == ("dc", 3, "mlp")
    assert len(results["worth"]["curve"]) == 2
    assert document["out"] == str(tmp_path / "out")
    assert results["origin"]["file"] == "set.npz"

    assert cli.invoke(["score", *words]) == Exit.SUCCEEDED
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["accuracy", "network", "network", "bundle"]
    assert lines[1].startswith(f"network   mlp: {results['accuracy']['mean']:.1f} % ± ")
    assert ", random " in lines[1]
    assert "random real images per class" in lines[0]
    assert cli.invoke(["train-on", str(tmp_path / "out"), "--json"]) == Exit.SUCCEEDED
    again = json.loads(capsys.readouterr().out)
    assert again["results"]["accuracy"] == again["reported"]["accuracy"] == results["accuracy"]


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("FILE", Exit.BAD_INPUT, "--dataset"),
        ("FILE --dataset digit", Exit.BAD_INPUT, "unknown dataset 'digit', did you mean 'digits'?"),
        ("nowhere.pt --dataset digits", Exit.FAILED, "there is no folder or file nowhere.pt"),
        ("FILE --dataset digits --values bit", Exit.BAD_INPUT, "unit"),
        ("FILE --dataset digits --values byte", Exit.FAILED, "use --values unit"),
        ("FILE --dataset digits --protocol none", Exit.BAD_INPUT, "protocol"),
        ("FILE --dataset digits --control real", Exit.BAD_INPUT, "best_coreset"),
        ("FILE --dataset digits --set method=dm", Exit.BAD_INPUT, "`method` says how a set is made"),
        ("FILE --dataset digits --set ipc=2", Exit.BAD_INPUT, "`ipc` says how a set is made"),
        ("FILE --dataset digits --set dataset=mnist", Exit.BAD_INPUT, "`dataset` says how a set is made"),
        ("FILE --dataset digits --set values=unit", Exit.BAD_INPUT, "`values` says how a set is made"),
        ("FILE --dataset digits --labels labels.pt", Exit.FAILED, "--labels goes with a .pt file of images"),
    ],
)
def test_bad_input_is_refused_with_a_way_out(
    words: str, status: Exit, said: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.invoke(["score", *words.replace("FILE", str(file)).split()]) == status
    message = capsys.readouterr().err
    assert said in message
    assert "Traceback" not in message


def test_a_bundle_is_left_to_train_on(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = scored(capsys, str(file), *SCORING, "--out", str(tmp_path / "out"))
    assert document["results"]["bytes"] > 0
    assert cli.invoke(["score", str(tmp_path / "out"), "--dataset", "digits"]) == Exit.FAILED
    assert "is a bundle, which has its recipe; score it by `ddctl train-on`" in capsys.readouterr().err
    shutil.move(tmp_path / "out" / "distilled.safetensors", tmp_path / "set.safetensors")
    again = scored(capsys, str(tmp_path / "set.safetensors"), *SCORING)
    assert again["results"]["accuracy"] == document["results"]["accuracy"]
