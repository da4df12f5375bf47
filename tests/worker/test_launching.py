"""Engines that are forked from one process, and what becomes of them when that is gone."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.harness import ROOT
from tests.worker.conftest import Desk
from tests.worker.test_engine_process import printed, progressing, wait
from worker.engine_process import EngineProcess
from worker.launching import Launcher
from worker.run_folder import RunFolder

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="engines are forked on Linux alone")


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def gone(pid: int) -> bool:
    """Whether a process has ended, waited for or not."""
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.fixture
def folders(desk: Desk) -> Iterator[RunFolder]:
    """Run folders of one job, attempt after attempt."""

    def each() -> Iterator[RunFolder]:
        for fence in range(100, 200):
            folder = RunFolder(desk.cluster.settings.runs_dir, desk.claimed.job_id, fence)
            folder.create(desk.claimed.spec)
            yield folder

    return each()


def start(launcher: Launcher, desk: Desk, folder: RunFolder) -> EngineProcess:
    engine = EngineProcess(launcher, folder, desk.book, desk.cluster.settings.engine_module)
    wait(lambda: progressing(engine))
    return engine


def end(engine: EngineProcess) -> int | None:
    wait(lambda: engine.poll() is not None)
    engine.close()
    engine.close()  # as the supervisor does
    engine.frames.close()
    return engine.poll()


def test_engines_come_from_one_process_and_are_called_by_their_folders(
    launcher: Launcher, desk: Desk, folders: Iterator[RunFolder]
) -> None:
    parents = set()
    for folder in (next(folders), next(folders)):
        engine = start(launcher, desk, folder)
        parents.add(parent_of(engine.pid))
        title = Path(f"/proc/{engine.pid}/cmdline").read_bytes().rstrip(b"\0").decode()
        assert title == f"tests.chaos.dummy_engine --run-dir {folder.path}"
        assert os.getsid(engine.pid) == engine.pid
        assert end(engine) == 0
        assert gone(engine.pid)
    (server,) = parents
    assert parent_of(server) == os.getpid()
    launcher.close()
    assert gone(server)


def test_an_engine_dies_with_the_process_that_it_was_forked_from_and_the_next_has_a_new_one(
    launcher: Launcher, desk: Desk, folders: Iterator[RunFolder]
) -> None:
    engine = start(launcher, desk, next(folders))
    server = parent_of(engine.pid)
    os.kill(server, signal.SIGKILL)
    assert end(engine) == -signal.SIGKILL
    wait(lambda: gone(engine.pid))
    engine = start(launcher, desk, next(folders))
    assert parent_of(engine.pid) == os.getpid(), "started from nothing, since the server was found dead"
    assert end(engine) == 0
    engine = start(launcher, desk, next(folders))
    assert parent_of(engine.pid) not in (server, os.getpid())
    assert end(engine) == 0


@pytest.mark.parametrize(("act", "code"), [("save", 75), ("kill", -signal.SIGKILL)])
def test_what_comes_before_an_engine_listens_and_has_a_group_is_not_lost(
    launcher: Launcher, desk: Desk, folders: Iterator[RunFolder], act: str, code: int
) -> None:
    for folder in (next(folders), next(folders), next(folders)):
        engine = EngineProcess(launcher, folder, desk.book, desk.cluster.settings.engine_module)
        getattr(engine, act)()
        assert end(engine) == code


def engine_of(code: str, name: str, desk: Desk, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Launcher:
    """Forks a few lines as the engine."""
    (folder / f"{name}.py").write_text(textwrap.dedent(code))
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{ROOT}")
    return Launcher(desk.cluster.settings.model_copy(update={"engine_module": name}))


def test_an_engine_that_cannot_be_imported_says_so_itself(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = engine_of("import no_such_library", "broken_engine", desk, tmp_path, monkeypatch)
    for _ in range(2):
        engine = EngineProcess(launcher, desk.folder, desk.book, "broken_engine")
        assert end(engine) == 1
    assert printed(desk).count("ModuleNotFoundError: No module named 'no_such_library'") == 2
    launcher.close()


def test_an_engine_whose_imports_start_threads_is_not_forked(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    code = """
        import os, threading, time
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
        def main(arguments=None):
            return 0
        if __name__ == "__main__":
            print("parent", os.getppid(), flush=True)
            os._exit(main())
    """
    launcher = engine_of(code, "threaded_engine", desk, tmp_path, monkeypatch)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            engine = EngineProcess(launcher, desk.folder, desk.book, "threaded_engine")
            assert end(engine) == 0
    assert printed(desk) == [f"parent {os.getpid()}"] * 2
    assert len([line for line in caplog.messages if "does not serve" in line]) == 1, "it is not tried again"
    launcher.close()


def test_a_run_imports_little_that_was_not_imported_before_it_was_forked(tmp_path: Path) -> None:
    """What is imported by every engine again costs each job what the fork was to save."""
    code = f"""
        import sys
        from pathlib import Path
        from worker import engine_main
        engine_main.preload()
        before = set(sys.modules)
        import ddcore
        from ddcore import bundle
        spec = ddcore.parse({{
            "dataset": "digits", "ipc": 2, "method": {{"name": "dm", "iterations": 2}}, "compile": "off",
            "network": {{"name": "convnet", "width": 8}}, "regularizers": {{"mim": 1, "cmi": 1}},
            "evaluation": {{"repeats": 1, "epochs": 1}},
        }})
        folder = Path({str(tmp_path)!r})
        out = ddcore.run(spec, folder / "out", run_dir=folder / "run", cache=folder / "cache").out
        bundle.export_zip(out, folder / "bundle.zip")
        bundle.export_npz(out, folder / "distilled.npz")
        print(*sorted(set(sys.modules) - before))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True, timeout=300, cwd=ROOT
    )
    imported = done.stdout.splitlines()[-1].split()
    assert len(imported) < 50, imported  # about 1,800 are, where nothing but `ddcore.engine` was imported before


@pytest.mark.gpu
def test_a_forked_engine_uses_the_gpu(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
        import torch
        from worker.engine_main import preload
        def main(arguments=None):
            print(torch.ones(2, device="cuda").sum().item(), flush=True)
            return 0
    """
    launcher = engine_of(code, "cuda_engine", desk, tmp_path, monkeypatch)
    engine = EngineProcess(launcher, desk.folder, desk.book, "cuda_engine")
    assert end(engine) == 0
    assert printed(desk) == ["2.0"]
    launcher.close()
