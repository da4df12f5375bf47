from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from ddclient import Client, cli, doctor
from ddclient.doctor import Finding
from ddclient.errors import Exit
from tests.ddclient.conftest import FakeService


@pytest.fixture
def findings(service: FakeService, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Examine this machine, with a service in miniature."""

    def connect(**options: Any) -> Client:
        return Client("http://service.test", "dd_key", transport=httpx.MockTransport(service), **options)

    monkeypatch.setattr(doctor, "Client", connect)

    def run(data_root: Path = tmp_path / "data") -> Mapping[str, Finding]:
        return {finding.name: finding for finding in doctor.examine(data_root)}

    return run


def test_a_sound_machine(findings: Any, service: FakeService) -> None:
    service.on("GET", "/readyz", {"status": "ready"})
    found = findings()
    assert list(found) == [
        "versions", "compute", "extensions", "data", "disk", "service", "settings", "database", "broker", "store",
    ]  # fmt: skip
    assert [name for name, finding in found.items() if finding.verdict == "error"] == []
    assert {found[name].text for name in ("database", "broker", "store")} == {"not there yet; `ddctl up` makes it"}
    assert "bf16" in found["compute"].text
    assert found["versions"].facts["torch"]
    assert found["service"].facts["health"] == {"status": "ready"}


def test_datasets_are_read_as_jobs_read_them(findings: Any, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        for number in range(3):
            path = tmp_path / "pets" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), number).save(path)
    (tmp_path / "cifar10" / "data").mkdir(parents=True)
    for name in ("train-00000-of-00001", "test-00000-of-00001"):
        (tmp_path / "cifar10" / "data" / f"{name}.parquet").touch()
    data = findings(tmp_path)["data"]
    assert (data.verdict, data.facts["broken"]) == ("error", ["cifar10"])
    assert "pets: all 6" in data.text
    assert ".parquet" in data.facts["found"]["cifar10"]
    assert "mnist" in data.facts["absent"]


def test_what_the_service_needs_is_tried(findings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DD_DATABASE_URL", "postgresql+psycopg://user:opensesame@127.0.0.1:1/none")
    monkeypatch.setenv("DD_BROKER_URL", "redis://:opensesame@127.0.0.1:1/0")
    (tmp_path / "store").mkdir()
    monkeypatch.setenv("DD_STORAGE_URL", str(tmp_path / "store"))
    found = findings()
    assert {name: found[name].verdict for name in ("database", "broker", "store")} == {
        "database": "error", "broker": "error", "store": "ok",
    }  # fmt: skip
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []
    assert "opensesame" not in repr(found)


def test_secrets_are_masked(findings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DD_DATABASE_URL", "postgresql+psycopg://user:opensesame@db/ddservice")
    monkeypatch.setenv("DD_BROKER_URL", "redis://:opensesame@redis:6379/0")
    monkeypatch.setenv("DD_PEPPER", "opensesame")
    settings = findings()["settings"]
    assert settings.facts["DD_DATABASE_URL"] == "postgresql+psycopg://user:********@db/ddservice"
    assert "opensesame" not in repr(settings)


def test_a_bad_setting_is_an_error_with_its_reason(findings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DD_AUTH", "false")
    monkeypatch.setenv("DD_HOST", "0.0.0.0")
    settings = findings()["settings"]
    assert settings.verdict == "error"
    assert "without API keys" in settings.text
    assert "Traceback" not in settings.text


def test_a_machine_without_the_engine_is_told_what_to_install(findings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    compute = findings()["compute"]
    assert (compute.verdict, "ddservice[engine]" in compute.text) == ("warning", True)


def test_a_broken_library_does_not_hide_the_rest(findings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Finding:
        raise RuntimeError("operator does not exist")

    monkeypatch.setattr(doctor, "_compute", broken)
    found = findings()
    assert found["compute"] == Finding("compute", "error", "RuntimeError: operator does not exist", {})
    assert found["disk"].verdict in {"ok", "warning"}


def test_no_service_is_a_warning(findings: Any, service: FakeService) -> None:
    service.on("GET", "/readyz", httpx.ConnectError("connection refused"))
    assert findings()["service"].verdict == "warning"


def test_an_error_decides_the_exit_status(
    findings: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "examine", lambda root: [Finding("disk", "error", "[full] disk", {"free": 0})])
    assert cli.invoke(["doctor"]) == Exit.FAILED
    assert "[full] disk" in capsys.readouterr().out
