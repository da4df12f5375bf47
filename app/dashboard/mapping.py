"""Geometry of the map of real and synthetic images, as the server draws it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from ddcore.spec.audit import AuditDocument, MapPoint

WIDTH, HEIGHT, MARGIN = 640, 420, 14
NUMBERED = 30
"""Classes whose numbers stand on the map; more would hide it."""


@dataclass(frozen=True)
class Mark:
    """An image on the map; positions in units of the drawing."""

    x: float
    y: float
    hue: int
    real: bool
    name: str


@dataclass(frozen=True)
class Number:
    """Number of a class, in the middle of its real images."""

    x: float
    y: float
    label: int


@dataclass(frozen=True)
class Map:
    """The drawing: synthetic marks last, so that they lie on top."""

    marks: Sequence[Mark]
    numbers: Sequence[Number]
    real: int
    synthetic: int
    width: int = WIDTH
    height: int = HEIGHT


def drawn(document: AuditDocument) -> Map | None:
    """The map of an audit; ``None`` where there are no points."""
    points = sorted(document.map, key=lambda point: not point.real)
    if not points:
        return None
    lows, spans = zip(*(_range([getattr(p, axis) for p in points]) for axis in "xy"), strict=True)
    room = (WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN)

    def place(x: float, y: float) -> tuple[float, float]:
        shares = ((x - lows[0]) / spans[0], 1 - (y - lows[1]) / spans[1])
        return round(MARGIN + shares[0] * room[0], 1), round(MARGIN + shares[1] * room[1], 1)

    classes = len(document.classes)
    marks = [Mark(*place(p.x, p.y), hue(p.label, classes), p.real, document.classes[p.label]) for p in points]
    numbers = [Number(*place(*middle), label) for label, middle in _middles(points)] if classes <= NUMBERED else []
    real = sum(point.real for point in points)
    return Map(marks, numbers, real, len(points) - real)


def hue(label: int, classes: int) -> int:
    """Angle on the colour circle of a class; neighbouring numbers are far apart.

    >>> [hue(label, 4) for label in range(4)]
    [0, 137, 275, 52]
    """
    return int(label * 137.508) % 360 if classes > 1 else 0


def _middles(points: Sequence[MapPoint]) -> Sequence[tuple[int, tuple[float, float]]]:
    """The medians of the real images of each class."""
    by_class: dict[int, list[MapPoint]] = {}
    for point in points:
        if point.real:
            by_class.setdefault(point.label, []).append(point)
    return [(label, (median(p.x for p in of), median(p.y for p in of))) for label, of in sorted(by_class.items())]


def _range(values: Sequence[float]) -> tuple[float, float]:
    low = min(values)
    return low, (max(values) - low) or 1.0
