"""The worth of a set in random real images: the curve that it is read off, and what is said of it."""

from __future__ import annotations

from pydantic import Field

from ddcore.spec.catalog import SpecModel
from ddcore.spec.results import WorthReport


class WorthConfig(SpecModel):
    """How many random real images of each class a set is worth, under the recipe of the evaluation."""

    sizes: int = Field(
        5,
        ge=2,
        le=16,
        description="Sizes of random subsets: half of `ipc` (at least 1) images of each class, and each twice the one "
        "before, up to the smallest class.",
    )
    networks: int = Field(2, ge=2, le=20, description="Networks of each size, each on a subset of its own.")

    def images_per_class(self, ipc: int, smallest: int) -> tuple[int, ...]:
        """The sizes, rising and distinct.

        >>> WorthConfig().images_per_class(10, 141), WorthConfig().images_per_class(1, 6)
        ((5, 10, 20, 40, 80), (1, 2, 4, 6))
        """
        start = max(1, ipc // 2)
        return tuple(dict.fromkeys(min(start * 2**number, smallest) for number in range(self.sizes)))


def in_words(found: WorthReport) -> str:
    """A worth, as the rest of a sentence about the set; empty where there is no curve.

    >>> from ddcore.spec.results import Score, SubsetScore
    >>> curve = [SubsetScore(images=n, accuracy=Score(mean=50, std=1, networks=2)) for n in (1, 16)]
    >>> in_words(WorthReport(images=3.21, low=None, high=12.4, curve=curve))
    'is worth 3.2 random real images per class (95 %: less than 1 to 12)'
    >>> in_words(WorthReport(images=None, bound="more than", low=14.2, high=None, curve=curve))
    'is worth more than 16 random real images per class (95 %: 14 to more than 16)'
    """
    if not found.curve:
        return ""
    least, most = f"less than {found.curve[0].images}", f"more than {found.curve[-1].images}"
    images = _number(found.images, most if found.bound == "more than" else least)
    interval = f"{_number(found.low, least)} to {_number(found.high, most)}"
    return f"is worth {images} random real images per class (95 %: {interval})"


def _number(images: float | None, beyond: str) -> str:
    return beyond if images is None else f"{images:.1f}" if images < 10 else f"{images:.0f}"
