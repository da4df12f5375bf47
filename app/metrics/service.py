"""What a chart asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy.orm import Session

from app.metrics import queries
from app.metrics.repository import INFINITY, MINUS_INFINITY, NAN
from app.metrics.schemas import Aggregate, MetricSummary, Series

LAST_STEP = 2**62
_COLUMNS: dict[Aggregate, tuple[str, ...]] = {
    "minmax": ("min", "max", "mean", "last"),
    "mean": ("mean",),
    "last": ("last",),
}
_NONFINITE = {0: None, NAN: "nan", INFINITY: "inf", MINUS_INFINITY: "-inf"}


@dataclass(frozen=True)
class Window:
    """Which part of a series, and how finely.

    Attributes:
        low: first step.
        high: last step.
        max_points: rows at most, 2 to 5000.
        agg: what a row says.
    """

    low: int
    high: int
    max_points: int
    agg: Aggregate


def summaries(session: Session, tenant: str, job_id: str) -> list[MetricSummary]:
    """The series of a tenant's job."""
    return [
        MetricSummary(
            name=s.name,
            first_step=s.first_step,
            last_step=s.last_step,
            count=s.n,
            nonfinite=s.nf,
            last=s.last,
            min=s.min,
            max=s.max,
        )
        for s in queries.series_of(session, tenant, job_id)
    ]


def series(
    session: Session, tenant: str, job_id: str, names: Sequence[str] | None, window: Window
) -> dict[str, Series]:
    """Part of some series of a tenant's job, by name; of all where ``names`` is ``None``."""
    read = _raw if window.agg == "raw" else _reduced
    found = queries.series_of(session, tenant, job_id, names)
    return {one.name: read(session, job_id, one, window) for one in found}


def _raw(session: Session, job_id: str, one: queries.Series, window: Window) -> Series:
    points = queries.readings(session, one, window.low, window.high, window.max_points + 1)
    shown = points[: window.max_points]
    return Series(
        job_id=job_id,
        key=one.name,
        level=0,
        width=1,
        exact=True,
        step=[p.step for p in shown],
        value=[p.value for p in shown],
        nonfinite=[_NONFINITE[p.nf] for p in shown],
        wall_time=[_time(p.wall_ms) for p in shown],
        next_step=points[-1].step if len(points) > len(shown) else None,
    )


def _reduced(session: Session, job_id: str, one: queries.Series, window: Window) -> Series:
    found = queries.reduced(session, one, window.low, window.high, window.max_points)
    rows = found.rows
    columns = {
        "min": [row.vmin for row in rows],
        "max": [row.vmax for row in rows],
        "mean": [row.vsum / row.n if row.n else None for row in rows],
        "last": [row.vlast for row in rows],
    }
    return Series(
        job_id=job_id,
        key=one.name,
        level=found.level,
        width=found.width,
        exact=found.exact,
        step_min=[row.step_min for row in rows],
        step_max=[row.step_max for row in rows],
        n=[row.n for row in rows],
        nonfinite=[row.nf for row in rows],
        **{name: columns[name] for name in _COLUMNS[window.agg]},
    )


def _time(wall_ms: int) -> str:
    moment = datetime.fromtimestamp(wall_ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
