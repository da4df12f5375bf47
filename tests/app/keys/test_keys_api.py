"""API keys, login links and sessions over HTTP."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import select, update

from app.core.security import make_key
from app.keys import service
from app.keys.service import bootstrap
from app.main import prepare
from app.models.keys import ApiKey, LoginToken
from app.system import recover_key

if TYPE_CHECKING:
    from tests.app.conftest import Api

BACKENDS = ("sqlite", "postgres")
ORIGIN = {"Origin": "http://test"}


class TestFirstStart:
    def test_leaves_a_private_key(self, api: Api) -> None:
        path = api.settings.api_key_file
        assert path.stat().st_mode & 0o777 == 0o600
        assert api.acting_as(path.read_text().strip()).get("/v1/me").json()["scopes"] == ["admin", "operator"]

    def test_second_start_keeps_it(self, api: Api) -> None:
        before = api.settings.api_key_file.read_text()
        bootstrap(api.database, api.state.signer, api.settings)
        assert api.settings.api_key_file.read_text() == before
        assert len(api.get("/v1/api-keys").json()["data"]) == 1

    def test_lost_file_is_replaced_on_one_machine_only(self, api: Api, backend: str) -> None:
        api.settings.api_key_file.unlink()
        bootstrap(api.database, api.state.signer, api.settings)
        assert api.settings.api_key_file.exists() is (backend == "sqlite")

    def test_useless_file_is_replaced_on_one_machine_only(self, api: Api, backend: str) -> None:
        api.settings.api_key_file.write_text(make_key("local").text)
        bootstrap(api.database, api.state.signer, api.settings)
        renewed = api.acting_as(api.settings.api_key_file.read_text().strip()).get("/v1/me")
        assert renewed.status_code == (200 if backend == "sqlite" else 401)

    def test_text_of_a_key_is_nowhere_in_the_database(self, api: Api) -> None:
        secret = api.settings.api_key_file.read_text().strip().split("_", 3)[3].rpartition("_")[0]
        with api.database.read() as session:
            stored = [str(vars(key)) for key in session.scalars(select(ApiKey))]
        assert stored
        assert not [row for row in stored if secret in row]


class TestAuthentication:
    def test_either_header_works(self, api: Api) -> None:
        key = api.key()
        stranger = api.acting_as(None)
        assert stranger.get("/v1/me", headers={"Authorization": f"Bearer {key}"}).status_code == 200
        assert stranger.get("/v1/me", headers={"X-API-Key": key}).status_code == 200

    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"Authorization": "Bearer nonsense"},
            {"Authorization": "Basic dXNlcjpwYXNz"},
            {"Authorization": f"Bearer {make_key('local').text}"},
            {"X-API-Key": "x" * 5000},
            {"Cookie": "dd_session=forged"},
        ],
    )
    def test_anything_else_does_not(self, api: Api, headers: dict[str, str]) -> None:
        response = api.acting_as(None).get("/v1/me", headers=headers)
        assert (response.status_code, response.json()["code"]) == (401, "unauthenticated")
        assert response.headers["www-authenticate"].startswith("Bearer")

    def test_right_id_with_wrong_secret(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        """The identifier is known, the checksum fits, only the secret is another."""
        key = api.key()
        forged = make_key("local")
        monkeypatch.setattr(service, "key_id", lambda _text: "key_" + key.split("_")[2])
        assert api.acting_as(forged.text).get("/v1/me").status_code == 401

    def test_expired(self, api: Api) -> None:
        key = api.key()
        with api.database.write() as session:
            session.execute(
                update(ApiKey).where(ApiKey.name == "test").values(expires_at=datetime.now(UTC) - timedelta(seconds=1))
            )
        assert api.acting_as(key).get("/v1/me").status_code == 401

    def test_use_is_noted_to_the_minute(self, api: Api) -> None:
        api.get("/v1/me")
        first = api.get("/v1/api-keys").json()["data"][0]["last_used_at"]
        assert first is not None
        api.state.keyring.forget(api.get("/v1/me").json()["key_id"])
        assert api.get("/v1/api-keys").json()["data"][0]["last_used_at"] == first


class TestKeys:
    def test_is_shown_once(self, api: Api) -> None:
        made = api.post("/v1/api-keys", json={"name": "ci", "scopes": ["jobs:read"]})
        assert made.status_code == 201
        assert made.headers["cache-control"] == "no-store"
        text = made.json()["key"]
        assert api.acting_as(text).get("/v1/me").json()["scopes"] == ["jobs:read"]
        listed = api.get("/v1/api-keys")
        assert made.json()["id"] in listed.text
        assert text not in listed.text

    def test_revoked_key_stops_at_once_here_and_soon_elsewhere(self, api: Api) -> None:
        made = api.post("/v1/api-keys", json={"name": "ci"}).json()
        theirs = api.acting_as(made["key"])
        elsewhere = service.Keyring(api.database, api.state.signer)
        assert theirs.get("/v1/jobs").status_code == 200
        assert elsewhere.by_key(made["key"]) is not None
        assert api.delete(f"/v1/api-keys/{made['id']}").status_code == 204
        assert theirs.get("/v1/jobs").status_code == 401
        deadline = time.monotonic() + 5
        while elsewhere.by_key(made["key"]) is not None:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert api.delete(f"/v1/api-keys/{made['id']}").status_code == 404

    @pytest.mark.parametrize(
        "body",
        [{}, {"name": ""}, {"name": "x", "scopes": ["root"]}, {"name": "x", "scopes": []}, {"name": "x", "extra": 1}],
    )
    def test_faulty_request(self, api: Api, body: dict[str, Any]) -> None:
        response = api.post("/v1/api-keys", json=body)
        assert (response.status_code, response.json()["code"]) == (422, "invalid")

    def test_malformed_id_is_not_found(self, api: Api) -> None:
        assert api.delete("/v1/api-keys/key_../x").status_code == 404


class TestSessions:
    def login(self, api: Api) -> dict[str, str]:
        """Headers of a browser that followed a fresh login link."""
        link = api.post("/v1/login-links").json()["url"]
        parts = urlsplit(link)
        assert f"{parts.scheme}://{parts.netloc}" == "http://test"
        response = api.acting_as(None).get(f"{parts.path}?{parts.query}")
        assert (response.status_code, response.headers["location"]) == (303, "/")
        cookie = response.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        return {"Cookie": cookie.split(";")[0]}

    def test_link_opens_a_session(self, api: Api) -> None:
        browser = self.login(api)
        assert api.acting_as(None).get("/v1/me", headers=browser).status_code == 200

    def test_link_works_once(self, api: Api) -> None:
        link = urlsplit(api.post("/v1/login-links").json()["url"])
        address = f"{link.path}?{link.query}"
        stranger = api.acting_as(None)
        assert [stranger.get(address).status_code for _ in range(2)] == [303, 401]

    def test_link_grows_old(self, api: Api) -> None:
        link = urlsplit(api.post("/v1/login-links").json()["url"])
        with api.database.write() as session:
            session.execute(update(LoginToken).values(expires_at=datetime.now(UTC) - timedelta(seconds=1)))
        assert api.acting_as(None).get(f"{link.path}?{link.query}").status_code == 401

    def test_forged_link(self, api: Api) -> None:
        assert api.acting_as(None).get("/login?token=forged").status_code == 401

    def test_no_link_leads_to_the_dashboard(self, api: Api) -> None:
        assert api.acting_as(None).get("/login").headers["location"] == "/"

    def test_session_acts_from_its_own_pages_only(self, api: Api, spec: dict[str, Any]) -> None:
        browser = self.login(api)
        stranger = api.acting_as(None)
        for origin in ({}, {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://test:81"}):
            response = stranger.post("/v1/jobs", json=spec, headers={**browser, **origin})
            assert (response.status_code, response.json()["code"]) == (403, "forbidden")
        assert stranger.post("/v1/jobs:validate", json=spec, headers={**browser, **ORIGIN}).status_code == 200

    def test_session_ends_with_its_key(self, api: Api) -> None:
        made = api.post("/v1/api-keys", json={"name": "browser"}).json()
        browser = self.login(api.acting_as(made["key"]))
        api.delete(f"/v1/api-keys/{made['id']}")
        assert api.acting_as(None).get("/v1/me", headers=browser).status_code == 401

    def test_logout(self, api: Api) -> None:
        response = api.acting_as(None).post("/logout", headers=self.login(api))
        assert response.status_code == 303
        assert 'dd_session=""' in response.headers["set-cookie"]

    def test_a_copy_of_the_cookie_ends_with_it(self, api: Api) -> None:
        browser, other = self.login(api), self.login(api)
        stranger = api.acting_as(None)
        assert stranger.get("/v1/me", headers=browser).status_code == 200
        for _ in range(2):
            stranger.post("/logout", headers=browser)
        assert stranger.get("/v1/me", headers=browser).status_code == 401
        assert stranger.get("/v1/me", headers=other).status_code == 200
        elsewhere = service.Keyring(api.database, api.state.signer)
        assert elsewhere.by_session(browser["Cookie"].partition("=")[2]) is None

    def test_a_cookie_of_an_earlier_version_is_none(self, api: Api) -> None:
        key = api.get("/v1/me").json()["key_id"]
        old = api.state.signer.seal("session", {"key": key, "until": int(time.time()) + 60})
        assert api.acting_as(None).get("/v1/me", headers={"Cookie": f"dd_session={old}"}).status_code == 401


class TestMoments:
    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ("9999-12-31T23:59:59-14:00", "beyond the years 1 to 9999"),
            ("0001-01-01T00:00:00+14:00", "beyond the years 1 to 9999"),
            (4102444800, "text such as 2027"),
            ("4102444800", "text such as 2027"),
            ("2020-01-01T00:00:00Z", "which is past"),
            ("2999-01-01T00:00:00", "timezone"),
        ],
    )
    def test_a_key_ends_at_one_that_can_be(self, api: Api, given: object, said: str) -> None:
        response = api.post("/v1/api-keys", json={"name": "x", "expires_at": given})
        assert response.status_code == 422
        assert said in response.json()["detail"]

    def test_lists_know_no_others(self, api: Api) -> None:
        for moment in ("9999-12-31T23:59:59-14:00", "17"):
            for address in ("/v1/jobs?created_after=", "/v1/jobs?created_before=", "/v1/alerts?since="):
                assert api.get(address + moment).status_code == 400


class TestLastAdminKey:
    def test_is_not_revoked(self, api: Api) -> None:
        own = api.get("/v1/me").json()["key_id"]
        api.post("/v1/api-keys", json={"name": "reader"})
        expired = api.post("/v1/api-keys", json={"name": "old", "scopes": ["admin"]}).json()["id"]
        with api.database.write() as session:
            gone = datetime.now(UTC) - timedelta(seconds=1)
            session.execute(update(ApiKey).where(ApiKey.id == expired).values(expires_at=gone))
        refused = api.delete(f"/v1/api-keys/{own}")
        assert (refused.status_code, refused.json()["code"]) == (409, "last_admin_key")
        assert "make another first" in refused.json()["detail"]
        api.post("/v1/api-keys", json={"name": "second", "scopes": ["admin"]})
        assert api.delete(f"/v1/api-keys/{own}").status_code == 204

    def test_a_lost_one_is_replaced_by_who_runs_the_service(
        self, api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("app.system.recover_key.Settings", lambda: api.settings)
        assert recover_key.main([]) == 0
        key = capsys.readouterr().out.strip()
        assert api.acting_as(key).get("/v1/me").json()["scopes"] == ["admin", "operator"]
        with pytest.raises(SystemExit) as ended:
            recover_key.main(["--tenant", "nobody"])
        assert ended.value.code == 2
        assert "there is no tenant 'nobody'" in capsys.readouterr().err


def test_without_authentication_everybody_is_the_default_tenant(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    open_settings = api.settings.model_copy(update={"auth": False})
    monkeypatch.setattr(api.state, "settings", open_settings)
    stranger = api.acting_as(None)
    foreign = {"Origin": "http://evil.example"}
    assert stranger.post("/v1/login-links", headers=foreign).status_code == 403
    assert stranger.get("/v1/me", headers=foreign).status_code == 200
    assert stranger.post("/v1/login-links", headers=ORIGIN).status_code == 201
    assert stranger.get("/v1/me").json() | {"unfinished_jobs": 0} == {
        "tenant_id": "default",
        "key_id": None,
        "scopes": ["admin", "artifacts:read", "jobs:read", "jobs:write", "operator"],
        "unfinished_jobs": 0,
        "max_unfinished_jobs": 1000,
    }
    assert stranger.post("/v1/login-links").json()["url"] == "http://test/"


def test_first_start_without_authentication_makes_no_key(api: Api, tmp_path: Any) -> None:
    from app.core.settings import Settings
    from app.main import create_app

    settings = Settings(home=tmp_path / "open", auth=False)
    app = create_app(settings)
    prepare(app)
    app.state.database.dispose()
    assert not settings.api_key_file.exists()
