"""The launcher with stand-ins for the API and the worker; the real ones start in tests/contract."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from ddclient import embedded
from ddclient.discovery import locate, running_service
from ddclient.embedded import Service
from ddclient.errors import BadInputError, ClientError

API = """
import http.server, json, os, pathlib, sys
home = pathlib.Path(os.environ["DD_HOME"])
(home / "api-key").write_text("dd_made_by_the_api")
(home / "environment.json").write_text(json.dumps(dict(os.environ)))

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/readyz" else 404)
        self.end_headers()

http.server.HTTPServer((os.environ["DD_HOST"], int(os.environ["DD_PORT"])), Handler).serve_forever()
"""
IDLE = "import time\nprint('the worker waits', flush=True)\ntime.sleep(600)\n"
STUBBORN = (
    "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('ready', flush=True)\ntime.sleep(600)\n"
)
DYING = "import sys\nprint('cannot find the broker', flush=True)\nsys.exit(3)\n"


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of the stand-ins; tests replace what they want to go wrong."""
    (tmp_path / "standin_api.py").write_text(API)
    (tmp_path / "standin_worker.py").write_text(IDLE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(embedded, "PARTS", {"api": "standin_api", "worker": "standin_worker"})
    return tmp_path


@pytest.fixture
def service(parts: Path) -> Iterator[Service]:
    made = Service(parts / "state", port=0)
    yield made
    made.stop()


def wait_for(path: Path, text: str) -> None:
    deadline = time.monotonic() + 60
    while not (path.is_file() and text in path.read_text()):
        assert time.monotonic() < deadline, f"{path} never said {text!r}"
        time.sleep(0.02)


def test_a_started_service_is_found_by_clients_and_forgotten_when_stopped(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.start()
    service.check()
    monkeypatch.setenv("DD_HOME", str(service.home))
    found = locate()
    assert (found.url, found.api_key) == (service.url, "dd_made_by_the_api")
    children = list(service._children.values())
    service.stop()
    assert all(child.returncode == -signal.SIGTERM for child in children)
    assert running_service(service.home) is None


def test_a_service_that_asks_for_no_key_has_none(service: Service, parts: Path) -> None:
    (parts / "standin_api.py").write_text(API.replace('(home / "api-key").write_text("dd_made_by_the_api")', ""))
    service.start()
    assert service.api_key is None


def test_the_state_folder_is_private(service: Service) -> None:
    service.start()
    assert service.home.stat().st_mode & 0o077 == 0


def test_two_launchers_do_not_share_a_folder(service: Service) -> None:
    service.start()
    with pytest.raises(ClientError, match=rf"already runs at {service.url} \(process {os.getpid()}\)"):
        Service(service.home, port=0).start()
    service.check()


def test_an_api_that_dies_is_reported_with_its_last_words(service: Service, parts: Path) -> None:
    (parts / "standin_api.py").write_text(DYING)
    with pytest.raises(ClientError, match=r"the api process ended with status 3.*\n.*cannot find the broker"):
        service.start()


def test_a_worker_that_is_killed_is_noticed(service: Service) -> None:
    service.start()
    wait_for(service.home / "logs" / "worker.log", "waits")
    worker = service._children["worker"]
    worker.kill()
    worker.wait()
    with pytest.raises(ClientError, match="the worker process was killed by SIGKILL"):
        service.check()


def test_an_api_that_never_gets_ready_is_given_up(
    service: Service, parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (parts / "standin_api.py").write_text(IDLE)
    monkeypatch.setattr(embedded, "READY_S", 0.5)
    with pytest.raises(ClientError, match=r"not ready within 0\.5 seconds"):
        service.start()


def test_a_child_that_will_not_stop_is_killed(service: Service, parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (parts / "standin_worker.py").write_text(STUBBORN)
    monkeypatch.setattr(embedded, "GRACE_S", 0.3)
    service.start()
    wait_for(service.home / "logs" / "worker.log", "ready")
    worker = service._children["worker"]
    service.stop()
    assert worker.returncode == -signal.SIGKILL


def test_a_client_without_the_service_is_told_what_to_install(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(embedded.NEEDS, "worker", ("fastapi", "no_such_package"))
    with pytest.raises(ClientError, match=r"pip install 'ddservice\[worker\]'` \(missing: no_such_package\)"):
        service.start()
    assert not service.home.exists()


def test_a_taken_port_is_named_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BadInputError, match=rf"cannot bind 127\.0\.0\.1:{port} .*--port"):
            Service(tmp_path / "state", port=port)
    assert not (tmp_path / "state").exists()


def test_an_isolated_service_ignores_the_environment(parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DD_DATABASE_URL", "postgresql+psycopg://production")
    service = Service(parts / "state", port=0, data_root=parts, isolated=True)
    with embedded.running(service):
        seen = json.loads((service.home / "environment.json").read_text())
    assert "DD_DATABASE_URL" not in seen
    assert seen["DD_DATA_ROOT"] == str(parts)
    assert seen["DD_PORT"] == str(service.port)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_service_and_its_children(parts: Path, number: signal.Signals) -> None:
    program = dedent(
        f"""
        import time
        from pathlib import Path
        from ddclient import embedded
        embedded.PARTS.update(api="standin_api", worker="standin_worker")
        service = embedded.Service(Path({str(parts / "state")!r}), port=0)
        try:
            with embedded.running(service):
                print(*(child.pid for child in service._children.values()), flush=True)
                time.sleep(600)
        except KeyboardInterrupt:
            print("stopped", flush=True)
        """
    )
    root = str(Path(embedded.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": f"{parts}{os.pathsep}{root}"}
    launcher = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment)
    assert launcher.stdout is not None
    children = [int(pid) for pid in launcher.stdout.readline().split()]
    launcher.send_signal(number)
    out, _ = launcher.communicate(timeout=60)
    assert (out, launcher.returncode, len(children)) == ("stopped\n", 0, 2)
    for pid in children:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="parent-death signals exist on Linux only")
def test_children_do_not_outlive_a_launcher_that_is_killed(parts: Path) -> None:
    program = (
        "import os, signal; from pathlib import Path; from ddclient import embedded\n"
        "embedded.PARTS.update(api='standin_api', worker='standin_worker')\n"
        f"service = embedded.Service(Path({str(parts / 'state')!r}), port=0)\n"
        "service.start()\n"
        "print(*(child.pid for child in service._children.values()), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = str(Path(embedded.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": f"{parts}{os.pathsep}{root}"}
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False
    )
    children = [int(pid) for pid in answer.stdout.split()]
    assert len(children) == 2
    deadline = time.monotonic() + 60
    while any(_running(pid) for pid in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _running(pid: int) -> bool:
    """Whether a process runs; one that has ended but that nobody has waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
