"""The README's picture is of the present code."""

from __future__ import annotations

from PIL import Image

from benchmarks import showcase
from tests.contract.conftest import ROOT


def test_the_picture_is_not_out_of_date() -> None:
    with Image.open(showcase.PICTURE) as picture:
        made_from = picture.info[showcase.INPUTS]
    assert made_from == showcase.inputs(), "run `python -m benchmarks.showcase` and commit docs/pictures/digits.png"


def test_it_is_small_and_stands_in_the_readme() -> None:
    assert showcase.PICTURE.stat().st_size < 512 * 1024
    assert str(showcase.PICTURE.relative_to(ROOT)) in (ROOT / "README.md").read_text("utf-8")
