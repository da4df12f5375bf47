"""What goes wrong between a browser, the service and the provider: a page each, with a way out, and never a session."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from app.core import rates
from app.core.settings import Settings
from app.oidc import attempts
from app.oidc.opening import open_provider
from tests.app.oidc.conftest import Browser, leads_to, refused, trail
from tests.oidc_provider import CLIENT_ID, CLIENT_SECRET

if TYPE_CHECKING:
    from tests.app.conftest import Api
    from tests.oidc_provider import OidcProvider

ADA = "ada@example.org"
Claims = dict[str, Any]


@pytest.fixture
def browser(api: Api) -> Browser:
    """The browser of a member, so that nothing but the fault can be what keeps her out."""
    assert api.post("/v1/members", json={"email": ADA, "role": "admin"}).status_code == 201
    return Browser(api)


def reason(api: Api) -> str:
    """Why the last one was refused, by the trail."""
    return str(trail(api, "session.refuse")[0]["reason"])


class TestPageOfLogin:
    def test_has_a_button_for_the_provider(self, api: Api) -> None:
        page = api.acting_as(None).get("/studies")
        assert page.status_code == 401
        assert 'href="/login/oidc?next=/studies">Sign in with Example login</a>' in page.text
        assert "Or paste an API key" in page.text

    @pytest.mark.parametrize(
        ("onward", "shown"),
        [
            ("/team?a=1&b=2", "/team?a=1&amp;b=2"),
            ("//evil.example", "/"),
            ("https://evil.example", "/"),
            ("/\\evil.example", "/"),
            ("javascript:alert(1)", "/"),
            ('/"><script>', "/&#34;&gt;&lt;script&gt;"),
            ("/" + "x" * 3000, "/"),
        ],
    )
    def test_leads_to_pages_of_this_site_only(self, browser: Browser, onward: str, shown: str) -> None:
        assert leads_to(browser.sign_in(onward)) == shown


class TestRequest:
    def test_has_a_challenge_a_state_and_a_nonce_of_its_own(self, api: Api, provider: OidcProvider) -> None:
        asked = []
        for _ in range(2):
            answer = api.acting_as(None).get("/login/oidc")
            parts = urlsplit(answer.headers["location"])
            assert f"{parts.scheme}://{parts.netloc}" == provider.url
            asked.append({name: values[0] for name, values in parse_qs(parts.query).items()})
            cookie = answer.headers["set-cookie"]
            for part in ("HttpOnly", "SameSite=lax", "Path=/login/oidc", "Max-Age=600"):
                assert part in cookie
            assert "Secure" not in cookie
        first, second = asked
        assert first["redirect_uri"] == "http://test/login/oidc/callback"
        assert (first["response_type"], first["client_id"], first["scope"]) == ("code", CLIENT_ID, "openid email")
        assert first["code_challenge_method"] == "S256"
        assert not [name for name in ("state", "nonce", "code_challenge") if first[name] == second[name]]

    def test_behind_a_proxy_with_tls_comes_back_to_it(self, api: Api) -> None:
        """The server has put in the scheme that a trusted proxy names, as for links and other cookies."""
        answer = api.acting_as(None).get("https://test/login/oidc")
        query = parse_qs(urlsplit(answer.headers["location"]).query)
        assert query["redirect_uri"] == ["https://test/login/oidc/callback"]
        assert "Secure" in answer.headers["set-cookie"]

    def test_browser_knows_no_verifier(self, api: Api, browser: Browser) -> None:
        browser.leave()
        payload = api.state.signer.open("oidc-attempt", browser.cookies["dd_oidc"])
        assert set(payload) == {"id", "onward", "until"}


class TestAnswer:
    def test_may_have_parameters_that_nobody_here_knows(self, browser: Browser, provider: OidcProvider) -> None:
        provider.extra = {"session_state": "x", "iss": provider.url, "authuser": "0"}
        leads_to(browser.sign_in())

    def test_of_another_issuer_is_refused(self, api: Api, browser: Browser, provider: OidcProvider) -> None:
        provider.extra = {"iss": "https://evil.example"}
        refused(browser.sign_in(), 400, "another provider")

    def test_of_somebody_who_declined(self, api: Api, browser: Browser, provider: OidcProvider) -> None:
        provider.deny = "access_denied"
        refused(browser.sign_in("/team"), 403, "did not allow it", 'href="/login/oidc?next=/team"')
        assert reason(api) == "declined"

    @pytest.mark.parametrize(
        ("error", "shown"),
        [("temporarily_unavailable", "temporarily_unavailable"), ("<script>", "&lt;script&gt;"), ("é\0", "unreadable")],
    )
    def test_with_another_error(
        self, api: Api, browser: Browser, provider: OidcProvider, error: str, shown: str
    ) -> None:
        provider.deny = error
        refused(browser.sign_in(), 502, shown)
        assert reason(api) == "provider_refused"

    def test_without_a_code(self, browser: Browser) -> None:
        back = urlsplit(browser.leave())
        state = parse_qs(back.query)["state"][0]
        refused(browser.ask("GET", f"{back.path}?{urlencode({'state': state})}"), 502, "no code")

    def test_to_another_sign_in_is_refused_and_ends_none(self, api: Api, browser: Browser) -> None:
        """Somebody who is made to follow the link of an attacker is not signed in as the attacker."""
        theirs = Browser(api).leave()
        own = browser.leave()
        refused(browser.ask("GET", theirs), 400, "belongs to another sign-in")
        assert reason(api) == "state"
        assert browser.me == {}
        leads_to(browser.ask("GET", own))

    def test_to_a_browser_that_began_none(self, api: Api, browser: Browser) -> None:
        back = Browser(api).leave()
        for cookie in ({}, {"dd_oidc": "forged"}, {"dd_oidc": "a.b.c"}):
            refused(Browser(api, dict(cookie)).ask("GET", back), 400, "longer than 10 minutes")
        assert reason(api) == "expired"

    def test_that_comes_too_late(self, api: Api, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
        back = browser.leave()
        late = time.time() + attempts.LIFETIME_S + 1
        monkeypatch.setattr("app.oidc.attempts.time.time", lambda: late)
        refused(browser.ask("GET", back), 400, "longer than 10 minutes")

    def test_that_comes_again_is_refused_even_where_the_provider_would_not(
        self, api: Api, browser: Browser, provider: OidcProvider
    ) -> None:
        provider.reusable = True
        back = browser.leave()
        copy = Browser(api, dict(browser.cookies))
        leads_to(browser.ask("GET", back))
        refused(copy.ask("GET", back), 400, "works once")
        assert copy.me == {}
        assert reason(api) == "used"
        assert provider.asked["/token"] == 1

    def test_with_a_code_of_before_is_refused(self, api: Api, browser: Browser) -> None:
        old = parse_qs(urlsplit(browser.leave()).query)["code"][0]
        new = urlsplit(browser.leave())
        state = parse_qs(new.query)["state"][0]
        refused(browser.ask("GET", f"{new.path}?{urlencode({'state': state, 'code': old})}"), 400, "sign in again")
        assert reason(api) == "code"

    @pytest.mark.usefixtures("whole_window")
    def test_too_many_from_an_address_are_turned_away(self, api: Api, browser: Browser) -> None:
        api.state.rates = rates.Rates(api.settings.model_copy(update={"rate_failures": 2}))
        statuses = [browser.ask("GET", "/login/oidc/callback?state=x").status_code for _ in range(3)]
        assert statuses == [400, 400, 429]
        page = browser.ask("GET", browser.leave())
        assert "DD_RATE_FAILURES" in page.text
        assert page.headers["content-type"].startswith("text/html")


def aged(claims: Claims) -> Claims:
    return {**claims, "exp": int(time.time()) - 3600}


WRONG: dict[str, Callable[[Claims], Claims]] = {
    "issuer": lambda claims: {**claims, "iss": "https://evil.example"},
    "no issuer": lambda claims: {name: value for name, value in claims.items() if name != "iss"},
    "audience": lambda claims: {**claims, "aud": "another-client"},
    "audience without us": lambda claims: {**claims, "aud": ["another-client"], "azp": CLIENT_ID},
    "party": lambda claims: {**claims, "azp": "another-client"},
    "age": aged,
    "no end": lambda claims: {name: value for name, value in claims.items() if name != "exp"},
    "nonce": lambda claims: {**claims, "nonce": "another"},
    "no nonce": lambda claims: {name: value for name, value in claims.items() if name != "nonce"},
    "subject": lambda claims: {**claims, "sub": "a\0b"},
    "long subject": lambda claims: {**claims, "sub": "a" * 256},
    "no subject": lambda claims: {name: value for name, value in claims.items() if name != "sub"},
    "hash of the token": lambda claims: {**claims, "at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
}


def unsigned(claims: Claims) -> str:
    return jwt.encode({"alg": "none"}, claims, OctKey.import_key("x"), algorithms=["none"])


def by_our_secret(claims: Claims) -> str:
    return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(CLIENT_SECRET), algorithms=["HS256"])


def by_a_stranger(claims: Claims) -> str:
    key = RSAKey.generate_key(2048, {"kid": "first"})
    return jwt.encode({"alg": "RS256", "kid": "first"}, claims, key)


class TestToken:
    @pytest.mark.parametrize("name", WRONG)
    def test_that_says_something_else_is_refused(
        self, api: Api, browser: Browser, provider: OidcProvider, name: str
    ) -> None:
        provider.claims = WRONG[name]
        refused(browser.sign_in(), 502, "tell the operator")
        assert browser.me == {}
        assert reason(api) == "token"

    def test_may_name_several_audiences(self, browser: Browser, provider: OidcProvider) -> None:
        provider.claims = lambda claims: {**claims, "aud": ["another", CLIENT_ID], "azp": CLIENT_ID}
        leads_to(browser.sign_in())

    @pytest.mark.parametrize("sign", [unsigned, by_our_secret, by_a_stranger, lambda _: "no.token", lambda _: "x"])
    @pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
    def test_that_the_provider_did_not_sign_is_refused(
        self, api: Api, browser: Browser, provider: OidcProvider, sign: Callable[[Claims], str]
    ) -> None:
        provider.sign = sign
        refused(browser.sign_in(), 502, "cannot be trusted")
        assert browser.me == {}

    def test_of_a_new_key_is_believed_once_the_key_is_known(
        self, api: Api, browser: Browser, provider: OidcProvider
    ) -> None:
        leads_to(browser.sign_in())
        leads_to(Browser(api).sign_in())
        assert (provider.asked["/jwks"], provider.asked["/.well-known/openid-configuration"]) == (1, 1)
        provider.turn_key("second")
        leads_to(Browser(api).sign_in())
        assert provider.asked["/jwks"] == 2


class TestProvider:
    @pytest.mark.parametrize(
        "document",
        [
            {"issuer": "https://evil.example"},
            {"issuer": None},
            {"jwks_uri": None},
            {"token_endpoint": None},
            {"authorization_endpoint": 7},
            {"token_endpoint": "http://evil.example/token"},
            {"authorization_endpoint": "javascript:alert(1)"},
            {"id_token_signing_alg_values_supported": ["none", "HS256"]},
        ],
    )
    def test_whose_document_cannot_be_used(
        self, browser: Browser, provider: OidcProvider, document: dict[str, Any]
    ) -> None:
        provider.document = document
        page = browser.ask("GET", "/login/oidc?next=/team")
        refused(page, 503, "gives no usable answer", "API key", 'href="/team">Use an API key</a>')

    @pytest.mark.parametrize("path", ["/token", "/jwks", "/userinfo"])
    def test_that_fails_on_the_way(self, api: Api, browser: Browser, provider: OidcProvider, path: str) -> None:
        provider.broken = {path}
        provider.person = {"sub": "ada-1"}
        refused(browser.sign_in(), 503, "gives no usable answer")
        assert reason(api) == "provider_down"

    @pytest.mark.parametrize("answer", [None, 7, "x", [], [1], {}, {"keys": 7}, {"keys": [7]}, {"keys": [{"kty": 7}]}])
    @pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/token", "/jwks", "/userinfo"])
    def test_that_answers_by_something_else(
        self, browser: Browser, provider: OidcProvider, path: str, answer: object
    ) -> None:
        provider.odd = {path: answer}
        provider.person = {"sub": "ada-1"}
        page = browser.ask("GET", "/login/oidc")
        page = browser.sign_in() if page.status_code == 303 else page
        refused(page, page.status_code)
        assert page.status_code in (502, 503)
        assert browser.me == {}

    @pytest.mark.parametrize(
        "answer",
        [
            {"access_token": "access", "token_type": "Bearer", "expires_in": []},
            {"access_token": "access", "token_type": 7, "id_token": 7},
            {"access_token": None, "id_token": "a.b.c"},
            {"id_token": ["x"]},
            {"error": 7},
            {"error": {"a": []}, "error_description": 7},
        ],
    )
    def test_whose_token_has_another_shape(self, browser: Browser, provider: OidcProvider, answer: object) -> None:
        provider.odd = {"/token": answer}
        page = browser.sign_in()
        refused(page, page.status_code)
        assert page.status_code in (502, 503)

    @pytest.mark.parametrize(
        "field", ["id_token_signing_alg_values_supported", "token_endpoint_auth_methods_supported"]
    )
    @pytest.mark.parametrize("value", [7, "x", {"a": 1}, [7], [[]]])
    def test_whose_document_has_another_shape(
        self, browser: Browser, provider: OidcProvider, field: str, value: object
    ) -> None:
        provider.document = {field: value}
        page = browser.ask("GET", "/login/oidc")
        assert page.status_code in (303, 503)
        if page.status_code == 503:
            refused(page, 503)

    def test_that_is_down_is_left_alone_for_a_while_and_asked_again(
        self, api: Api, browser: Browser, provider: OidcProvider
    ) -> None:
        provider.broken = {"/.well-known/openid-configuration"}
        for _ in range(3):
            refused(browser.ask("GET", "/login/oidc"), 503)
        assert provider.asked["/.well-known/openid-configuration"] == 1
        provider.broken = set()
        api.state.provider._rests_until = 0.0
        leads_to(browser.sign_in())

    def test_whose_document_is_old_and_cannot_be_renewed_is_used_as_it_was(
        self, api: Api, browser: Browser, provider: OidcProvider
    ) -> None:
        leads_to(browser.sign_in())
        api.state.provider._until = 0.0
        provider.broken = {"/.well-known/openid-configuration"}
        leads_to(Browser(api).sign_in())
        assert provider.asked["/.well-known/openid-configuration"] == 2

    def test_that_does_not_know_this_service(self, api: Api, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tests.oidc_provider.CLIENT_SECRET", "another")
        refused(browser.sign_in(), 502, "tell the operator of this service")
        assert reason(api) == "provider_refused"

    def test_that_wants_the_secret_in_the_form(self, browser: Browser, provider: OidcProvider) -> None:
        provider.document = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
        leads_to(browser.sign_in())

    def test_that_is_slow_holds_up_nobody_else_and_is_given_up(
        self, api: Api, browser: Browser, provider: OidcProvider
    ) -> None:
        provider.slow = True
        api.state.provider = open_provider(api.settings.model_copy(update={"oidc_timeout_s": 2.0}))
        pages: list[Any] = []
        thread = threading.Thread(target=lambda: pages.append(browser.ask("GET", "/login/oidc")))
        began = time.monotonic()
        thread.start()
        while provider.asked.total() == 0:
            assert time.monotonic() - began < 30
        answers = 0
        while thread.is_alive():
            assert api.get("/healthz").status_code == 200
            answers += 1
        thread.join()
        assert answers >= 5
        refused(pages[0], 503, "gives no usable answer")


class TestTrail:
    def test_a_wrong_key_is_told_to_whose_key_it_claims_to_be(self, api: Api, rival: Api) -> None:
        made = rival.post("/v1/api-keys", json={"name": "old"}).json()
        rival.delete(f"/v1/api-keys/{made['id']}")
        form = {"Origin": "http://test"}
        for key in (made["key"], "nonsense"):
            page = api.acting_as(None).post("/login", data={"key": key}, headers=form)
            assert (page.status_code, "wrong, expired or revoked" in page.text) == (401, True)
        why = {"by": "key", "reason": "wrong, expired or revoked"}
        assert trail(rival, "session.refuse") == [{**why, "key": made["id"]}]
        assert trail(api, "session.refuse") == [{**why, "key": None}]

    def test_says_how_somebody_came_in(self, api: Api) -> None:
        stranger, key = api.acting_as(None), api.key()
        assert stranger.post("/login", data={"key": key}, headers={"Origin": "http://test"}).status_code == 303
        link = urlsplit(api.post("/v1/login-links").json()["url"])
        assert stranger.get(f"{link.path}?{link.query}").status_code == 303
        assert trail(api, "session.start") == [{"by": "link"}, {"by": "key"}]

    def test_a_login_link_that_does_not_work_is_told(self, api: Api) -> None:
        assert api.acting_as(None).get("/login?token=forged").status_code == 401
        assert trail(api, "session.refuse") == [{"by": "link", "reason": "used already, or too old"}]

    def test_a_flood_does_not_fill_it(self, api: Api, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
        statuses = {browser.ask("GET", "/login/oidc/callback?state=x").status_code for _ in range(20)}
        assert statuses == {400}
        assert len(trail(api, "session.refuse")) == rates.NOTED_OF_ADDRESS
        monkeypatch.setattr(rates, "NOTED", 3)
        fresh = rates.Rates(api.settings)
        assert [fresh.worth_noting(f"192.0.2.{number}") for number in range(5)] == [True, True, True, False, False]


class TestSettings:
    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"oidc_issuer": "http://login.example.org"}, "DD_OIDC_ISSUER is http://login.example.org: .*https://"),
            ({"oidc_issuer": "login.example.org"}, "must look like"),
            ({"oidc_issuer": "https://login.example.org/?a=b"}, "without \\? and #"),
            ({"oidc_client_id": None}, "DD_OIDC_CLIENT_ID"),
            ({"oidc_scopes": "email"}, "DD_OIDC_SCOPES is 'email'.*openid"),
            ({"auth": False}, "DD_AUTH is off"),
        ],
    )
    def test_that_cannot_be_are_named(self, tmp_path: Any, given: dict[str, Any], said: str) -> None:
        right = {"home": tmp_path, "oidc_issuer": "https://login.example.org", "oidc_client_id": "x"}
        Settings(**right)
        with pytest.raises(ValueError, match=said):
            Settings(**(right | given))

    def test_without_the_library_name_what_to_install(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "app.oidc.provider", None)
        with pytest.raises(ValueError, match=r"ddservice\[oidc\]"):
            open_provider(api.settings)

    def test_without_a_provider_there_is_none(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        assert open_provider(api.settings.model_copy(update={"oidc_issuer": None})) is None
        monkeypatch.setattr(api.state, "provider", None)
        for path in ("/login/oidc", "/login/oidc/callback"):
            answer = api.acting_as(None).get(path)
            assert (answer.status_code, "DD_OIDC_ISSUER" in answer.text) == (404, True)
