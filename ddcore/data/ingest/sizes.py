"""Sizes of the images as they are stored, and the question which one all of them should have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ddcore.data.image_files import Fit
from ddcore.data.ingest.piece import Size
from ddcore.data.source import Part
from ddcore.spec.cost import Cost
from ddcore.spec.ingest import LARGE, IngestOptions, SizeCount
from ddcore.spec.job import parse
from ddcore.spec.work import DataSizes

_SHOWN = 6
_REPORTED = 50
_USUAL_SIDES = (8, 16, 28, 32, 48, 64)


class Sizes:
    """How many images have which size.

    Args:
        options: where the user may have named the size that all should have.
    """

    def __init__(self, options: IngestOptions) -> None:
        self._wanted, self._how = options.size, options.fit
        self._counts: Counter[Size] = Counter()
        self._first: dict[Size, str] = {}

    def __len__(self) -> int:
        return len(self._counts)

    @cached_property
    def fit(self) -> Fit | None:
        """How images are brought to the size that the user named; nothing where none was."""
        if self._wanted is None or self._wanted == "keep":
            return None
        height, width = self._wanted if isinstance(self._wanted, tuple) else (self._wanted, self._wanted)
        return Fit(height, width, self._how)

    def note(self, part: Part, sizes: Mapping[int, Size]) -> None:
        """Count images of a part, given by their places in it."""
        self._counts.update(sizes.values())
        for row, size in sizes.items():
            if size not in self._first:
                self._first[size] = part.place(row)

    @property
    def open(self) -> bool:
        """Whether the user has to name a size: the images differ, or are large and nobody said to keep them."""
        if self.fit is not None:
            return False
        large = self._wanted is None and any(max(size) > LARGE for size in self._counts)
        return large or len(self._counts) > 1

    def most_frequent(self) -> list[SizeCount]:
        """Sizes for the report."""
        common = self._counts.most_common(_REPORTED)
        return [SizeCount(width=width, height=height, images=count) for (width, height), count in common]

    def question(self, labels: NDArray[np.int64]) -> str:
        """What is wrong with the sizes, and the options that would do.

        Args:
            labels: of all images, for what a job on them would cost.
        """
        least = min(min(size) for size in self._counts)
        side = max((usual for usual in _USUAL_SIDES if usual <= least), default=least)
        ways = (
            f"`size` {side} cuts out their middle, with `fit` 'pad' it adds bars, with `fit` 'stretch' it stretches "
            f"them (--size {side}, --size {side} --fit pad, --size {side} --fit stretch)"
        )
        if len(self._counts) > 1:
            return f"images must agree in size, but theirs are {self._listed()}; {ways}"
        ((width, height),) = self._counts
        cost = _cost(labels, height, width)
        return (
            f"the images have {width} x {height} pixels; distilling 1 image per class of them by `dm` would take about "
            f"{cost.peak_bytes / 1e9:.2g} GB of memory and {cost.flop:.1e} operations, against "
            f"{_cost(labels, side, side).flop:.1e} at {side} x {side}; {ways}; `size` 'keep' takes them as they are "
            "(--size keep)"
        )

    def _listed(self) -> str:
        """Few sizes with the place of each, many by their range."""
        if len(self._counts) <= _SHOWN:
            return ", ".join(
                f"{width} x {height} ({count}, the first {self._first[width, height]})"
                for (width, height), count in self._counts.most_common()
            )
        common = ", ".join(f"{width} x {height} ({count})" for (width, height), count in self._counts.most_common(3))
        small, large = (choose(self._counts, key=lambda size: size[0] * size[1]) for choose in (min, max))
        return (
            f"{len(self._counts)} different ones from {small[0]} x {small[1]} to {large[0]} x {large[1]}, most often "
            f"{common}"
        )


def _cost(labels: NDArray[np.int64], height: int, width: int) -> Cost:
    """What a small job on images of that size would take."""
    counts = tuple(np.bincount(labels[labels >= 0]).tolist())
    return Cost(parse({"dataset": "images", "ipc": 1, "method": "dm"}), DataSizes((3, height, width), counts, 0))
