"""Signing in at a provider, by hand in a browser: over there, back, and through to the pages that it opens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.accessibility import violations
from tests.browser.conftest import serving
from tests.oidc_provider import CLIENT_ID, CLIENT_SECRET, OidcProvider, running_provider

if TYPE_CHECKING:
    from tests.browser.conftest import Service

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def provider() -> Iterator[OidcProvider]:
    with running_provider("localhost") as provider:
        provider.asks = True
        yield provider


@pytest.fixture(scope="module")
def service(provider: OidcProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = {
        "DD_OIDC_ISSUER": provider.url,
        "DD_OIDC_CLIENT_ID": CLIENT_ID,
        "DD_OIDC_CLIENT_SECRET": CLIENT_SECRET,
        "DD_OIDC_NAME": "Example login",
    }
    with serving(tmp_path_factory.mktemp("home"), **settings) as service:
        yield service


@pytest.fixture
def stranger(context: BrowserContext) -> Page:
    """A page of somebody who is not signed in."""
    return context.new_page()


def ask(service: Service, method: str, path: str, key: str | None = None, **body: Any) -> dict[str, Any]:
    answer = httpx.request(
        method, service.url + path, headers={"Authorization": f"Bearer {key or service.key}"}, json=body
    )
    document: dict[str, Any] = answer.raise_for_status().json()
    return document


def go_and_come_back(page: Page, service: Service, path: str) -> None:
    """With the keyboard alone."""
    page.goto(service.url + path)
    button = page.get_by_role("link", name="Sign in with Example login")
    for _ in range(10):
        page.keyboard.press("Tab")
        if button.evaluate("one => one === document.activeElement"):
            break
    expect(button).to_be_focused()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Log in as").press("Enter")


def test_a_member_is_led_to_the_page_that_they_asked_for_and_out_again(
    service: Service, provider: OidcProvider, stranger: Page
) -> None:
    provider.person = {"sub": "ada-1", "email": "ada@example.org", "email_verified": True}
    ask(service, "POST", "/v1/members", email="ada@example.org", role="admin")
    go_and_come_back(stranger, service, "/team")
    expect(stranger).to_have_url(f"{service.url}/team")
    row = stranger.get_by_role("row", name="ada@example.org ada@example.org admin signs in")
    expect(row).to_be_visible()
    stranger.get_by_label("E-mail of a new member").fill("bob@example.org")
    stranger.get_by_role("button", name="Add the member").click()
    expect(stranger.get_by_role("row", name="bob@example.org")).to_contain_text("not yet")
    assert violations(stranger, "team") == []
    stranger.get_by_role("button", name="Sign out").click()
    expect(stranger.get_by_role("link", name="Sign in with Example login")).to_be_visible()
    stranger.goto(f"{service.url}/team")
    expect(stranger.get_by_role("heading", name="Sign in")).to_be_visible()
    assert violations(stranger, "login") == []


def test_whom_no_tenant_has_reads_why_and_whom_to_ask(service: Service, provider: OidcProvider, stranger: Page) -> None:
    provider.person = {"sub": "eve-1", "email": "eve@example.org", "email_verified": True}
    go_and_come_back(stranger, service, "/")
    expect(stranger.get_by_role("heading", name="You are not signed in")).to_be_visible()
    expect(stranger.locator("main")).to_contain_text("No tenant here has a member with the address eve@example.org")
    assert violations(stranger, "refused") == []
    stranger.get_by_role("link", name="Use an API key").click()
    stranger.get_by_label("Or paste an API key").fill(service.key)
    stranger.get_by_role("button", name="Sign in with the key").click()
    expect(stranger.get_by_role("button", name="Sign out")).to_be_visible()


def test_a_member_of_two_tenants_says_for_which_they_work(
    service: Service, provider: OidcProvider, stranger: Page
) -> None:
    provider.person = {"sub": "cyd-1", "email": "cyd@example.org", "email_verified": True}
    lab = ask(service, "POST", "/v1/tenants", id="lab-two", name="Lab two")["key"]["key"]
    for key in (service.key, lab):
        ask(service, "POST", "/v1/members", key, email="cyd@example.org")
    go_and_come_back(stranger, service, "/studies")
    expect(stranger.get_by_role("heading", name="Choose a tenant")).to_be_visible()
    assert violations(stranger, "choice") == []
    stranger.get_by_role("button", name="Lab two (member)").click()
    expect(stranger).to_have_url(f"{service.url}/studies")
    expect(stranger.get_by_title("Tenant of this session")).to_have_text("lab-two")
