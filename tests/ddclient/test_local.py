"""``ddctl run`` and ``ddctl train-on`` with the real engine, on a job of seconds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ddclient import cli
from ddclient.errors import Exit
from ddclient.live import RunView
from ddclient.local import EngineView, stop_on_signals
from ddcore.data import sources
from ddcore.runtime.callback import Stop
from tests.ddcore.weights import OURS, train_ours

TINY = (
    "run", "digits", "--ipc", "1", "--iterations", "40", "--set", "network.width=8", "--set", "method.batch_real=8",
    "--set", "metrics.probe=random", "--set", "compile=off",
)  # fmt: skip
SAVED = ("--iterations", "200", "--set", "evaluation.repeats=0", "--set", "checkpoints.every=1")
SCORED = ("--set", "evaluation.repeats=1", "--set", "evaluation.epochs=2")


class Recorder:
    """A screen that remembers what was drawn."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def show(self, view: RunView) -> None:
        self.lines.append(view.line())


def last_json(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def wait_for_a_step(child: subprocess.Popen[str], folder: Path) -> None:
    deadline = time.monotonic() + 120
    while not any(folder.rglob("checkpoints/*.safetensors")):
        assert child.poll() is None, "the run ended before a step was saved"
        assert time.monotonic() < deadline, "no step was saved in two minutes"
        time.sleep(0.001)


def test_a_run_leaves_a_bundle_that_train_on_reproduces(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert cli.invoke([*TINY, *SCORED, "--out", str(out), "--json"]) == Exit.SUCCEEDED
    document = last_json(capsys)
    assert document["steps"] == 40
    assert {path.name for path in tmp_path.iterdir()} - {"home"} == {"out"}
    assert cli.invoke(["train-on", str(out), "--json"]) == Exit.SUCCEEDED
    again = last_json(capsys)
    assert again["results"]["accuracy"] == again["reported"]["accuracy"] == document["results"]["accuracy"]


def test_a_set_on_a_backbone_needs_its_file_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From the state folder, where nothing else is said; before a folder is made or anything is loaded."""
    backbone = json.dumps({"weights": "ours", "network": OURS})
    on_backbone = ("--set", "evaluation.protocol=linear_probe", "--set", f"evaluation.backbone={backbone}")
    command = [*TINY, *SCORED, *on_backbone, "--out", str(tmp_path / "out"), "--json"]
    assert cli.invoke(command) == Exit.BAD_INPUT
    (fault,) = last_json(capsys)["error"]["errors"]
    assert fault["pointer"] == "/evaluation/backbone/weights"
    assert not list(tmp_path.glob("out*"))
    folder = tmp_path / "home" / "backbones"
    folder.parent.mkdir(exist_ok=True)
    train_ours(sources.load("digits", None, None), folder, classes=10)
    assert cli.invoke(command) == Exit.SUCCEEDED
    document = last_json(capsys)
    assert cli.invoke(["train-on", str(tmp_path / "out"), "--json"]) == Exit.SUCCEEDED
    assert last_json(capsys)["results"]["accuracy"] == document["results"]["accuracy"]
    (folder / "ours.safetensors").unlink()
    assert cli.invoke(["train-on", str(tmp_path / "out"), "--json"]) == Exit.FAILED
    message = last_json(capsys)["error"]["message"]
    assert f"ours.safetensors, SHA-256 {document['results']['backbone']['sha256']}. Put that file into" in message


def test_an_interrupted_run_goes_on_to_the_same_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert cli.invoke([*TINY, *SAVED, "--out", str(whole), "--json"]) == Exit.SUCCEEDED
    capsys.readouterr()
    command = [sys.executable, "-m", "ddclient.cli", *TINY, *SAVED, "--out", str(parts), "--json"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ})
    wait_for_a_step(child, tmp_path)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    stopped = json.loads(out)
    assert child.returncode == Exit.RESUMABLE, err
    assert 0 < stopped["step"] < 200
    assert "the same command goes on from" in err
    assert cli.invoke([*TINY, *SAVED, "--out", str(parts), "--json"]) == Exit.SUCCEEDED
    name = "distilled.safetensors"
    assert (parts / name).read_bytes() == (whole / name).read_bytes()
    assert not Path(stopped["run_dir"]).exists()


def test_the_view_follows_the_engine() -> None:
    screen = Recorder()
    view = RunView("out", 10)
    callback = EngineView(view, screen)
    callback.on_phase("distilling", 10)
    callback.on_progress(4, 10)
    too_early = view.eta_s
    assert too_early is None
    callback.on_progress(5, 10)
    callback.on_metrics(5, {"loss": 2.0, "cmi": 0.5})
    assert view.eta_s is not None
    assert view.series == {"loss": [2.0], "cmi": [0.5]}
    callback.on_resumed(5, exact=False)
    assert view.note == "resumed after step 5; other versions, so not bit for bit"
    callback.on_log("warning", "eager")
    assert view.note == "warning: eager"
    callback.finish()
    assert screen.lines[-1] == "succeeded, loss 2, cmi 0.5"


def test_the_first_signal_asks_and_the_second_insists() -> None:
    callback = EngineView(RunView("out"), Recorder())
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), stop_on_signals(callback):  # noqa: PT012 - the second signal raises
        assert callback.should_stop() is None
        os.kill(os.getpid(), signal.SIGINT)
        assert callback.should_stop() is Stop.CHECKPOINT
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
