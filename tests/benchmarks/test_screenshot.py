"""The README's screenshot shows the page as it is."""

from __future__ import annotations

from PIL import Image

from benchmarks import screenshot
from tests.contract.conftest import ROOT


def test_the_screenshot_is_not_out_of_date() -> None:
    with Image.open(screenshot.PICTURE) as picture:
        made_from, size = picture.info[screenshot.INPUTS], picture.size
    assert made_from == screenshot.inputs(), "run `python -m benchmarks.screenshot` and commit docs/pictures/job.png"
    assert size == (screenshot.WIDTH, screenshot.HEIGHT)


def test_it_goes_by_every_part_of_the_page() -> None:
    parts = screenshot.templates_of("job.html")
    assert {"job.html", "base.html", "macros.html", "job_result.html", "job_audit_facts.html"} <= set(parts)
    assert "compare.html" not in parts


def test_it_is_small_and_stands_in_the_readme() -> None:
    assert screenshot.PICTURE.stat().st_size < 512 * 1024
    assert str(screenshot.PICTURE.relative_to(ROOT)) in (ROOT / "README.md").read_text("utf-8")
