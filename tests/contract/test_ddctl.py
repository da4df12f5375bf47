"""``ddctl up`` and ``ddctl demo`` as users run them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ddclient import Client
from tests.contract.conftest import TINY

pytestmark = pytest.mark.slow


def processes_in(folder: Path) -> list[int]:
    """Processes whose environment names a state folder: nobody may be left behind."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            if f"DD_HOME={folder}\0".encode() in environment + b"\0":
                found.append(int(entry.name))
    return found


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "state"
    yield folder
    assert processes_in(folder) == []


def test_the_demo_shows_a_result_beside_the_control(home: Path, tmp_path: Path, commands: dict[str, str]) -> None:
    command = ["ddctl", "demo", "--port", "0", "--home", str(home), "--preset", "quick/dm-digits", "--json"]
    done = subprocess.run(command, cwd=tmp_path, env=commands, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    results = document["job"]["results"]
    assert results["accuracy"]["mean"] > results["controls"]["random"]["mean"] > 10
    assert (tmp_path / document["bundle"] / "distilled.safetensors").is_file()
    assert f"dashboard {document['url']}/login?token=" in done.stderr
    assert "distilling" in done.stderr


@pytest.mark.parametrize(
    ("preset", "status", "reason"),
    [("quick/dm-digit", 2, "did you mean 'quick/dm-digits'?"), ("paper/dm-mnist-ipc1", 1, "train-0.parquet")],
    ids=["no such preset", "damaged data"],
)
def test_a_demo_that_fails_says_why(
    home: Path, tmp_path: Path, commands: dict[str, str], preset: str, status: int, reason: str
) -> None:
    (tmp_path / "mnist").mkdir()
    for split in ("train", "test"):
        (tmp_path / "mnist" / f"{split}-0.parquet").write_bytes(b"damaged")
    command = ["ddctl", "demo", "--port", "0", "--home", str(home), "--preset", preset, "--data-root", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, env=commands, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    assert reason in done.stderr
    assert "Traceback" not in done.stderr


def test_a_taken_port_is_named(home: Path, commands: dict[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = ["ddctl", "up", "--home", str(home), "--port", port]
        done = subprocess.run(command, env=commands, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"cannot bind 127.0.0.1:{port}" in done.stderr


Start = Callable[[], tuple["subprocess.Popen[str]", str]]


@pytest.fixture
def start(home: Path, commands: dict[str, str]) -> Iterator[Start]:
    """Run ``ddctl up`` as often as wanted: the process and the address it printed."""
    started: list[subprocess.Popen[str]] = []

    def run() -> tuple[subprocess.Popen[str], str]:
        launcher = subprocess.Popen(
            ["ddctl", "up", "--home", str(home), "--port", "0"],
            env=commands,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(launcher)
        assert launcher.stdout is not None
        first = launcher.stdout.readline()
        assert first.startswith("service "), first
        return launcher, first.split()[1]

    yield run
    for launcher in started:
        launcher.terminate()
        launcher.communicate(timeout=60)


def test_up_stops_with_a_job_under_way_and_goes_on_with_it(home: Path, start: Start) -> None:
    launcher, url = start()
    key = (home / "api-key").read_text().strip()
    with Client(url, key) as client:
        job = client.submit(TINY | {"method": {"name": "dm", "iterations": 500, "batch_real": 8}})
        while not ((progress := job.refresh().document.progress) and progress.step):
            assert not job.document.finished
            time.sleep(0.1)
    launcher.send_signal(signal.SIGTERM)
    _, err = launcher.communicate(timeout=60)
    assert launcher.returncode == 0, err
    assert "running jobs save their state" in err
    assert not (home / "service.json").exists()
    assert processes_in(home) == []

    _, url = start()
    with Client(url, key) as client:
        done = client.job(job.id).wait(timeout=120)
        resumed = [event.data["step"] for event in done.events() if event.message.startswith("goes on after step")]
    assert len(resumed) == 1
    assert 0 < resumed[0] < 500
