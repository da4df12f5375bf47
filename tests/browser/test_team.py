"""The path of a team, by hand: signed in at a provider, a key with few scopes, a job, a quota, a webhook, the trail."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from ddclient import Client
from ddclient.errors import ProblemError
from tests.browser.conftest import serving
from tests.contract.conftest import TINY
from tests.oidc_provider import CLIENT_ID, CLIENT_SECRET, running_provider
from tests.receiver import Receiver, receiving

if TYPE_CHECKING:
    from pathlib import Path

    from tests.browser.conftest import Service

pytestmark = pytest.mark.browser
LOOKS_AGAIN_S = 2
"""After which the page of a message that is on its way loads itself anew."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with running_provider("localhost") as provider:
        provider.person = {"sub": "ada-1", "email": "ada@example.org", "email_verified": True}
        settings = {
            "DD_OIDC_ISSUER": provider.url,
            "DD_OIDC_CLIENT_ID": CLIENT_ID,
            "DD_OIDC_CLIENT_SECRET": CLIENT_SECRET,
            "DD_OIDC_NAME": "Example login",
            "DD_WEBHOOK_NETWORKS": "127.0.0.0/8",
        }
        with serving(tmp_path, **settings) as service:
            yield service


@contextmanager
def working(service: Service) -> Iterator[None]:
    """A worker of the service, with its reconciler and its sender of messages."""
    own = {"DD_HOME": str(service.settings.home), "DD_LOG_LEVEL": "error", "DD_WEBHOOK_NETWORKS": "127.0.0.0/8"}
    process = subprocess.Popen([sys.executable, "-m", "worker"], env={**os.environ, **own, "OMP_NUM_THREADS": "1"})
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


def test_from_the_first_sign_in_to_the_trail(service: Service, context: BrowserContext, receiver: Receiver) -> None:
    with Client(service.url, service.key) as operator:
        admin = operator.create_tenant("lab", name="The lab", max_queued=1)["key"]["key"]
    with Client(service.url, admin) as lab:
        lab.add_member("ada@example.org", role="admin")

    page = context.new_page()
    page.goto(f"{service.url}/team")
    page.get_by_role("link", name="Sign in with Example login").click()
    expect(page.get_by_role("heading", name="Use of lab")).to_be_visible()

    secret = key_with_few_scopes(page)
    webhook_secret = webhook(page, service, receiver)
    with Client(service.url, secret) as limited:
        job = limited.submit({**TINY, "seed": 1})
        for refused in (limited.api_keys, limited.webhooks, lambda: limited.audit().__next__()):
            with pytest.raises(ProblemError, match="scope"):
                refused()
        quota_is_said(page, service)
        with working(service):
            job.wait(timeout=120)
            found: list[Any] = [one for one in receiver.wait(2) if one.message["type"] == "job.succeeded"]
    (told,) = found
    assert told.verify(webhook_secret)["data"]["job"]["id"] == job.id

    page.goto(f"{service.url}/team/webhooks")
    page.get_by_role("link", name=receiver.url()).click()
    row = page.get_by_role("row").filter(has_text=job.id)
    expect(row).to_contain_text("delivered")
    row.get_by_role("link", name="job.succeeded").click()
    expect(page.get_by_role("heading", name="job.succeeded")).to_be_visible()
    expect(page.locator("main")).to_contain_text(told.id)

    page.goto(f"{service.url}/team")
    page.get_by_role("link", name="What was done").click()
    for act in ("session.start", "key.create", "webhook.create", "webhook.test", "job.submit", "member.add"):
        expect(page.get_by_role("cell", name=act, exact=True).first).to_be_visible()


def key_with_few_scopes(page: Page) -> str:
    """Make one that sees and submits jobs and no more; its text."""
    page.get_by_label("Name of a new key").fill("for the cluster")
    page.get_by_label("download results").uncheck()
    page.get_by_role("button", name="Make the key").click()
    shown = page.get_by_label("the new key", exact=True)
    expect(shown).to_contain_text("dd_local_")
    return shown.inner_text().strip()


def webhook(page: Page, service: Service, receiver: Receiver) -> str:
    """Make one, with a test that waits for a worker; its secret."""
    page.goto(f"{service.url}/team")
    page.get_by_role("link", name="Webhooks").click()
    page.get_by_label("Address").fill(receiver.url())
    page.get_by_role("button", name="Make the webhook").click()
    secret = page.get_by_label("the secret", exact=True).inner_text().strip()
    page.get_by_role("button", name="Send a test").click()
    expect(page.get_by_role("status")).to_contain_text("It is on its way")
    # The page looks again by itself, which must not call back whoever waits for another one.
    page.route(f"{service.url}/team", answered_late, times=1)
    page.get_by_role("link", name="Team", exact=True).click()
    expect(page).to_have_url(f"{service.url}/team")
    return secret


def answered_late(route: Route) -> None:
    time.sleep(1.5 * LOOKS_AGAIN_S)
    route.continue_()


def quota_is_said(page: Page, service: Service) -> None:
    """One unfinished job is all that the tenant may have."""
    page.goto(f"{service.url}/team")
    expect(page.locator(".use").filter(has_text="Unfinished jobs")).to_contain_text("1 of 1")
    page.goto(f"{service.url}/jobs/new?dataset=digits")
    expect(page.locator("#verdict")).to_have_text("Ready to submit")
    page.get_by_role("button", name="Submit", exact=False).first.click()
    expect(page.locator("main")).to_contain_text("unfinished")
    assert "/jobs/job_" not in page.url
