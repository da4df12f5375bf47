from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ddclient.discovery import home, is_named, locate, running_service
from ddclient.errors import BadInputError


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("DD_HOME", str(tmp_path))
    (tmp_path / "api-key").write_text("dd_local_key\n")
    return tmp_path


def announce(folder: Path, pid: int) -> None:
    (folder / "service.json").write_text(json.dumps({"url": "http://127.0.0.1:9123", "pid": pid}))


def dead_pid() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_an_argument_beats_the_environment_and_the_environment_the_file(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    announce(state, os.getpid())
    assert locate().url == "http://127.0.0.1:9123"
    monkeypatch.setenv("DD_URL", "http://localhost:9999/")
    assert locate().url == "http://localhost:9999"
    assert locate("http://localhost:1").url == "http://localhost:1"


def test_a_dead_launcher_is_not_a_service(state: Path) -> None:
    announce(state, dead_pid())
    assert running_service(state) is None
    assert locate().url == "http://127.0.0.1:8000"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"url": "http://127.0.0.1:1"}', '{"url": "x", "pid": "y"}'])
def test_a_damaged_file_is_not_a_service(state: Path, content: str) -> None:
    (state / "service.json").write_text(content)
    assert running_service(state) is None


def test_the_default_address_follows_the_settings_of_the_api(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DD_PORT", "8123")
    monkeypatch.setenv("DD_HOST", "0.0.0.0")
    assert locate().url == "http://127.0.0.1:8123"
    monkeypatch.setenv("DD_HOST", "::1")
    assert locate().url == "http://[::1]:8123"


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "http://localhost:8000", "http://[::1]:8000"])
def test_the_local_key_opens_the_local_service(state: Path, url: str) -> None:
    assert locate(url).api_key == "dd_local_key"


@pytest.mark.parametrize("url", ["https://dd.example.org", "http://10.0.0.7:8000", "http://127.0.0.1.example.org"])
def test_the_local_key_never_leaves_the_machine(state: Path, url: str) -> None:
    assert locate(url).api_key is None
    assert locate(url, "dd_given").api_key == "dd_given"


def test_the_environment_key_goes_where_the_user_points(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DD_API_KEY", "dd_env")
    assert locate("https://dd.example.org").api_key == "dd_env"


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://x", "http://"])
def test_an_address_that_is_none_is_refused(state: Path, url: str) -> None:
    with pytest.raises(BadInputError, match="must be an address such as"):
        locate(url)


def test_without_setting_the_home_is_the_users_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DD_HOME")
    assert home().name == "ddservice"


@pytest.mark.parametrize("name", ["DD_URL", "DD_API_KEY", "DD_HOST", "DD_PORT"])
def test_a_service_is_named_by_a_setting_or_by_running(state: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert not is_named()
    announce(state, dead_pid())
    assert not is_named()
    with monkeypatch.context() as patch:
        patch.setenv(name, "1")
        assert is_named()
    announce(state, os.getpid())
    assert is_named()
