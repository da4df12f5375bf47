"""Geometry of the line charts that the server draws, for readers without scripts and before these have run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 480, 220
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 12, 34
"""Units of the drawing; margins hold the numbers at the axes."""
COLOURS = 5

Value = float | None


@dataclass(frozen=True)
class Line:
    """What is drawn in one colour.

    Attributes:
        label: its name in the legend.
        x: ascending positions.
        y: values; ``None`` leaves a gap.
        low: lower edge of the band or whisker, likewise.
        high: upper edge.
        style: position of its colour.
        beside: what each value is compared with, drawn as a mark of its own; ``None`` where there is nothing, and empty
            where there is nothing anywhere.
    """

    label: str
    x: Sequence[float]
    y: Sequence[Value]
    low: Sequence[Value]
    high: Sequence[Value]
    style: int
    beside: Sequence[Value] = ()


@dataclass(frozen=True)
class Level:
    """A dashed line across; ``at`` is a value before it is drawn, and a position afterwards."""

    at: float
    label: str


@dataclass(frozen=True)
class Stroke:
    """A line as SVG paths, in the colour of a class of the style sheet."""

    label: str
    style: str
    line: str
    band: str
    whiskers: str
    dots: Sequence[tuple[float, float]]
    beside: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Mark:
    """A number at an axis."""

    at: float
    text: str


@dataclass(frozen=True)
class Drawing:
    """A chart; positions in units of the drawing."""

    strokes: Sequence[Stroke]
    x_marks: Sequence[Mark]
    y_marks: Sequence[Mark]
    levels: Sequence[Level]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def style(position: int) -> str:
    """Classes of the colour at a position; colours come again with other dashes.

    >>> style(0), style(6)
    ('s1', 's2 dash1')
    """
    turn = position // COLOURS
    return f"s{position % COLOURS + 1}" + (f" dash{min(turn, 2)}" if turn else "")


def draw(lines: Sequence[Line], levels: Sequence[Level] = ()) -> Drawing:
    """Draw lines over a common range.

    Args:
        lines: at least one.
        levels: where dashed lines go across.
    """
    xs = [x for line in lines for x in line.x]
    values = [
        v for line in lines for column in (line.y, line.low, line.high, line.beside) for v in column if v is not None
    ]
    values += [level.at for level in levels]
    x_axis = _Axis.over(xs, LEFT, WIDTH - RIGHT, 0.0 if len(set(xs)) > 1 else 0.5)
    y_axis = _Axis.over(values, HEIGHT - BOTTOM, TOP, 0.05)
    return Drawing(
        strokes=[_stroke(line, x_axis, y_axis) for line in lines],
        x_marks=[Mark(x_axis(mark), _written(mark)) for mark in ticks(x_axis.low, x_axis.high, 5)],
        y_marks=[Mark(y_axis(mark), _written(mark)) for mark in ticks(y_axis.low, y_axis.high, 5)],
        levels=[Level(y_axis(level.at), level.label) for level in levels],
    )


def ticks(low: float, high: float, count: int) -> list[float]:
    """Round numbers between two others, about so many: steps of 1, 2 or 5 times a power of ten.

    >>> ticks(0, 100, 4), ticks(2.285, 2.302, 4)
    ([0.0, 50.0, 100.0], [2.285, 2.29, 2.295, 2.3])
    """
    rough = (high - low or 1) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    digits = max(0, 1 - math.floor(math.log10(step)))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, digits) for number in range(first, last + 1)]


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    start: float
    end: float

    @classmethod
    def over(cls, values: Sequence[float], start: float, end: float, pad: float) -> _Axis:
        low, high = min(values, default=0.0), max(values, default=1.0)
        room = (high - low or abs(high) or 1.0) * pad
        return cls(low - room, high + room, start, end)

    def __call__(self, value: float) -> float:
        return round(self.start + (value - self.low) / (self.high - self.low or 1.0) * (self.end - self.start), 1)


def _stroke(line: Line, x_axis: _Axis, y_axis: _Axis) -> Stroke:
    runs = list(_runs(line))
    whole = [[(x_axis(line.x[n]), n) for n in run] for run in runs]
    points = [[(x, y_axis(line.y[n] or 0.0)) for x, n in run] for run in whole]
    edges = [[(x, y_axis(line.low[n] or 0.0), y_axis(line.high[n] or 0.0)) for x, n in run] for run in whole]
    return Stroke(
        label=line.label,
        style=style(line.style),
        line="".join(_path(run) for run in points),
        band="".join(_path([(x, b) for x, b, _ in run] + [(x, t) for x, _, t in run[::-1]]) + "Z" for run in edges),
        whiskers="".join(f"M{x:g} {low:g}V{high:g}" for run in edges for x, low, high in run if low != high),
        dots=[point for run in points for point in run],
        beside=[(x_axis(x), y_axis(value)) for x, value in zip(line.x, line.beside, strict=False) if value is not None],
    )


def _runs(line: Line) -> Iterator[list[int]]:
    """Neighbouring positions with values."""
    run: list[int] = []
    for n, value in enumerate(line.y):
        if value is not None:
            run.append(n)
        elif run:
            yield run
            run = []
    if run:
        yield run


def _path(points: Sequence[tuple[float, float]]) -> str:
    written = [f"{x:g} {y:g}" for x, y in points]
    return f"M{'L'.join(written)}" if len(written) > 1 else f"M{written[0]}h.01"


def _written(mark: float) -> str:
    return f"{mark:,.12g}" if 1e-4 <= abs(mark) < 1e7 or mark == 0 else f"{mark:.3g}"
