"""The engine process: what it says of errors, and that it is heard as a real process."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ddcore.data import sources
from ddcore.errors import CompilerError, ConfigurationError, DataError, DivergedError, OutOfMemoryError
from ddcore.runtime.callback import Stop
from ddcore.spec import Problem, SpecError
from tests.chaos.harness import ROOT
from tests.ddcore.weights import OURS, train_ours
from worker import protocol
from worker.child import report
from worker.engine_guard import StopRequest
from worker.engine_main import PipeCallback
from worker.protocol import Decoder, Frame, FrameWriter


@pytest.mark.parametrize(
    ("error", "exit_code", "code", "retryable"),
    [
        (OutOfMemoryError("too large"), 76, "out_of_memory", True),
        (MemoryError(), 76, "out_of_memory", True),
        (SpecError([Problem("/ipc", "greater_than", "too small")]), 77, "bad_spec", False),
        (ConfigurationError("too deep"), 77, "bad_configuration", False),
        (DataError("row 7"), 78, "data_error", False),
        (DivergedError("NaN at step 3"), 1, "diverged", False),
        (CompilerError("a header is gone"), 1, "compiler_failed", True),
        (OSError(errno.EIO, "broken disk"), 1, "io_error", True),
        (OSError(errno.ENOSPC, "full"), 1, "no_space", True),
        (ZeroDivisionError("/secret/path"), 1, "internal_error", False),
    ],
)
def test_errors_are_reported(error: Exception, exit_code: int, code: str, retryable: bool) -> None:
    found, frame = report(error)
    assert (found, frame.code, frame.retryable) == (exit_code, code, retryable)
    assert frame.message
    assert "/secret" not in frame.message
    assert len(report(DataError("x" * (1 << 21)))[1].message) < protocol.MAX_FRAME / 2


class Listener:
    """The reading end of a callback's pipe."""

    def __init__(self, folder: Path) -> None:
        self.reading, writing = os.pipe()
        os.set_blocking(self.reading, False)
        self.stop = StopRequest()
        self.callback = PipeCallback(FrameWriter(writing), folder, self.stop)
        self._decoder = Decoder()

    def heard(self) -> list[Frame]:
        try:
            return list(self._decoder.feed(os.read(self.reading, 1 << 16)))
        except BlockingIOError:
            return []


@pytest.fixture
def listener(tmp_path: Path) -> Listener:
    return Listener(tmp_path)


def test_progress_is_thinned_but_never_at_the_end(listener: Listener) -> None:
    for done in range(101):
        listener.callback.on_progress(done, 100)
    assert [frame.done for frame in listener.heard() if isinstance(frame, protocol.Progress)] == [0, 100]
    listener.callback.on_phase("evaluating", 3)
    listener.callback.on_progress(0, 3)
    assert [frame.type for frame in listener.heard()] == ["phase", "progress"]


def test_a_picture_travels_by_name(listener: Listener, tmp_path: Path) -> None:
    listener.callback.on_snapshot(7, b"picture")
    (frame,) = listener.heard()
    assert isinstance(frame, protocol.Snapshot)
    assert (tmp_path / "snapshots" / frame.name).read_bytes() == b"picture"


def test_everything_else_is_passed_on(listener: Listener) -> None:
    listener.callback.on_metrics(3, {"loss": 1.5})
    listener.callback.on_checkpoint(3, Path("/anywhere/0000000003-x.safetensors"), "ab" * 32)
    listener.callback.on_resumed(3, exact=True)
    listener.callback.on_log("warning", "careful")
    metrics, checkpoint, resumed, log = listener.heard()
    assert isinstance(metrics, protocol.Metrics)
    assert metrics.values == {"loss": 1.5}
    assert checkpoint == protocol.CheckpointSaved(step=3, name="0000000003-x.safetensors", sha256="ab" * 32)
    assert resumed == protocol.Resumed(step=3, exact=True)
    assert log == protocol.Log(level="warning", message="careful")


def test_signals_are_wishes_and_saving_wins(listener: Listener) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)}
    try:
        listener.stop.listen()
        assert listener.callback.should_stop() is None
        os.kill(os.getpid(), signal.SIGUSR1)
        assert listener.callback.should_stop() is Stop.FINALIZE
        assert listener.callback.finalized
        os.kill(os.getpid(), signal.SIGTERM)
        assert listener.callback.should_stop() is Stop.CHECKPOINT
        os.kill(os.getpid(), signal.SIGUSR1)
        assert listener.callback.should_stop() is Stop.CHECKPOINT
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def engine(run_dir: Path, spec: object, **variables: str) -> tuple[int, list[Frame], str]:
    """Run the engine process for real; its exit code, frames and log."""
    run_dir.mkdir()
    (run_dir / "spec.json").write_text(json.dumps(spec))
    reading, writing = os.pipe()
    log = run_dir / "engine.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker.engine_main", "--run-dir", str(run_dir), "--pipe-fd", str(writing)],
            pass_fds=(writing,), cwd=ROOT, stdout=output, stderr=output,
            env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", **variables},
        )  # fmt: skip
    os.close(writing)
    decoder = Decoder()
    with os.fdopen(reading, "rb") as pipe:
        frames = list(decoder.feed(pipe.read()))
    return process.wait(60), frames, log.read_text()


def test_a_wrong_specification_ends_with_its_own_code(tmp_path: Path) -> None:
    code, frames, log = engine(tmp_path / "run", {"dataset": "digits", "ipc": 0, "method": "dm"})
    assert code == protocol.EXIT_BAD_SPEC
    failed = frames[-1]
    assert isinstance(failed, protocol.Failed)
    assert failed.code == "bad_spec"
    assert "ipc" in failed.message
    assert "Traceback" in log


def test_a_missing_dataset_is_named_and_the_traceback_stays_in_the_log(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    spec = {"dataset": "nowhere", "ipc": 1, "method": {"name": "dm", "iterations": 1}, "device": "cpu"}
    code, frames, log = engine(tmp_path / "run", spec, DD_DATA_ROOT=str(tmp_path / "data"))
    assert code == protocol.EXIT_DATA_ERROR
    failed = frames[-1]
    assert isinstance(failed, protocol.Failed)
    assert failed.code == "data_error"
    assert "nowhere" in failed.message
    assert "Traceback" not in failed.message
    assert "Traceback" in log


def test_weights_of_another_network_are_a_wrong_specification(tmp_path: Path) -> None:
    train_ours(sources.load("digits", None, None), tmp_path / "backbones", classes=10)
    backbone = {"weights": "ours", "network": {**OURS, "width": 8}}
    spec = {"dataset": "digits", "ipc": 1, "method": {"name": "linear_gradient", "backbone": backbone}, "device": "cpu"}
    code, frames, _ = engine(tmp_path / "run", spec, DD_BACKBONES_DIR=str(tmp_path / "backbones"))
    assert code == protocol.EXIT_BAD_SPEC
    failed = frames[-1]
    assert isinstance(failed, protocol.Failed)
    assert failed.code == "bad_configuration"
    assert "ours.safetensors does not hold the weights of `convnet`" in failed.message
    code, frames, _ = engine(tmp_path / "again", spec, DD_BACKBONES_DIR=str(tmp_path))
    assert (code, frames[-1].type) == (protocol.EXIT_BAD_SPEC, "failed")


def test_an_engine_whose_parent_is_gone_ends_at_once(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    began = time.monotonic()
    orphan = subprocess.run(
        [sys.executable, "-m", "worker.engine_main", "--run-dir", str(tmp_path / "run"), "--pipe-fd", "1"],
        cwd=ROOT, capture_output=True, check=False,
        env={"PYTHONPATH": str(ROOT), "DD_PARENT_PID": "1"},
    )  # fmt: skip
    assert (orphan.returncode, orphan.stdout) == (1, b"")
    assert time.monotonic() - began < 10
