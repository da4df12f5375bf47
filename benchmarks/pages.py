"""Until when the dashboard's pages are of use, in Chromium: ``python -m benchmarks.pages``, a few minutes.

A service with 10,000 jobs, two of which have taken readings at each of 1,000,000 steps. A page is interactive when what
it is for is there (rows, charts) and its scripts have let go of the browser. The first look at a page is at one that
the service has not made before. The others, whose median counts, are by new browsers too, which have nothing cached.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from playwright.sync_api import Browser, Page

from app import migrate
from app.core.database import Database, now
from app.core.settings import Settings
from app.keys import repository as keys
from app.metrics.repository import Point, ingest
from benchmarks import job_list
from benchmarks.chromium import launched
from benchmarks.harness import RESULTS, machine

STEPS, AT_ONCE = 1_000_000, 50_000
CURVES = ("loss", "mi_lower_bound", "cmi")
TARGET_S = 1.0
START_S = 60.0
PATIENCE_S = 120.0
READY: Mapping[str, str] = {
    "list": "document.querySelectorAll('tbody tr').length >= 20",
    "job": "document.querySelectorAll('.chart canvas').length >= 6",
    "compare": "document.querySelectorAll('.chart[data-drawn] canvas').length >= 2",
}
"""What says that a page has what it is for."""
WATCH = """
const look = () => {
  if (document.body && (%s)) requestIdleCallback(() => { window.interactive = performance.now() / 1000; });
  else requestAnimationFrame(look);
};
look();
"""


def fill(settings: Settings, steps: int) -> list[str]:
    """Make the jobs; the identifiers of the two with long series."""
    database = Database(settings)
    migrate.upgrade(database)
    with database.write() as session:
        keys.ensure_tenant(session, "default", "Default")
        rows = list(job_list.rows(now(session)))
        session.add_all(rows)
        chosen = [row.id for row in rows if row.status == "succeeded"][-2:]
    for job in chosen:
        for first in range(0, steps, AT_ONCE):
            with database.write() as session:
                ingest(session, job, "default", list(_readings(range(first, min(first + AT_ONCE, steps)), steps)))
    database.dispose()
    return chosen


def _readings(some: range, steps: int) -> Iterator[Point]:
    """Curves that fall, with some noise on them."""
    for number, name in enumerate(CURVES, start=1):
        for step in some:
            yield step, 1_700_000_000_000 + step, name, number * math.exp(-step / steps) + step * 7919 % 1000 / 1e4


@contextmanager
def serving(home: Path) -> Iterator[tuple[str, str]]:
    """The API in a process of its own; its address and a key."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {**os.environ, "DD_HOME": str(home), "DD_PORT": str(port), "DD_LOG_LEVEL": "error"}
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen([sys.executable, "-m", "app"], env=environment)
    try:
        _await(url, process)
        yield url, (home / "api-key").read_text().strip()
    finally:
        process.terminate()
        process.wait(30)


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit("the API ended before it answered")
        try:
            httpx.get(f"{url}/readyz").raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit(f"the API did not answer within {START_S:g} s")


def seconds(browser: Browser, url: str, key: str, path: str, ready: str) -> float:
    """From the address to the interactive page, in a browser that has seen nothing of the service."""
    headers = {"Authorization": f"Bearer {key}"}
    link = str(httpx.post(f"{url}/v1/login-links", headers=headers).raise_for_status().json()["url"])
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    try:
        # The link only sets the cookie: the page that it leads to is not loaded.
        context.request.get(link, max_redirects=0)
        page = context.new_page()
        page.add_init_script(WATCH % ready)
        page.goto(f"{url}{path}")
        return _interactive(page)
    finally:
        context.close()


def _interactive(page: Page) -> float:
    """Seconds after which the page was; asked again and again, as its policy forbids what playwright waits with."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = page.evaluate("window.interactive")
        if found is not None:
            return float(found)
        page.wait_for_timeout(100)
    raise SystemExit(f"{page.url} was not interactive within {PATIENCE_S:g} s")


def measured(home: Path, steps: int, rounds: int) -> dict[str, Any]:
    """All pages, each ``rounds`` times after the first."""
    jobs = fill(Settings(home=home), steps)
    paths = {"list": "/", "job": f"/jobs/{jobs[0]}", "compare": f"/compare?ids={','.join(jobs)}"}
    pages: dict[str, Any] = {}
    with launched() as browser, serving(home) as (url, key):
        for name, path in paths.items():
            first, *others = (seconds(browser, url, key, path, READY[name]) for _ in range(rounds + 1))
            pages[name] = {"first": first, "seconds": others, "median": median(others)}
    return pages


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    parser.add_argument("--steps", type=int, default=STEPS, help="of the long series")
    parser.add_argument("--rounds", type=int, default=5, help="looks at each page after the first")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/pages.json")
    given = parser.parse_args()
    with TemporaryDirectory(prefix="pages-") as home:
        pages = measured(Path(home), given.steps, given.rounds)
    for name, found in pages.items():
        verdict = "" if found["median"] <= TARGET_S else f"  above {TARGET_S:g} s"
        print(f"{name:8} median {found['median']:.2f} s, first {found['first']:.2f} s{verdict}")
    if given.keep:
        report = {
            "benchmark": "pages", "title": f"Pages with {job_list.JOBS:,} jobs and series of {given.steps:,} steps",
            "date": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine(), "target": TARGET_S,
            "pages": pages,
        }  # fmt: skip
        (RESULTS / "pages.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
