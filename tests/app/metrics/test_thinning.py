"""What stays of long series, against a slow selection written out."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import select, update

from app.core.database import Database
from app.core.tables import clock
from app.metrics import queries, repository, thinning
from app.models.jobs import Job
from app.models.metrics import MetricPoint

BACKENDS = ("sqlite", "postgres")
STEPS = 20_000


def kept_of(points: dict[int, float]) -> set[int]:
    """Of every 64 steps: the first, last, lowest and highest reading, and the first of each kind that is not finite."""
    kept: set[int] = set()
    for bucket in {step // 64 for step in points}:
        inside = {step: points[step] for step in sorted(points) if step // 64 == bucket}
        finite = {step: value for step, value in inside.items() if math.isfinite(value)}
        kept |= {min(inside), max(inside)}
        if finite:
            kept.add(min(finite, key=lambda step: (finite[step], step)))
            kept.add(min(finite, key=lambda step: (-finite[step], step)))
        for odd in (math.isnan, lambda value: value == math.inf, lambda value: value == -math.inf):
            kept |= {next(iter([step for step, value in inside.items() if odd(value)]), min(inside))}
    return kept


@pytest.fixture
def points() -> dict[int, float]:
    random.seed(1)
    made = {step: round(random.gauss(0, 1), 1) for step in range(1, STEPS) if random.random() < 0.4}
    for step in list(made)[100:400]:
        made[step] = random.choice([math.nan, math.inf, -math.inf, 1.0])
    return made


def left(database: Database) -> dict[int, float | None]:
    with database.read() as session:
        found = session.execute(select(MetricPoint.step, MetricPoint.value).where(MetricPoint.key_id > 0))
        return {row.step: row.value for row in found}


def test_what_stays_is_real_and_charts_are_right_about_all_that_was(
    database: Database, add_job: Callable[..., str], points: dict[int, float]
) -> None:
    job_id = add_job()
    with database.write() as session:
        repository.ingest(session, job_id, "default", [(step, 1, "loss", value) for step, value in points.items()])
        number = session.execute(select(Job.number).where(Job.id == job_id)).scalar_one()
    with database.read() as session:
        (series,) = queries.series_of(session, "default", job_id)
        (long,) = thinning.long_series(session, number)
    assert list(long.windows()) == [0, thinning.WINDOW]
    removed = 0
    for low in long.windows():
        with database.write() as session:
            removed += thinning.thin(session, long, low)
            assert thinning.thin(session, long, low) == 0
    found = left(database)
    assert set(found) == kept_of(points)
    assert removed == len(points) - len(found) > len(points) / 2
    assert all(value == (points[step] if math.isfinite(points[step]) else None) for step, value in found.items())
    with database.write() as session:
        ended = update(Job).where(Job.id == job_id)
        session.execute(ended.values(finished_at=clock(-1), thinned_at=clock()))
    with database.read() as session:
        (after,) = queries.series_of(session, "default", job_id)
        assert after == replace(series, thinned=True)
        drawn = queries.reduced(session, after, 0, STEPS, 200)
        close = queries.reduced(session, after, 5000, 5100, 200)
    check(drawn, points, 0, STEPS)
    check(close, points, 4992, 5119)
    assert len(drawn.rows) <= 200


def check(drawn: queries.Reduced, points: dict[int, float], low: int, high: int) -> None:
    """Each row is right about all readings that there were, and together they are about all of them."""
    assert (drawn.exact, drawn.width % 64) == (False, 0)
    covered = 0
    for row in drawn.rows:
        first = row.step_min // drawn.width * drawn.width
        inside = [value for step, value in points.items() if first <= step < first + drawn.width]
        finite = [value for value in inside if math.isfinite(value)]
        assert (row.n, row.nf, row.vmin, row.vmax) == (len(finite), len(inside) - len(finite), min(finite), max(finite))
        assert row.vsum == pytest.approx(sum(finite), abs=1e-9)
        covered += len(inside)
    assert covered == sum(low <= step <= high for step in points)


def test_short_series_stay_whole(database: Database, add_job: Callable[..., str]) -> None:
    job_id = add_job()
    with database.write() as session:
        many = [(step, 1, "loss", 0.5) for step in range(1, thinning.KEPT_WHOLE + 1)]
        repository.ingest(session, job_id, "default", many)
        number = session.execute(select(Job.number).where(Job.id == job_id)).scalar_one()
        assert thinning.long_series(session, number) == []
        repository.ingest(session, job_id, "default", [(thinning.KEPT_WHOLE + 1, 1, "loss", 0.5)])
        assert len(thinning.long_series(session, number)) == 1
