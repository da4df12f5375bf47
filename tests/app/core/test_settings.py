from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.core.settings import Settings, explain


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("DD_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DD_HOME", str(tmp_path))


class TestDefaults:
    def test_are_the_embedded_service(self, tmp_path: Path) -> None:
        settings = Settings()
        assert settings.database_url == f"sqlite:///{tmp_path}/ddservice.sqlite3"
        assert settings.embedded
        assert settings.broker_url == "filesystem://"
        assert settings.storage_url == str(tmp_path / "artifacts")
        assert settings.data_root == tmp_path / "data"
        assert (settings.host, settings.port, settings.auth) == ("127.0.0.1", 8000, True)

    def test_follow_the_home(self, tmp_path: Path) -> None:
        settings = Settings(home=tmp_path / "elsewhere")
        assert settings.runs_dir == tmp_path / "elsewhere" / "runs"
        assert settings.cache_dir == tmp_path / "elsewhere" / "cache"


class TestEnvironment:
    def test_sets_fields(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DD_PORT", "9001")
        monkeypatch.setenv("DD_ALLOWED_HOSTS", "example.org, localhost")
        settings = Settings()
        assert settings.port == 9001
        assert settings.allowed_hosts == ("example.org", "localhost")

    def test_secret_may_stand_in_a_file(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("postgresql+psycopg://u:p@db/x\n")
        monkeypatch.setenv("DD_DATABASE_URL_FILE", str(tmp_path / "secret"))
        assert Settings().database_url == "postgresql+psycopg://u:p@db/x"

    def test_secret_twice_is_refused(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("DD_PEPPER", "a" * 40)
        monkeypatch.setenv("DD_PEPPER_FILE", str(tmp_path / "secret"))
        with pytest.raises(ValueError, match="not both"):
            Settings()

    def test_secret_file_that_is_missing_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DD_PEPPER_FILE", "/nowhere/secret")
        with pytest.raises(ValueError, match="/nowhere/secret"):
            Settings()


class TestRefusals:
    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.org"])
    def test_no_open_bind_without_keys(self, host: str) -> None:
        with pytest.raises(ValidationError, match="DD_AUTH"):
            Settings(host=host, auth=False)

    @pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
    def test_loopback_may_go_without_keys(self, host: str) -> None:
        assert Settings(host=host, auth=False).loopback

    def test_lease_must_outlast_heartbeats(self) -> None:
        with pytest.raises(ValidationError, match="DD_LEASE_S"):
            Settings(lease_s=10, heartbeat_s=6)

    def test_explanation_names_variable_value_and_range(self) -> None:
        with pytest.raises(ValidationError) as caught:
            Settings(port=70_000)
        assert explain(caught.value) == "DD_PORT is 70000: Input should be less than or equal to 65535"

    def test_explanation_never_shows_a_secret(self) -> None:
        with pytest.raises(ValidationError) as caught:
            Settings(database_url=["hunter2"])
        assert "hunter2" not in explain(caught.value)


def test_description_masks_passwords() -> None:
    settings = Settings(database_url="postgresql+psycopg://me:hunter2@db/dd", pepper="x" * 32)
    shown = settings.describe()
    assert shown["database_url"] == "postgresql+psycopg://me:********@db/dd"
    assert shown["pepper"] == "********"
    assert "hunter2" not in repr(settings)
    assert set(shown) == set(Settings.model_fields)
