"""A service with a login provider, and a browser that goes between the two."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import httpx
import pytest
from pydantic import SecretStr

from app.core.settings import Settings
from tests.oidc_provider import CLIENT_ID, CLIENT_SECRET, OidcProvider, running_provider

if TYPE_CHECKING:
    from tests.app.conftest import Api

ORIGIN = {"Origin": "http://test"}


@pytest.fixture
def provider() -> Iterator[OidcProvider]:
    with running_provider() as provider:
        yield provider


@pytest.fixture
def settings(settings: Settings, provider: OidcProvider) -> Settings:
    """Settings of a service whose members sign in there."""
    changes: dict[str, Any] = {
        "oidc_issuer": provider.url,
        "oidc_client_id": CLIENT_ID,
        "oidc_client_secret": SecretStr(CLIENT_SECRET),
        "oidc_name": "Example login",
        "oidc_contact": "help@example.org",
        # For what has to be answered at all: machines that share the suite are slow.
        "oidc_timeout_s": 20.0,
    }
    return settings.model_copy(update=changes)


@dataclass
class Browser:
    """What a browser keeps and follows: cookies, and the provider's page."""

    api: Api
    cookies: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Ask the service, and heed the cookies of its answer."""
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        options["headers"] = {**options.get("headers", {}), **({"Cookie": cookie} if cookie else {})}
        answer = self.api.acting_as(None).request(method, path, **options)
        self.api.client.cookies.clear()
        for line in answer.headers.get_list("set-cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies.pop(name, None)
            if "Max-Age=0" not in line:
                self.cookies[name] = value
        return answer

    def leave(self, onward: str = "/") -> str:
        """Go to the provider; the address on the service that it sends the browser back to."""
        answer = self.ask("GET", f"/login/oidc?{urlencode({'next': onward})}")
        assert answer.status_code == 303, answer.text
        back = httpx.get(answer.headers["location"], verify=False)  # it is not encrypted, and certificates take 30 ms
        assert back.status_code == 302, back.text
        return back.headers["location"].removeprefix("http://test")

    def sign_in(self, onward: str = "/") -> httpx.Response:
        """Go there and come back."""
        return self.ask("GET", self.leave(onward))

    @property
    def me(self) -> dict[str, Any]:
        """Tenant of the session; empty without one."""
        answer = self.ask("GET", "/v1/me")
        document: dict[str, Any] = answer.json()
        return document if answer.status_code == 200 else {}


@pytest.fixture
def browser(api: Api) -> Browser:
    return Browser(api)


def leads_to(page: httpx.Response) -> str:
    """Where the page that ends a sign-in goes on to."""
    assert page.status_code == 200, page.text
    (onward,) = re.findall(r'<meta http-equiv="refresh" content="0; url=([^"]*)">', page.text)
    return str(onward)


def refused(page: httpx.Response, status: int, *words: str) -> str:
    """Whether a page says that nobody is signed in, and why, with a way out."""
    assert page.status_code == status, page.text
    assert page.headers["content-type"].startswith("text/html")
    assert "You are not signed in" in page.text
    assert "Sign in again" in page.text
    assert "Traceback" not in page.text
    assert not [word for word in words if word not in page.text], page.text
    return page.text


def trail(api: Api, action: str) -> list[dict[str, Any]]:
    """Details of the acts of a kind, the newest first."""
    return [entry["details"] for entry in api.get("/v1/audit", params={"action": action}).json()["data"]]
