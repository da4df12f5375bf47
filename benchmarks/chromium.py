"""The browser that tests and benchmarks look at pages with."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def executable() -> str | None:
    """Chromium without a window and all that belongs to one, else Chromium; ``None`` where neither is installed.

    The same engine draws the pages. The tests take three fifths of the processor's time with the first.
    """
    return shutil.which("chromium-headless-shell") or shutil.which("chromium")


@contextmanager
def launched() -> Iterator[Browser]:
    """A browser for as long as the block."""
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=executable(), args=list(ARGUMENTS)) as browser,
    ):
        yield browser
