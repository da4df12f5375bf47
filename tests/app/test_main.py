"""The API as a process."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from app.__main__ import server_settings
from app.core.settings import Settings
from app.main import create_app, prepare
from tests.oidc_provider import running_provider


def test_loads_neither_torch_nor_numpy() -> None:
    code = "import app.main, sys; print({'torch', 'numpy', 'celery', 'worker', 'authlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(
    ("trusted", "scheme"), [("", "http"), ("10.0.0.0/8", "http"), ("10.0.0.0/8, 127.0.0.1", "https")]
)
def test_only_a_trusted_proxy_says_that_a_request_came_over_tls(tmp_path: Path, trusted: str, scheme: str) -> None:
    with running_provider() as provider:
        _check_scheme(tmp_path, trusted, scheme, provider.url)


def _check_scheme(home: Path, trusted: str, scheme: str, issuer: str) -> None:
    settings = Settings(home=home, trusted_proxies=trusted, oidc_issuer=issuer, oidc_client_id="ddservice")
    app = create_app(settings)
    prepare(app)
    config = server_settings(app, settings)
    config.load()
    key = settings.api_key_file.read_text().strip()
    headers = {"Authorization": f"Bearer {key}", "Host": "localhost", "X-Forwarded-Proto": "https"}

    async def act() -> tuple[httpx.Response, httpx.Response, httpx.Response]:
        transport = httpx.ASGITransport(config.loaded_app, client=("127.0.0.1", 50_000))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client:
            link = await client.post("/v1/login-links")
            login = await client.get(f"/login?{urlsplit(link.json()['url']).query}")
            return link, login, await client.get("/login/oidc")

    link, login, leaving = asyncio.run(act())
    app.state.database.dispose()
    assert urlsplit(link.json()["url"]).scheme == scheme
    assert ("Secure" in login.headers["set-cookie"]) == (scheme == "https")
    assert ("strict-transport-security" in login.headers) == (scheme == "https")
    back = parse_qs(urlsplit(leaving.headers["location"]).query)["redirect_uri"]
    assert back == [f"{scheme}://localhost/login/oidc/callback"]
    assert ("Secure" in leaving.headers["set-cookie"]) == (scheme == "https")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def environment(home: Path, **settings: object) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return kept | {"DD_HOME": str(home)} | {f"DD_{name.upper()}": str(value) for name, value in settings.items()}


def test_files_are_private_where_the_folder_was_there_before(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    before = os.umask(0o022)
    try:
        with running(tmp_path):
            pass
    finally:
        os.umask(before)
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "log"]
    assert {"ddservice.sqlite3", "api-key", "pepper"} <= {path.name for path in files}
    assert {path.name: oct(path.stat().st_mode & 0o077) for path in files} == {path.name: "0o0" for path in files}


def refusal(home: Path, **settings: object) -> subprocess.CompletedProcess[str]:
    """What the API says when it will not start."""
    return subprocess.run(
        [sys.executable, "-m", "app"],
        env=environment(home, **settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextmanager
def running(home: Path, **settings: object) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    port = free_port()
    log = (home / "log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "app"], env=environment(home, port=port, **settings), stderr=log, stdout=log
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            deadline = time.monotonic() + 60
            while True:
                try:
                    client.get("/healthz").raise_for_status()
                    break
                except httpx.TransportError:
                    assert process.poll() is None, (home / "log").read_text()
                    assert time.monotonic() < deadline, (home / "log").read_text()
                    time.sleep(0.05)
            yield process, client
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        log.close()


def test_serves_from_nothing_and_stops_cleanly_in_the_middle_of_a_stream(tmp_path: Path) -> None:
    with running(tmp_path) as (process, client):
        key = (tmp_path / "api-key").read_text().strip()
        client.headers["X-API-Key"] = key
        job = client.post("/v1/jobs", json={"dataset": "digits", "ipc": 1, "method": "dm"})
        assert job.status_code == 201
        with client.stream("GET", job.json()["links"]["stream"]) as stream:
            lines = stream.iter_lines()
            assert any(line.startswith("data:") for line in lines)
            started = time.monotonic()
            process.send_signal(signal.SIGTERM)
            for _ in lines:
                pass
        assert process.wait(timeout=60) == 0
        assert time.monotonic() - started < 9
    log = (tmp_path / "log").read_text()
    assert "Traceback" not in log
    assert key not in log


class TestRefusals:
    def test_open_bind_without_keys(self, tmp_path: Path) -> None:
        done = refusal(tmp_path, host="0.0.0.0", auth="false")
        assert done.returncode == 2
        assert done.stderr.startswith("DD_AUTH is off and DD_HOST is 0.0.0.0")
        assert "Traceback" not in done.stderr

    def test_bad_setting(self, tmp_path: Path) -> None:
        done = refusal(tmp_path, port=99999)
        assert (done.returncode, done.stderr) == (
            2,
            "DD_PORT is '99999': Input should be less than or equal to 65535\n",
        )

    def test_short_pepper(self, tmp_path: Path) -> None:
        done = refusal(tmp_path, pepper="short")
        assert done.returncode == 2
        assert "DD_PEPPER" in done.stderr
        assert "Traceback" not in done.stderr

    @pytest.mark.postgres
    def test_database_that_is_not_migrated(self, tmp_path: Path, postgres_url: str) -> None:
        done = refusal(tmp_path, database_url=postgres_url)
        assert done.returncode == 2
        assert "app.migrate" in done.stderr
        assert "Traceback" not in done.stderr

    def test_database_that_is_down(self, tmp_path: Path) -> None:
        done = refusal(tmp_path, database_url="postgresql+psycopg://u@127.0.0.1:1/none")
        assert done.returncode == 1
        assert done.stderr.startswith("the database cannot be used: ")
        assert "Traceback" not in done.stderr
