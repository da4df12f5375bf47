"""A real server and a real browser, and a record of everything that should not happen."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect

from app.core.database import Database
from app.core.settings import Settings
from benchmarks.chromium import launched
from tests.browser.worker import Worker

START_S = 40
PATIENCE_MS = 20_000
"""For what has to happen at all: machines that share the suite are slow."""


@dataclass(frozen=True)
class Service:
    """A running API and the state that it serves."""

    url: str
    key: str
    settings: Settings
    database: Database

    def login_link(self) -> str:
        answer = httpx.post(f"{self.url}/v1/login-links", headers={"Authorization": f"Bearer {self.key}"})
        return str(answer.raise_for_status().json()["url"])


@dataclass
class Watch:
    """What a browser complains about, and where it goes."""

    complaints: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def attach(self, page: Page) -> None:
        page.on("console", lambda m: self.complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._note)

    def _note(self, request: Request) -> None:
        self.hosts.add(httpx.URL(request.url).netloc.decode())


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("home")) as service:
        yield service


@contextmanager
def serving(home: Path, **environment: str) -> Iterator[Service]:
    """A service of its own, with settings beside the usual ones, for as long as the block."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    own = {"DD_HOME": str(home), "DD_PORT": str(port), "DD_LOG_LEVEL": "error", **environment}
    process = subprocess.Popen([sys.executable, "-m", "app"], env={**os.environ, **own})
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(url, process)
        settings = Settings(home=home)
        database = Database(settings)
        yield Service(url, settings.api_key_file.read_text().strip(), settings, database)
        database.dispose()
    finally:
        process.terminate()
        process.wait(60)


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    with httpx.Client(base_url=url) as client:
        while time.monotonic() < deadline:
            assert process.poll() is None, "the API ended before it answered"
            try:
                client.get("/healthz").raise_for_status()
            except httpx.TransportError:
                time.sleep(0.1)
            else:
                return
    pytest.fail(f"the API did not answer within {START_S} s")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    yield context
    context.close()


@pytest.fixture
def watch(service: Service) -> Iterator[Watch]:
    """Fails the test that made the browser complain, or reach for anything but the service."""
    watch = Watch()
    yield watch
    assert watch.complaints == []
    assert watch.hosts <= {httpx.URL(service.url).netloc.decode()}


@pytest.fixture
def page(service: Service, context: BrowserContext, watch: Watch) -> Page:
    """A page that is logged in through a login link."""
    page = context.new_page()
    watch.attach(page)
    page.goto(service.login_link())
    return page


@pytest.fixture
def worker(service: Service, tmp_path: Path) -> Worker:
    return Worker(service, tmp_path)


@pytest.fixture
def open_job(service: Service, page: Page, worker: Worker) -> Callable[[], Page]:
    def go() -> Page:
        page.goto(f"{service.url}/jobs/{worker.job}")
        return page

    return go
