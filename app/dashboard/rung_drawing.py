"""Geometry of the picture of a study: which trial went how far, with what score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from app.dashboard.line_drawing import Drawing, Line, Mark, Stroke, draw

Fate = Literal["winner", "going", "left", "failed"]
FATES: dict[Fate, str] = {
    "winner": "the winner",
    "going": "still in the running",
    "left": "left behind",
    "failed": "failed",
}
"""What became of a trial, in words, in the order of the legend."""
SPREAD, COLUMNS = 0.035, 7
"""Trials on one rung stand this far apart, in so many columns at most, so that equal scores are seen as several."""


@dataclass(frozen=True)
class Course:
    """The way of one trial.

    Attributes:
        index: of the trial.
        title: what it is.
        fate: what became of it.
        points: rung, mean validation accuracy in percent, and its deviation in points, by rung.
    """

    index: int
    title: str
    fate: Fate
    points: Sequence[tuple[int, float, float | None]]


@dataclass(frozen=True)
class Level:
    """A rung: the share of the steps (0 to 1) that its trials have taken, and how many trials stand on it."""

    share: float
    trials: int


@dataclass(frozen=True)
class Way:
    """A course as drawn."""

    stroke: Stroke
    fate: Fate
    title: str
    words: str


@dataclass(frozen=True)
class RungDrawing:
    """The picture; the winner is drawn last, over all others."""

    drawing: Drawing
    ways: Sequence[Way]
    levels: Sequence[tuple[Mark, str]]

    @property
    def fates(self) -> Sequence[tuple[Fate, str]]:
        """What the colours mean that are there."""
        found = {way.fate for way in self.ways}
        return [(fate, words) for fate, words in FATES.items() if fate in found]


def draw_rungs(courses: Sequence[Course], levels: Sequence[Level]) -> RungDrawing | None:
    """Draw the scores over the rungs; nothing where no trial is scored yet.

    Args:
        courses: of the trials; those without a score are left out.
        levels: the rungs, the lowest first.
    """
    order: Sequence[Fate] = ("failed", "left", "going", "winner")
    scored = sorted((course for course in courses if course.points), key=lambda course: order.index(course.fate))
    if not scored:
        return None
    columns = min(COLUMNS, len(courses))
    lines = [_line(course, columns) for course in scored]
    # Ends that no line is drawn to keep every rung in the picture, with room beside the outer ones.
    middle = lines[0].y[0]
    room = SPREAD * (columns + 1) / 2
    frame = Line("", [-room, len(levels) - 1 + room], [middle, middle], [None, None], [None, None], 0)
    drawing = draw([*lines, frame])
    strokes, (left, right) = drawing.strokes[:-1], [x for x, _ in drawing.strokes[-1].dots]
    pairs = zip(strokes, scored, strict=True)
    places = [_at(rung, len(levels), left, right, room) for rung in range(len(levels))]
    return RungDrawing(
        replace(drawing, strokes=strokes),
        [Way(stroke, course.fate, course.title, _words(course)) for stroke, course in pairs],
        [(Mark(at, f"{100 * one.share:.0f} %"), _trials(one)) for at, one in zip(places, levels, strict=True)],
    )


def _line(course: Course, columns: int) -> Line:
    beside = (course.index % columns - (columns - 1) / 2) * SPREAD
    means = [mean for _, mean, _ in course.points]
    spreads = [deviation or 0.0 for _, _, deviation in course.points]
    low = [mean - spread for mean, spread in zip(means, spreads, strict=True)]
    high = [mean + spread for mean, spread in zip(means, spreads, strict=True)]
    return Line(course.title, [rung + beside for rung, _, _ in course.points], means, low, high, 0)


def _at(rung: int, count: int, left: float, right: float, room: float) -> float:
    return round(left + (rung + room) / (count - 1 + 2 * room) * (right - left), 1)


def _trials(level: Level) -> str:
    return f"{level.trials} {'trial' if level.trials == 1 else 'trials'}"


def _words(course: Course) -> str:
    scores = ", ".join(f"{mean:.1f} %" for _, mean, _ in course.points)
    return f"{course.title}: {scores}; {FATES[course.fate]}"
