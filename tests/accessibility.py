"""What axe-core finds on a page, in light and dark, on a desk and on a phone."""

from __future__ import annotations

from importlib.resources import files
from typing import Any, Literal

from playwright.sync_api import Page

AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")
RUN = "(rules) => axe.run(document, {resultTypes: ['violations'], ...rules}).then(found => found.violations)"
EVERY: dict[str, Any] = {}
COLOURS = {"runOnly": ["color-contrast"]}
"""What alone depends on the scheme."""
WAYS: tuple[tuple[int, Literal["light", "dark"], dict[str, Any]], ...] = (
    (1280, "light", EVERY), (390, "light", EVERY), (390, "dark", COLOURS), (1280, "dark", COLOURS),
)  # fmt: skip


def overhang(page: Page) -> int:
    """By how many pixels the page is wider than the screen: none or fewer where nothing sticks out."""
    page.wait_for_load_state()  # a link that was followed shows words before its style sheet has come
    pixels: int = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    return pixels


def violations(page: Page, name: str) -> list[Any]:
    """What is wrong with the page that is shown: where, which rule, and by what; empty for nothing."""
    found: list[Any] = []
    page.wait_for_load_state()
    # By the protocol, since the policy of the page allows no script but its own.
    page.evaluate(AXE)
    for width, scheme, rules in WAYS:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        where = (name, width, scheme)
        found += [(*where, one["id"], [node["target"] for node in one["nodes"]]) for one in page.evaluate(RUN, rules)]
        found += [(*where, "wider than the screen")] if overhang(page) > 0 else []
    return found
