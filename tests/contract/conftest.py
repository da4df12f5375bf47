"""The real service, started as users start it, for tests of what is promised outside the code."""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ddclient import Client, Job, cli
from ddclient.embedded import Service, running

ROOT = Path(__file__).parents[2]
TINY: dict[str, Any] = {
    "dataset": "digits",
    "ipc": 1,
    "method": {"name": "dm", "iterations": 20, "batch_real": 8},
    "network": {"name": "convnet", "width": 8},
    "metrics": {"every": 1, "probe": "random"},
    "evaluation": {"repeats": 0, "audit": False},
}
"""A job of a second or two."""
PROMPT = {"DD_POLL_S": "0.1"}
"""Looks at what the user wants ten times a second, so that a short job hears of a pause."""

Ddctl = Callable[..., str]
"""Runs a command in this process; what it printed."""


@dataclass(frozen=True)
class Live:
    """A running embedded service and the environment in which commands find it."""

    service: Service
    environment: dict[str, str]


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment with `ddctl` and `python` of this tree on its path, and no setting of the caller's."""
    folder = tmp_path_factory.mktemp("bin")
    for name, module in (("ddctl", "-m ddclient.cli"), ("python", ""), ("python3", "")):
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DD_")}
    return inherited | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory, commands: dict[str, str]) -> Iterator[Live]:
    """An embedded service of API and worker, on a free port and in a folder of its own."""
    service = Service(tmp_path_factory.mktemp("service"), port=0, isolated=True, settings=PROMPT)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT)
    try:
        with running(service):
            yield Live(service, commands | {"DD_HOME": str(service.home)})
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


@pytest.fixture
def client(live: Live) -> Iterator[Client]:
    with Client(live.service.url, live.service.api_key) as made:
        yield made


def until(job: Job, *statuses: str, steps: int = 0) -> Job:
    """The job when it has one of the statuses and has taken so many steps."""

    def arrived() -> bool:
        progress = job.refresh().document.progress
        return job.status in statuses and (progress.step if progress else 0) >= steps

    deadline = time.monotonic() + 120
    while not arrived():
        assert time.monotonic() < deadline, f"{job.id} is {job.status}, not {statuses}"
        time.sleep(0.1)
    return job


@pytest.fixture
def ddctl(live: Live, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ddctl:
    """Run a command in this process; what it printed."""
    monkeypatch.setenv("DD_HOME", str(live.service.home))

    def run(*words: str, status: int = 0) -> str:
        found = cli.invoke(words)
        captured = capsys.readouterr()
        assert found == status, captured.err
        return captured.err if status else captured.out

    return run
