"""The engine as a process: what it inherits, what it says, and when it dies."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos.dummy_engine import result_of, state_after
from tests.chaos.harness import ROOT
from tests.worker.conftest import Desk
from worker import protocol
from worker.engine_process import EngineProcess
from worker.launching import Launcher, environment
from worker.protocol import Frame


def wait(until: Callable[[], object], timeout: float = 60) -> None:
    give_up_at = time.monotonic() + timeout
    while not until():
        assert time.monotonic() < give_up_at
        time.sleep(0.02)


def test_an_engine_inherits_no_secret(desk: Desk) -> None:
    surroundings = {
        "PATH": "/bin", "HOME": "/root", "CUDA_VISIBLE_DEVICES": "1", "DD_DATABASE_URL": "postgresql://u:p@h/d",
        "DD_BROKER_URL": "redis://:p@h", "DD_PEPPER": "p", "AWS_SECRET_ACCESS_KEY": "p", "DD_API_KEY": "p",
    }  # fmt: skip
    settings = desk.cluster.settings.model_copy(update={"engine_threads": 3, "engine_memory_gb": 2})
    found = environment(settings, surroundings)
    assert found == {
        "PATH": "/bin", "HOME": "/root", "CUDA_VISIBLE_DEVICES": "1", "OMP_NUM_THREADS": "3",
        "DD_DATA_ROOT": str(settings.data_root), "DD_CACHE_DIR": str(settings.cache_dir),
        "DD_BACKBONES_DIR": str(settings.backbones_dir),
        "DD_PARENT_PID": str(os.getpid()), "PYTHONUNBUFFERED": "1",
        "DD_ENGINE_MEMORY_BYTES": "2000000000",
    }  # fmt: skip


@pytest.fixture(params=["forked", "from nothing"])
def way(request: pytest.FixtureRequest, desk: Desk) -> Iterator[Launcher]:
    """Both ways in which an engine is started."""
    made = Launcher(desk.cluster.settings.model_copy(update={"engine_preload": request.param == "forked"}))
    yield made
    made.close()


def started(desk: Desk, way: Launcher) -> EngineProcess:
    return EngineProcess(way, desk.folder, desk.book, desk.cluster.settings.engine_module)


def test_an_engine_runs_to_its_end(desk: Desk, way: Launcher) -> None:
    engine = started(desk, way)
    wait(lambda: engine.poll() is not None)
    engine.close()
    assert engine.poll() == 0
    frames = engine.frames.take(1000)
    assert frames[-1] == protocol.Done(steps=10, finalized=False, results={"accuracy": None, "controls": {}})
    assert (desk.folder.out / "distilled.safetensors").read_bytes() == result_of(state_after(1, 10))
    assert os.getsid(0) != engine.pid


def progressing(engine: EngineProcess) -> bool:
    return any(isinstance(frame, protocol.Metrics) for frame in engine.frames.take(1000))


@pytest.mark.parametrize(("act", "code"), [("save", 75), ("finalize", 0), ("kill", -9)])
def test_an_engine_hears(desk: Desk, way: Launcher, act: str, code: int) -> None:
    engine = started(desk, way)
    wait(lambda: progressing(engine))
    getattr(engine, act)()
    wait(lambda: engine.poll() is not None)
    engine.close()
    getattr(engine, act)()  # to a process that is gone: nothing happens
    assert engine.poll() == code


def run_module(desk: Desk, monkeypatch: pytest.MonkeyPatch, folder: Path, code: str) -> tuple[int | None, list[Frame]]:
    """Run a few lines as the engine; they find the pipe's descriptor as ``fd``."""
    (folder / "odd_engine.py").write_text(f"import os, sys\nfd = int(sys.argv[-1])\n{code}\n")
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{ROOT}")
    engine = EngineProcess(Launcher(desk.cluster.settings, forks=False), desk.folder, desk.book, "odd_engine")
    wait(lambda: engine.poll() is not None)
    engine.close()
    return engine.poll(), engine.frames.take(100)


def test_an_engine_that_talks_nonsense_is_killed(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    talks = "import time; os.write(fd, b'\\xff' * 100); time.sleep(60)"
    assert run_module(desk, monkeypatch, tmp_path, talks) == (-9, [])


def test_half_a_frame_of_a_dying_engine_is_dropped(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dies = "from worker.protocol import *; os.write(fd, encode(Progress(done=1, total=2)) * 2 + b'\\0\\0'); os._exit(3)"
    code, frames = run_module(desk, monkeypatch, tmp_path, dies)
    assert (code, frames) == (3, [protocol.Progress(done=1, total=2)] * 2)


def printed(desk: Desk) -> list[str]:
    return [line.split(" output  ")[1] for line in desk.book.next().decode().splitlines() if " output " in line]


def test_what_an_engine_prints_is_in_its_log(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_module(desk, monkeypatch, tmp_path, "print('hello', file=sys.stderr); print('out')")
    assert sorted(printed(desk)) == ["hello", "out"]


def test_what_an_engine_starts_dies_with_it(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that keeps the pipe open must not keep the supervisor waiting."""
    code = "import subprocess; print(subprocess.Popen(['sleep', '60'], close_fds=False).pid, flush=True)"
    began = time.monotonic()
    run_module(desk, monkeypatch, tmp_path, code)
    assert time.monotonic() - began < 4
    child = Path("/proc") / printed(desk)[0] / "cmdline"
    wait(lambda: not child.exists() or not child.read_bytes())


@pytest.mark.parametrize("preload", [True, False])
def test_an_engine_dies_with_the_process_that_started_it(desk: Desk, preload: bool) -> None:
    """Killed with -9, so that nothing can clean up."""
    code = f"""
import os, signal, time
from pathlib import Path
from app.core.settings import Settings
from worker.engine_process import EngineProcess
from worker.launching import Launcher
from worker.log_book import LogBook
from worker.run_folder import RunFolder
folder = RunFolder(Path({str(desk.cluster.settings.runs_dir)!r}), {desk.claimed.job_id!r}, {desk.claimed.fence})
launcher = Launcher(Settings(engine_preload={preload}))
engine = EngineProcess(launcher, folder, LogBook(1, limit=1000), Settings().engine_module)
while not engine.frames.take(1): time.sleep(0.01)
os.kill(os.getpid(), signal.SIGKILL)
"""
    variables = {**desk.cluster.variables, "PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
    ended = subprocess.run([sys.executable, "-c", code], env=variables, cwd=ROOT, check=False, timeout=60)
    assert ended.returncode == -9
    wait(lambda: desk.cluster.engines() == [], timeout=60)
