"""Members who sign in at a provider: who they are, what they may do, and when that ends; on both databases."""

from __future__ import annotations

import ssl
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update

from app.models.keys import Member, Tenant
from tests.app.oidc.conftest import ORIGIN, Browser, leads_to, refused, trail

if TYPE_CHECKING:
    from tests.app.conftest import Api
    from tests.oidc_provider import OidcProvider

BACKENDS = ("sqlite", "postgres")
ADA = "ada@example.org"


def member(api: Api, **fields: Any) -> str:
    answer = api.post("/v1/members", json={"email": ADA, **fields})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def sign_in_keys(api: Api) -> list[dict[str, Any]]:
    return [key for key in api.get("/v1/api-keys").json()["data"] if key["sign_in"]]


class TestSession:
    @pytest.mark.parametrize(
        ("role", "scopes"),
        [
            ("viewer", ["artifacts:read", "jobs:read"]),
            ("member", ["artifacts:read", "jobs:read", "jobs:write"]),
            ("admin", ["admin", "artifacts:read", "jobs:read", "jobs:write"]),
        ],
    )
    def test_may_do_what_the_role_of_the_member_allows(
        self, api: Api, browser: Browser, role: str, scopes: list[str]
    ) -> None:
        member_id = member(api, role=role)
        assert leads_to(browser.sign_in("/team?x=1")) == "/team?x=1"
        assert (browser.me["tenant_id"], browser.me["scopes"]) == ("default", scopes)
        assert browser.ask("GET", "/team").status_code == 200
        assert api.get(f"/v1/members/{member_id}").json()["linked"] is True
        assert trail(api, "session.start") == [
            {"by": "oidc", "member": member_id, "subject": "ada-1", "email": ADA},
        ]  # fmt: skip

    def test_begins_without_reading_all_certificates(
        self, api: Api, browser: Browser, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Which takes 30 ms, in which nobody else is answered."""
        member(api)

        def read(*_: object, **__: object) -> None:
            raise AssertionError("certificates are read")

        monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", read)
        leads_to(browser.sign_in())
        assert browser.me["tenant_id"] == "default"

    def test_has_the_cookie_of_any_session(self, api: Api, browser: Browser) -> None:
        member(api)
        answer = browser.sign_in()
        (cookie,) = [line for line in answer.headers.get_list("set-cookie") if line.startswith("dd_session=")]
        for part in ("HttpOnly", "SameSite=strict", f"Max-Age={api.settings.session_s}"):
            assert part in cookie
        assert "dd_oidc" not in browser.cookies

    def test_acts_from_its_own_pages_only(self, api: Api, browser: Browser) -> None:
        member(api, role="admin")
        browser.sign_in()
        body = {"name": "mine"}
        assert browser.ask("POST", "/v1/api-keys", json=body).status_code == 403
        assert browser.ask("POST", "/v1/api-keys", json=body, headers=ORIGIN).status_code == 201

    @pytest.mark.parametrize(
        ("change", "left"),
        [({"role": "viewer"}, ["artifacts:read", "jobs:read"]), ({"disabled": True}, None), ({"unlink": True}, None)],
    )
    def test_follows_a_change_of_the_member_at_once(
        self, api: Api, browser: Browser, change: dict[str, Any], left: list[str] | None
    ) -> None:
        member_id = member(api)
        browser.sign_in()
        assert "jobs:write" in browser.me["scopes"]
        assert api.patch(f"/v1/members/{member_id}", json=change).status_code == 200
        assert browser.me.get("scopes") == left

    def test_gains_what_the_role_gains(self, api: Api, browser: Browser) -> None:
        member_id = member(api, role="viewer")
        browser.sign_in()
        api.patch(f"/v1/members/{member_id}", json={"role": "admin"})
        assert "admin" in browser.me["scopes"]

    def test_ends_with_the_member(self, api: Api, browser: Browser) -> None:
        member_id = member(api)
        browser.sign_in()
        assert api.delete(f"/v1/members/{member_id}").status_code == 204
        assert browser.me == {}
        refused(browser.sign_in(), 403, "No tenant here has a member")

    def test_ends_with_the_tenant(self, api: Api, browser: Browser) -> None:
        member(api)
        browser.sign_in()
        with api.database.write() as session:
            session.execute(update(Tenant).values(disabled_at=Tenant.created_at))
        api.state.keyring.forget_all()
        assert browser.me == {}
        refused(browser.sign_in(), 403, "or whose tenant is")

    def test_a_logout_ends_it_and_its_copies_and_is_told_once(self, api: Api, browser: Browser) -> None:
        member(api)
        browser.sign_in()
        copy = Browser(api, dict(browser.cookies))
        key_id = browser.me["key_id"]
        for one in (browser, copy):
            assert one.ask("POST", "/logout", headers=ORIGIN).status_code == 303
        assert Browser(api, dict(copy.cookies)).me == {}
        (ended,) = api.get("/v1/audit", params={"action": "session.end"}).json()["data"]
        assert (ended["key_id"], ended["object_id"], ended["address"]) == (key_id, key_id, "127.0.0.1")

    def test_every_one_of_a_member_speaks_for_one_key(self, api: Api, browser: Browser) -> None:
        member_id = member(api)
        browser.sign_in()
        other = Browser(api)
        other.sign_in()
        (key,) = sign_in_keys(api)
        assert (key["member_id"], key["scopes"], key["id"]) == (member_id, [], other.me["key_id"])
        assert "what the role allows" in api.get("/team").text
        assert api.delete(f"/v1/api-keys/{key['id']}").status_code == 204
        assert (browser.me, other.me) == ({}, {})
        browser.sign_in()
        assert browser.me["key_id"] != key["id"]

    def test_first_ones_at_once_speak_for_one_key(self, api: Api) -> None:
        member(api)
        browsers = [Browser(api) for _ in range(4)]
        ways = [browser.leave() for browser in browsers]
        with ThreadPoolExecutor(len(browsers)) as pool:
            pages = list(pool.map(lambda browser, way: browser.ask("GET", way), browsers, ways))
        assert [page.status_code for page in pages] == [200] * len(browsers)
        assert len({browser.me["key_id"] for browser in browsers}) == 1
        assert len(sign_in_keys(api)) == 1

    def test_one_answer_of_the_provider_begins_one_however_often_it_comes_at_once(
        self, api: Api, browser: Browser, provider: OidcProvider
    ) -> None:
        member(api)
        provider.reusable = True
        way = browser.leave()
        copies = [Browser(api, dict(browser.cookies)) for _ in range(4)]
        with ThreadPoolExecutor(len(copies)) as pool:
            statuses = sorted(pool.map(lambda copy: copy.ask("GET", way).status_code, copies))
        assert statuses == [200, 400, 400, 400]
        assert len([copy for copy in copies if copy.me]) == 1

    def test_is_no_way_to_a_longer_one(self, api: Api, browser: Browser) -> None:
        member(api, role="admin")
        browser.sign_in()
        answer = browser.ask("POST", "/v1/login-links", headers=ORIGIN)
        assert answer.status_code == 403
        assert "sign in there again" in answer.json()["detail"]
        rotated = api.post(f"/v1/api-keys/{browser.me['key_id']}:rotate")
        assert rotated.status_code == 403
        assert "nobody has its text" in rotated.json()["detail"]

    def test_does_not_count_as_the_last_key_of_an_admin(self, api: Api, browser: Browser) -> None:
        member(api, role="admin")
        browser.sign_in()
        own = api.get("/v1/me").json()["key_id"]
        answer = api.delete(f"/v1/api-keys/{own}")
        assert (answer.status_code, answer.json()["code"]) == (409, "last_admin_key")


class TestWho:
    def test_members_are_known_by_their_account_once_they_are_linked(
        self, api: Api, browser: Browser, provider: OidcProvider
    ) -> None:
        member_id = member(api)
        browser.sign_in()
        provider.person |= {"email": "ada.lovelace@example.org", "email_verified": False}
        other = Browser(api)
        leads_to(other.sign_in())
        assert other.me["key_id"] == browser.me["key_id"]
        assert trail(api, "session.start")[0]["member"] == member_id

    def test_an_address_that_another_person_has_now_is_refused_until_it_is_unlinked(
        self, api: Api, browser: Browser, provider: OidcProvider
    ) -> None:
        member_id = member(api)
        browser.sign_in()
        provider.person["sub"] = "another-ada"
        other = Browser(api)
        refused(other.sign_in(), 403, ADA, "another account of the provider", "help@example.org", "--unlink")
        assert other.me == {}
        assert trail(api, "session.refuse") == [
            {"by": "oidc", "reason": "linked_elsewhere", "subject": "another-ada", "email": ADA}
        ]
        api.patch(f"/v1/members/{member_id}", json={"unlink": True})
        leads_to(other.sign_in())
        assert other.me["tenant_id"] == "default"

    def test_a_link_to_an_earlier_provider_is_replaced(self, api: Api, browser: Browser) -> None:
        member_id = member(api)
        with api.database.write() as session:
            session.execute(update(Member).values(oidc_issuer="https://old.example.org", oidc_subject="x"))
        leads_to(browser.sign_in())
        with api.database.read() as session:
            found = session.get(Member, member_id)
            assert found is not None
            assert (found.oidc_issuer, found.oidc_subject) == (api.settings.oidc_issuer, "ada-1")

    def test_addresses_are_compared_in_any_case(self, api: Api, browser: Browser, provider: OidcProvider) -> None:
        member(api)
        provider.person["email"] = "Ada@Example.ORG"
        leads_to(browser.sign_in())

    def test_an_address_that_the_profile_alone_has_counts(
        self, api: Api, browser: Browser, provider: OidcProvider
    ) -> None:
        member(api)
        provider.person = {"sub": "ada-1"}
        provider.profile = {"email": ADA, "email_verified": True}
        leads_to(browser.sign_in())
        assert browser.me["tenant_id"] == "default"

    def test_the_profile_says_what_of_an_address_the_token_does_not(
        self, api: Api, browser: Browser, provider: OidcProvider
    ) -> None:
        member(api)
        provider.person = {"sub": "ada-1", "email": ADA}
        provider.profile = {"email": ADA, "email_verified": True}
        leads_to(browser.sign_in())

    def test_that_one_address_was_checked_says_nothing_of_another(
        self, api: Api, browser: Browser, provider: OidcProvider
    ) -> None:
        member(api)
        provider.person = {"sub": "eve", "email": ADA}
        for profile in ({"email_verified": True}, {"email": "eve@example.org", "email_verified": True}):
            provider.profile = profile
            refused(browser.sign_in(), 403)

    def test_a_profile_of_somebody_else_does_not(self, api: Api, browser: Browser, provider: OidcProvider) -> None:
        member(api)
        provider.person = {"sub": "eve"}
        provider.profile = {"sub": "ada-1", "email": ADA, "email_verified": True}
        refused(browser.sign_in(), 502, "cannot be trusted")

    @pytest.mark.parametrize("verified", [False, None, "true", 1])
    def test_an_address_that_was_not_checked_is_refused(
        self, api: Api, browser: Browser, provider: OidcProvider, verified: object
    ) -> None:
        member(api)
        provider.person["email_verified"] = verified
        refused(browser.sign_in(), 403, "has not checked that ada@example.org is your address")
        assert browser.me == {}
        assert trail(api, "session.refuse")[0]["reason"] == "email_unverified"

    @pytest.mark.parametrize("email", [None, 7, "ada", "a" * 300 + "@example.org", "a\ud800@example.org", "a\0@b.c"])
    def test_whose_address_the_provider_does_not_say_is_refused(
        self, api: Api, browser: Browser, provider: OidcProvider, email: object
    ) -> None:
        member(api)
        provider.person["email"] = email
        refused(browser.sign_in(), 403, "did not say your e-mail address", "DD_OIDC_SCOPES")

    def test_whom_no_tenant_has_is_refused_and_told_whom_to_ask(
        self, api: Api, browser: Browser, provider: OidcProvider
    ) -> None:
        provider.person["email"] = "eve@example.org"
        refused(
            browser.sign_in(), 403, "No tenant here has a member with the address eve@example.org", "help@example.org"
        )
        assert browser.me == {}
        (entry,) = api.get("/v1/audit", params={"action": "session.refuse"}).json()["data"]
        assert (entry["address"], entry["key_id"]) == ("127.0.0.1", None)
        assert entry["details"] == {
            "by": "oidc", "reason": "no_member", "subject": "ada-1", "email": "eve@example.org",
        }  # fmt: skip

    def test_a_disabled_member_is_refused(self, api: Api, browser: Browser) -> None:
        member_id = member(api)
        api.patch(f"/v1/members/{member_id}", json={"disabled": True})
        refused(browser.sign_in(), 403, "a member who is disabled")
        assert trail(api, "session.refuse")[0]["reason"] == "disabled"


class TestSeveralTenants:
    @pytest.fixture
    def members(self, api: Api, rival: Api) -> dict[str, str]:
        """Ada in two tenants, by tenant."""
        return {"default": member(api, role="admin"), "rival": member(rival, role="viewer")}

    @pytest.mark.parametrize("tenant", ["default", "rival"])
    def test_one_is_chosen(self, api: Api, browser: Browser, members: dict[str, str], tenant: str) -> None:
        page = browser.sign_in("/system")
        assert page.status_code == 200
        assert browser.me == {}
        assert page.text.index("Default (admin)") < page.text.index("rival (viewer)")
        done = browser.ask("POST", "/login/oidc/tenant", data={"member": members[tenant]}, headers=ORIGIN)
        assert leads_to(done) == "/system"
        assert browser.me["tenant_id"] == tenant
        assert "dd_oidc_choice" not in browser.cookies

    def test_a_member_of_somebody_else_cannot_be_chosen(
        self, api: Api, browser: Browser, members: dict[str, str]
    ) -> None:
        eve = member(api, email="eve@example.org")
        browser.sign_in()
        answer = browser.ask("POST", "/login/oidc/tenant", data={"member": eve}, headers=ORIGIN)
        refused(answer, 403, "no longer sign in for this tenant")
        assert browser.me == {}

    def test_a_choice_is_made_once_and_by_its_own_browser(
        self, api: Api, browser: Browser, members: dict[str, str]
    ) -> None:
        browser.sign_in()
        copy, stranger = Browser(api, dict(browser.cookies)), Browser(api)
        body = {"member": members["default"]}
        refused(stranger.ask("POST", "/login/oidc/tenant", data=body, headers=ORIGIN), 400, "sign in again")
        leads_to(browser.ask("POST", "/login/oidc/tenant", data=body, headers=ORIGIN))
        refused(copy.ask("POST", "/login/oidc/tenant", data=body, headers=ORIGIN), 400, "works once")
        assert copy.me == {}

    def test_another_site_cannot_choose(self, browser: Browser, members: dict[str, str]) -> None:
        browser.sign_in()
        foreign = {"Origin": "http://evil.example"}
        answer = browser.ask("POST", "/login/oidc/tenant", data={"member": members["default"]}, headers=foreign)
        assert answer.status_code == 403
        assert browser.me == {}

    def test_a_tenant_in_which_one_is_disabled_is_not_offered(
        self, api: Api, browser: Browser, members: dict[str, str]
    ) -> None:
        api.patch(f"/v1/members/{members['default']}", json={"disabled": True})
        leads_to(browser.sign_in())
        assert browser.me["tenant_id"] == "rival"

    def test_two_members_of_one_tenant_are_told_apart_by_the_link(
        self, api: Api, browser: Browser, provider: OidcProvider
    ) -> None:
        """The first keeps their account when the provider gives it the address of the second."""
        first = member(api)
        browser.sign_in()
        member(api, email="countess@example.org")
        provider.person["email"] = "countess@example.org"
        leads_to(browser.sign_in())
        assert trail(api, "session.start")[0]["member"] == first
