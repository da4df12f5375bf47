"""Images of a user's own through ``ddctl``: taken in, listed, distilled, without a service."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ddclient import cli
from ddclient.commands.ingest_options import options
from ddclient.errors import BadInputError, Exit


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of 24 images of mixed formats and sizes, in the working folder."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "here" / "photos"
    for number in range(24):
        name = ("Red pandas", "café.noir")[number % 2]
        path = folder / name / f"{number}.{('jpg', 'png', 'webp')[number % 3]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        height, width = rng.integers(20, 60, 2)
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv("DD_HOME", str(tmp_path / "home"))
    return folder


def ddctl(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = cli.invoke(arguments)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_mixed_sizes_are_answered_with_commands_that_do(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, said = ddctl(capsys, "datasets", "add", "photos")
    assert status == Exit.FAILED
    assert "24 different ones" in said
    for way in ("--size 16", "--size 16 --fit pad", "--size 16 --fit stretch"):
        assert way in said
        assert ddctl(capsys, "datasets", "add", "photos", *way.split(), "--replace")[0] == 0
    assert photos.is_dir()


@pytest.mark.parametrize(
    "given",
    [[], ["--name", "pets"], ["--data-root", "my root"], ["--local", "--skip-unreadable"], ["--dry-run"]],
    ids=" ".join,
)
def test_the_commands_of_a_refusal_can_be_typed(
    photos: Path, given: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if "--local" in given:
        monkeypatch.setenv("DD_URL", "http://127.0.0.1:9")
    path = photos.rename(photos.with_name("my photos"))
    said = ddctl(capsys, "datasets", "add", str(path), "--fit", "stretch", *given)[2]
    typed = [shlex.split(line) for line in re.findall(r"^  (ddctl .*)$", said, re.M)]
    assert [words[-2:] for words in typed] == [["--size", "16"], ["--fit", "pad"], ["--fit", "stretch"]]
    assert typed[0][-4:-2] == ["--fit", "stretch"], "what the user gave is kept"
    for words in typed:
        assert set(given) <= set(words)
        assert ddctl(capsys, *words[1:], *([] if "--dry-run" in given else ["--replace"]))[0] == 0


def test_large_images_can_be_kept_as_the_refusal_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(10):
        path = tmp_path / "large" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (150, 150), dtype=np.uint8)).save(path)
    said = ddctl(capsys, "datasets", "add", str(tmp_path / "large"))[2]
    keep = shlex.split(said.splitlines()[-1])
    assert keep[-2:] == ["--size", "keep"]
    assert ddctl(capsys, *keep[1:])[0] == 0


def test_from_a_folder_to_a_list(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert photos.is_dir()
    status, out, _ = ddctl(capsys, "datasets", "add", "photos", "--size", "16", "--dry-run")
    assert status == 0
    assert out.endswith("nothing was kept\n")
    assert "photos" not in ddctl(capsys, "datasets", "list")[1]

    status, out, _ = ddctl(capsys, "datasets", "add", "photos", "--size", "16x24", "--name", "pets", "--json")
    report = json.loads(out)
    assert (status, report["shape"], report["options"]["size"]) == (0, [3, 16, 24], [16, 24])
    listed = {row["name"]: row for row in json.loads(ddctl(capsys, "datasets", "list", "--json")[1])}
    assert listed["pets"]["where"] == "taken in"
    assert listed["pets"]["facts"]["smallest_class"] == 10
    assert listed["digits"]["where"] == "built in"

    shown = ddctl(capsys, "datasets", "show", "pets")[1]
    for line in ("read as   class folders", "20 train + 4 test, 24 x 16, colour", "10 + 2  café.noir", "set aside"):
        assert line in shown
    assert json.loads(ddctl(capsys, "datasets", "show", "pets", "--json")[1]) == report
    here = f"the data root {Path(os.environ['DD_HOME']) / 'data'}"
    assert ddctl(capsys, "datasets", "export", "pets", "--out", "copy")[1] == f"24 images of {here} in copy\n"
    assert ddctl(capsys, "datasets", "rm", "pets")[1] == f"removed pets from {here}\n"
    status, _, said = ddctl(capsys, "datasets", "show", "pets")
    assert (status, "`ddctl datasets list`" in said) == (Exit.BAD_INPUT, True)


SMALL = ["--ipc", "1", "--method", "random", "--set", "network.width=4", "--set", "evaluation.epochs=1",
         "--set", "evaluation.repeats=1", "--set", "metrics.probe=random"]  # fmt: skip


def test_a_folder_is_distilled_in_one_command_and_the_result_reproduced(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert photos.is_dir()
    status, out, said = ddctl(capsys, "run", "./photos", "--size", "16", "--out", "out", "--json", *SMALL)
    assert (status, json.loads(out)["status"]) == (0, "succeeded")
    assert "20 train + 4 test, 16 x 16" in said
    manifest = json.loads(Path("out/manifest.json").read_text())
    assert manifest["dataset"]["name"] == "photos"
    assert manifest["spec"]["dataset"].startswith("ds_")
    assert ddctl(capsys, "train-on", "out", "--json")[0] == 0


def test_a_set_that_was_taken_in_is_refused_by_its_own_sizes(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert photos.is_dir()
    ddctl(capsys, "datasets", "add", "photos", "--size", "16")
    status, _, said = ddctl(capsys, "run", "photos", "--method", "random", "--ipc", "11")
    assert (status, "the smallest class of photos has 10 training images" in said) == (Exit.BAD_INPUT, True)


def test_an_option_without_images_is_refused(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert photos.is_dir()
    status, _, said = ddctl(capsys, "run", "digits", "--size", "16", *SMALL)
    assert (status, "--size says how images are taken in, but no path of images is given" in said) == (
        Exit.BAD_INPUT, True,
    )  # fmt: skip


def test_options_that_are_not_given_keep_their_defaults() -> None:
    assert options(size=None, group_folders=False).model_fields_set == set()
    assert options(size="keep").size == "keep"
    assert options(size="64", fit="pad", test_split=0.1).model_dump(exclude_unset=True) == {
        "size": 64, "fit": "pad", "test_split": 0.1,
    }  # fmt: skip


@pytest.mark.parametrize("size", ["64px", "64x", "axb", "1x2x3", "-3"])
def test_a_size_that_cannot_be_read_is_refused(size: str) -> None:
    with pytest.raises(BadInputError, match=f"--size is '{size}', but must be a number"):
        options(size=size)


@pytest.mark.parametrize(
    ("given", "said"), [({"size": "0"}, "/size"), ({"fit": "squash"}, "/fit"), ({"test_split": 1.5}, "/test_split")]
)
def test_values_out_of_range_name_the_field(
    given: dict[str, Any], said: str, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ((name, value),) = given.items()
    status, _, error = ddctl(capsys, "datasets", "add", str(photos), f"--{name.replace('_', '-')}", str(value))
    assert (status, said in error) == (Exit.BAD_INPUT, True), error
