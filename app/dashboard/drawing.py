"""Geometry of the pictures that the server draws: score bars and small lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.dashboard.views import ArchitectureView, SetScore

LABEL, WIDTH, ROW, BAR = 74, 200, 34, 16
"""Columns of the label and of the bar, height of a row and of its bar, in units of the drawing."""
VALUE = 112


@dataclass(frozen=True)
class Bar:
    """One row of a bar chart; positions in units of the drawing."""

    score: SetScore
    style: str
    y: float
    width: float
    low: float
    high: float
    dots: Sequence[float]


@dataclass(frozen=True)
class Bars:
    """A bar chart of accuracies from 0 to 100 %."""

    rows: Sequence[Bar]
    label: int = LABEL
    track: int = WIDTH
    bar: int = BAR

    @property
    def width(self) -> int:
        """Width of the drawing."""
        return LABEL + WIDTH + VALUE

    @property
    def height(self) -> int:
        """Height of the drawing."""
        return ROW * len(self.rows)


def bars(scored: ArchitectureView) -> Bars:
    """The distilled set's accuracy above those of its controls."""
    scores = [scored.distilled, *scored.controls]
    return Bars([_bar(score, row, "control" if row else "distilled") for row, score in enumerate(scores)])


def _bar(score: SetScore, row: int, style: str) -> Bar:
    return Bar(
        score=score,
        style=style,
        y=row * ROW + (ROW - BAR) / 2,
        width=_x(score.mean) - LABEL,
        low=_x(score.mean - score.std),
        high=_x(score.mean + score.std),
        dots=[_x(value) for value in score.values],
    )


def _x(percent: float) -> float:
    return round(LABEL + WIDTH * min(max(percent, 0.0), 100.0) / 100.0, 2)


def sparkline(values: Sequence[float | None], width: int = 110, height: int = 26) -> str:
    """Points of a polyline through some readings; those that are not finite are passed over.

    >>> sparkline([0.0, None, 1.0], 100, 20)
    '0,18 100,2'
    """
    finite = [(index, value) for index, value in enumerate(values) if value is not None]
    if len(finite) < 2:
        return ""
    low, high = min(value for _, value in finite), max(value for _, value in finite)
    last = len(values) - 1
    shares = [(value - low) / (high - low) if high > low else 0.5 for _, value in finite]
    points = [
        (index / last * width, height - 2 - share * (height - 4))
        for (index, _), share in zip(finite, shares, strict=True)
    ]
    return " ".join(f"{x:g},{round(y, 2):g}" for x, y in points)
