from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import pytest
from sqlalchemy import select

from app.core.database import Database
from app.metrics import queries
from app.metrics.repository import LARGEST, Point, ingest, truncate_after
from app.metrics.summaries import LEVELS
from app.models.metrics import MetricLast, MetricPoint, MetricRollup

BACKENDS = ("sqlite", "postgres")
AddJob = Callable[..., str]


def write(database: Database, job_id: str, points: Sequence[Point], tenant: str = "default") -> None:
    with database.write() as session:
        ingest(session, job_id, tenant, points)


def points(steps: Sequence[int], name: str = "loss", of: Callable[[int], float] = float) -> list[Point]:
    return [(step, 1000 + step, name, of(step)) for step in steps]


def assert_consistent(database: Database) -> None:
    """Every summary says what a naive pass over the points in the table says."""
    with database.read() as session:
        found = session.execute(select(MetricPoint)).scalars().all()
        rollups = session.execute(select(MetricRollup)).scalars().all()
        lasts = session.execute(select(MetricLast)).scalars().all()
    expected: dict[tuple[int, ...], list[MetricPoint]] = {}
    whole: dict[tuple[int, int], list[MetricPoint]] = {}
    for p in sorted(found, key=lambda p: p.step):
        whole.setdefault((p.job_number, p.key_id), []).append(p)
        for level in LEVELS:
            expected.setdefault((p.job_number, p.key_id, level, p.step >> level), []).append(p)
    assert {(r.job_number, r.key_id, r.level, r.bucket) for r in rollups} == expected.keys()
    for r in rollups:
        _assert_summary(r, expected[r.job_number, r.key_id, r.level, r.bucket])
    assert {(s.job_number, s.key_id) for s in lasts} == whole.keys()
    for s in lasts:
        group = whole[s.job_number, s.key_id]
        finite = [p.value for p in group if p.value is not None]
        assert (s.first_step, s.step, s.value) == (group[0].step, group[-1].step, group[-1].value)
        assert (s.n, s.nf, s.vmin, s.vmax) == (
            len(finite),
            len(group) - len(finite),
            min(finite, default=None),
            max(finite, default=None),
        )


def _assert_summary(r: MetricRollup, group: list[MetricPoint]) -> None:
    finite = [p.value for p in group if p.value is not None]
    assert (r.n, r.nf) == (len(finite), len(group) - len(finite))
    assert (r.step_min, r.step_max, r.vlast) == (group[0].step, group[-1].step, group[-1].value)
    assert (r.vmin, r.vmax) == (min(finite, default=None), max(finite, default=None))
    assert r.vsum == pytest.approx(math.fsum(finite), rel=1e-12, abs=1e-12)


class TestIngest:
    def test_summaries_follow_the_points(self, database: Database, add_job: AddJob) -> None:
        job, rng = add_job(), random.Random(0)
        steps = sorted(rng.sample(range(20_000), 3000))
        for start in range(0, len(steps), 700):
            part = steps[start : start + 700]
            write(database, job, [*points(part, "loss", lambda _: rng.gauss(0, 1)), *points(part[::3], "cmi")])
        assert_consistent(database)

    def test_order_does_not_matter(self, database: Database, add_job: AddJob) -> None:
        job, steps = add_job(), list(range(0, 9000, 7))
        random.Random(1).shuffle(steps)
        write(database, job, points(steps))
        assert_consistent(database)

    def test_a_second_reading_replaces_the_first(self, database: Database, add_job: AddJob) -> None:
        job = add_job()
        write(database, job, points(range(100)))
        write(database, job, [(99, 5, "loss", -7.0), (99, 6, "loss", -8.0)])
        assert_consistent(database)
        with database.read() as session:
            (series,) = queries.series_of(session, "default", job)
        assert (series.last, series.min, series.n) == (-8.0, -8.0, 100)

    @pytest.mark.parametrize(
        ("value", "kind"),
        [(math.nan, 1), (math.inf, 2), (-math.inf, 3), (LARGEST * 10, 2), (-LARGEST * 10, 3), (LARGEST, 0)],
    )
    def test_what_is_not_finite_has_a_kind(self, database: Database, add_job: AddJob, value: float, kind: int) -> None:
        job = add_job()
        write(database, job, [(1, 0, "loss", 2.0), (2, 0, "loss", value)])
        assert_consistent(database)
        with database.read() as session:
            found = session.execute(select(MetricPoint).where(MetricPoint.step == 2)).scalar_one()
        assert (found.nf, found.value) == (kind, value if kind == 0 else None)

    def test_largest_values_can_be_summed(self, database: Database, add_job: AddJob) -> None:
        job = add_job()
        write(database, job, points(range(5000), of=lambda _: LARGEST))
        assert_consistent(database)

    def test_jobs_and_tenants_are_kept_apart(self, database: Database, add_job: AddJob) -> None:
        first, second = add_job(), add_job()
        write(database, first, points(range(10)))
        write(database, second, points(range(20)))
        with database.read() as session:
            assert queries.series_of(session, "default", first)[0].n == 10
            assert queries.series_of(session, "somebody", first) == []
            assert queries.series_of(session, "default", second, ["cmi"]) == []

    def test_nothing_is_nothing(self, database: Database, add_job: AddJob) -> None:
        write(database, add_job(), [])
        assert_consistent(database)

    def test_unknown_job(self, database: Database) -> None:
        with pytest.raises(LookupError, match="job_nothing"):
            write(database, "job_nothing", points([1]))


class TestTruncate:
    @pytest.mark.parametrize("step", [-1, 0, 63, 64, 4095, 4096, 5000, 99_999])
    def test_only_what_is_beyond_goes(self, database: Database, add_job: AddJob, step: int) -> None:
        job, other = add_job(), add_job()
        write(database, job, [*points(range(0, 6000, 5)), *points(range(0, 100, 5), "cmi")])
        write(database, other, points(range(6000)))
        with database.write() as session:
            truncate_after(session, job, step)
        assert_consistent(database)
        with database.read() as session:
            left = {one.name: one.last_step for one in queries.series_of(session, "default", job)}
            (kept,) = queries.series_of(session, "default", other)
        expected = {"loss": min(5995, step // 5 * 5), "cmi": min(95, step // 5 * 5)}
        assert left == ({} if step < 0 else expected)
        assert kept.n == 6000

    def test_a_resumed_run_ends_with_the_rows_of_an_undisturbed_one(self, database: Database, add_job: AddJob) -> None:
        calm, disturbed = add_job(), add_job()
        write(database, calm, points(range(0, 300, 10)))
        write(database, disturbed, points(range(0, 250, 10), of=lambda step: step + 0.5))
        with database.write() as session:
            truncate_after(session, disturbed, 120)
        write(database, disturbed, points(range(0, 300, 10)))
        with database.read() as session:
            p = MetricPoint
            rows = session.execute(select(p.job_number, p.step, p.value).order_by(p.job_number, p.step)).all()
        half = len(rows) // 2
        assert [row[1:] for row in rows[:half]] == [row[1:] for row in rows[half:]]
        assert_consistent(database)


class TestReduced:
    @pytest.fixture
    def job(self, database: Database, add_job: AddJob) -> str:
        job, rng = add_job(), random.Random(2)
        values = [rng.gauss(0, 1) for _ in range(12_000)]
        values[9345], values[8000], values[777] = 99.0, math.nan, -99.0
        write(database, job, points(range(12_000), of=values.__getitem__))
        return job

    def test_rows_are_bounded_and_right(self, database: Database, job: str) -> None:
        rng = random.Random(3)
        for rows in (2, 3, 5, 7, 100, 500, 5000) * 2:
            low = rng.choice([0, rng.randrange(13_000)])
            self.check(database, job, low, low + rng.randrange(13_000), rows)

    def check(self, database: Database, job: str, low: int, high: int, rows: int) -> None:
        with database.read() as session:
            (series,) = queries.series_of(session, "default", job)
            found = queries.reduced(session, series, low, high, rows)
            stored = queries.readings(session, series, low, high, 40_000)
        assert len(found.rows) <= rows
        assert sum(row.n + row.nf for row in found.rows) == len(stored)
        by_step = {p.step: p for p in stored}
        for row in found.rows:
            group = [by_step[step] for step in range(row.step_min, row.step_max + 1) if step in by_step]
            finite = [p.value for p in group if p.value is not None]
            assert (row.vmin, row.vmax) == (min(finite, default=None), max(finite, default=None))
            assert row.vsum == pytest.approx(math.fsum(finite), rel=1e-9, abs=1e-9)
            assert row.vlast == group[-1].value
            assert (row.n, row.nf) == (len(finite), len(group) - len(finite))
        assert found.exact == (len(stored) <= rows)

    @pytest.mark.parametrize(("rows", "level"), [(5000, 0), (100, 6), (2, 12)])
    def test_long_ranges_come_from_summaries(self, database: Database, job: str, rows: int, level: int) -> None:
        with database.read() as session:
            (series,) = queries.series_of(session, "default", job)
            found = queries.reduced(session, series, 0, 10**9, rows)
        assert found.level == level
        assert found.width % 2**level == 0
        assert max(row.vmax for row in found.rows if row.vmax is not None) == 99.0
        assert min(row.vmin for row in found.rows if row.vmin is not None) == -99.0

    def test_sparse_series_stay_exact(self, database: Database, add_job: AddJob) -> None:
        job = add_job()
        write(database, job, points(range(0, 1_000_000, 10_000)))
        with database.read() as session:
            (series,) = queries.series_of(session, "default", job)
            found = queries.reduced(session, series, 0, 10**7, 100)
        assert found.exact
        assert [row.vlast for row in found.rows] == [float(step) for step in range(0, 1_000_000, 10_000)]
