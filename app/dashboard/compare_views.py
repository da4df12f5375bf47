"""What the page that compares jobs shows, worked out from the comparison."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from app.compare.schemas import Bands, ComparedJob, Comparison, Curve, KindOfJob, Spread
from app.dashboard.line_drawing import Drawing, Level, Line, draw, style
from app.dashboard.wording import number

Column = Literal["name", "kind", "seed", "status", "accuracy", "random", "best_coreset", "minutes", "bytes"]
Order = Literal["asc", "desc"]
HEADINGS: dict[Column, str] = {
    "name": "Job",
    "kind": "Kind",
    "seed": "Seed",
    "status": "State",
    "accuracy": "Accuracy",
    "random": "Random",
    "best_coreset": "Best coreset",
    "minutes": "Minutes",
    "bytes": "Bytes",
}
RANDOM, BEST_CORESET = "random real images", "best coreset"
"""What real images are called, which the distilled ones are compared with."""
_PRICES: Sequence[tuple[str, Callable[[KindOfJob], float | None]]] = (
    ("images per class", lambda kind: float(kind.ipc)),
    ("minutes", lambda kind: kind.minutes),
    ("bytes of images", lambda kind: kind.bytes),
)


@dataclass(frozen=True)
class Heading:
    """A heading of the table, which sorts by its column."""

    label: str
    link: str
    sorted: str
    """``ascending``, ``descending`` or ``none``, as assistive technology says it."""


@dataclass(frozen=True)
class CurveView:
    """One metric: its picture, or why there is none."""

    curve: Curve
    drawing: Drawing | None

    @property
    def levels(self) -> list[Level]:
        """Real images under the identical recipe, where they were scored."""
        known = ((self.curve.random, RANDOM), (self.curve.best_coreset, BEST_CORESET))
        return [Level(value, label) for value, label in known if value is not None]


@dataclass(frozen=True)
class PriceView:
    """Accuracy against one price, a line for each method with its regularisers, and dataset."""

    title: str
    drawing: Drawing


@dataclass(frozen=True)
class KindView:
    """Jobs that differ in the seed only, with the colour that they have in every chart."""

    kind: KindOfJob
    style: str


def kinds(comparison: Comparison) -> list[KindView]:
    """The kinds of jobs."""
    return [KindView(kind, style(position)) for position, kind in enumerate(comparison.kinds)]


def curve_view(curve: Curve, bands: Bands | None) -> CurveView:
    """A curve with its picture."""
    lines = [] if bands is None else [_line(band, many=len(band.job_ids) > 1) for band in bands.bands]
    found = CurveView(curve, None)
    return replace(found, drawing=draw(lines, found.levels)) if lines else found


def price_views(comparison: Comparison) -> list[PriceView]:
    """Accuracy at the end against each price in which the kinds differ."""
    scored = [kind for kind in comparison.kinds if kind.accuracy]
    found = []
    for title, price in _PRICES:
        if len({price(kind) for kind in scored} - {None}) > 1:
            found.append(PriceView(title, draw(_against(scored, price))))
    return found


def headings(ids: Sequence[str], sort: Column | None, order: Order) -> list[Heading]:
    """The headings; that of the sorted column turns its order round."""
    found = []
    for column in get_args(Column):
        turned: Order = "desc" if column == sort and order == "asc" else "asc"
        link = f"/compare?ids={','.join(ids)}&sort={column}&order={turned}#jobs"
        state = f"{order}ending" if column == sort else "none"
        found.append(Heading(HEADINGS[column], link, state))
    return found


def ordered(jobs: Sequence[ComparedJob], sort: Column | None, order: Order) -> list[ComparedJob]:
    """The jobs by a column; those without a value come last either way."""
    if sort is None:
        return list(jobs)
    known = [job for job in jobs if _key(job, sort) is not None]
    missing = [job for job in jobs if _key(job, sort) is None]
    return [*sorted(known, key=lambda job: _key(job, sort), reverse=order == "desc"), *missing]


def spread(found: Spread | None) -> str:
    """A score over seeds or networks in words.

    >>> spread(Spread(mean=71.25, std=0.5, n=3, over="seeds"))
    '71.2 ± 0.5 % (3 seeds)'
    """
    if found is None:
        return "–"
    return f"{found.mean:.1f} ± {found.std:.1f} % ({found.n} {found.over if found.n > 1 else found.over[:-1]})"


def written(value: Any) -> str:
    """A value of a specification."""
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case float():
            return number(value)
        case list():
            return ", ".join(written(item) for item in value) or "none"
        case dict():
            return " ".join(f"{name} {written(item)}" for name, item in value.items() if item is not None)
    return str(value)


def _key(job: ComparedJob, column: Column) -> Any:
    value = getattr(job, column)
    if column in ("accuracy", "random"):
        return value and value.mean
    return value and value.score.mean if column == "best_coreset" else value


def _line(band: Any, *, many: bool) -> Line:
    x = [(first + last) / 2 for first, last in zip(band.step_min, band.step_max, strict=True)]
    label = f"{band.label} (n = {len(band.job_ids)})" if many else band.label
    return Line(label, x, band.mean, band.low, band.high, band.kind)


def _against(kinds: Sequence[KindOfJob], price: Callable[[KindOfJob], float | None]) -> list[Line]:
    lines: dict[str, list[tuple[float, KindOfJob]]] = {}
    several = len({kind.dataset for kind in kinds}) > 1
    for kind in kinds:
        paid = price(kind)
        if paid is not None and kind.accuracy is not None:
            name = f"{kind.made_by}, {kind.dataset}" if several else kind.made_by
            lines.setdefault(name, []).append((paid, kind))
    by_price = [(name, sorted(points, key=lambda point: point[0])) for name, points in lines.items()]
    return [_scores(name, points, position) for position, (name, points) in enumerate(by_price)]


def _scores(name: str, points: Sequence[tuple[float, KindOfJob]], position: int) -> Line:
    scores = [kind.accuracy for _, kind in points if kind.accuracy is not None]
    return Line(
        label=name,
        x=[paid for paid, _ in points],
        y=[score.mean for score in scores],
        low=[score.mean - score.std for score in scores],
        high=[score.mean + score.std for score in scores],
        style=position,
        beside=[None if kind.best_coreset is None else kind.best_coreset.mean for _, kind in points],
    )
