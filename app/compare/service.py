"""Jobs side by side, within one transaction; nothing here knows HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from sqlalchemy.orm import Session

from app.compare import differences, outcomes, repository
from app.compare.bands import Point, band, spread
from app.compare.probes import Verdict, probe_of, verdict
from app.compare.schemas import Band, Bands, ComparedJob, Comparison, Curve, DifferingField
from app.core.errors import InvalidParameter, NotFound
from app.jobs.specifications import as_declared
from app.metrics import queries
from app.metrics.service import Window
from app.models.jobs import Job
from app.models.states import Kind
from ddcore.spec.readings import (
    ACCURACY_CORESET,
    ACCURACY_DURING,
    ACCURACY_OF_REAL,
    ACCURACY_RANDOM,
    EVERY_JOB,
    LOSS,
    PROBED,
    known,
)
from ddcore.spec.recipe import recipe_of

CURVES = (*ACCURACY_DURING.values(), *EVERY_JOB)
"""Metrics that a comparison offers as curves, where a job reports them."""


@dataclass(frozen=True)
class Compared:
    """Some jobs of a tenant that are there, in the order in which they were asked for."""

    session: Session
    tenant: str
    jobs: Sequence[Job]

    @cached_property
    def kinds(self) -> list[list[int]]:
        """Positions of the jobs; those together that differ in the seed only."""
        return differences.kinds([job.spec for job in self.jobs])

    @cached_property
    def labels(self) -> list[str]:
        """What each kind is called."""
        return differences.labels([as_declared(self.jobs[first].spec) for first, *_ in self.kinds])

    @cached_property
    def series(self) -> dict[str, list[queries.Series]]:
        """What is known of each curve of each job."""
        return queries.series_of_jobs(
            self.session, self.tenant, [job.id for job in self.jobs], (*CURVES, *ACCURACY_OF_REAL)
        )

    def document(self) -> Comparison:
        """Everything but the curves' points."""
        ids = [job.id for job in self.jobs]
        jobs = self._outcomes()
        found = differences.differences([as_declared(job.spec) for job in self.jobs])
        return Comparison(
            jobs=jobs,
            kinds=[
                outcomes.together([jobs[n] for n in members], label, self.jobs[members[0]].spec)
                for members, label in zip(self.kinds, self.labels, strict=True)
            ],
            differences=[
                DifferingField(path=one.path, values={ids[n]: value for n, value in one.values.items()})
                for one in found
            ],
            curves=[self._curve(key) for key in CURVES if self._reporting(key)],
            recipes=len({recipe_of(job.spec, None).key for job in self.jobs}),
            link=f"/compare?ids={','.join(ids)}",
        )

    def bands(self, key: str, window: Window) -> Bands:
        """One metric of the jobs, those of a kind joined; none where the readings do not compare."""
        found = self.judge(key)
        shown = range(len(self.kinds)) if found.comparable != "different" else ()
        bands = [self._band(kind, key, window) for kind in shown]
        return Bands(
            key=key, comparable=found.comparable, note=found.reason, bands=[one for one in bands if one is not None]
        )

    def judge(self, key: str) -> Verdict:
        """Whether the levels of a metric compare."""
        reporting = self._reporting(key)
        if key in PROBED:
            return verdict([probe_of(job.spec, job.results) for job in reporting])
        if key.partition("/")[0] == LOSS and len({differences.made_by(job.spec) for job in reporting}) > 1:
            reason = "each method and regulariser has a loss of its own: compare how they fall, not their levels"
            return Verdict("unknown", reason)
        if len({job.dataset for job in reporting}) > 1:
            return Verdict("unknown", "the jobs are on different datasets")
        if key in ACCURACY_DURING.values() and len({differences.recipe_on_the_way(job.spec) for job in reporting}) > 1:
            return Verdict("unknown", "the networks are trained or tested in several ways, which move accuracies too")
        return Verdict("same")

    def _outcomes(self) -> list[ComparedJob]:
        sizes = repository.image_bytes(self.session, self.tenant, [job.id for job in self.jobs])
        kind_of = {n: kind for kind, members in enumerate(self.kinds) for n in members}
        return [
            outcomes.compared(job, kind_of[n], sizes.get(job.id), {one.name: one.last for one in self.series[job.id]})
            for n, job in enumerate(self.jobs)
        ]

    def _reporting(self, key: str) -> list[Job]:
        return [job for job in self.jobs if any(one.name == key for one in self.series[job.id])]

    def _curve(self, key: str) -> Curve:
        found, reading = self.judge(key), known(key)
        title, unit = (reading.title, reading.unit) if reading else (key, "")
        of_accuracy = key in ACCURACY_DURING.values()
        return Curve(
            key=key,
            title=title,
            unit=unit,
            comparable=found.comparable,
            note=found.reason,
            random=self._of_real(ACCURACY_RANDOM) if of_accuracy else None,
            best_coreset=self._of_real(ACCURACY_CORESET) if of_accuracy else None,
        )

    def _of_real(self, key: str) -> float | None:
        """Accuracy on the way of real images, where it is the same question for all jobs."""
        jobs = self._reporting(key)
        if len({(job.dataset, job.spec["ipc"], differences.recipe_on_the_way(job.spec)) for job in jobs}) != 1:
            return None
        last = [one.last for job in jobs for one in self.series[job.id] if one.name == key]
        return spread([value for value in last if value is not None])[0]

    def _band(self, kind: int, key: str, window: Window) -> Band | None:
        ids = [self.jobs[n].id for n in self.kinds[kind]]
        series = {one.job_number: (id, one) for id in ids for one in self.series[id] if one.name == key}
        if not series:
            return None
        found = queries.reduced_together(
            self.session, [one for _, one in series.values()], window.low, window.high, window.max_points
        )
        points = band([{row.step_min // part.width: row for row in part.rows} for part in found])
        return _columns(kind, self.labels[kind], [id for id, _ in series.values()], all(p.exact for p in found), points)


def of_jobs(session: Session, tenant: str, ids: Sequence[str]) -> Compared:
    """The jobs to compare.

    Raises:
        NotFound: the tenant has not all of them; those that are missing are named.
        InvalidParameter: one takes images in, which has neither curves nor scores.
    """
    found = repository.jobs(session, tenant, ids)
    missing = [id for id in ids if id not in found]
    if missing:
        raise NotFound(f"you have no job {', '.join(missing)}; leave {'it' if len(missing) == 1 else 'them'} out")
    for job in found.values():
        if job.kind != Kind.DISTILLATION:
            raise InvalidParameter(f"`ids` has {job.id}, which takes images in; only jobs that distil can be compared")
    return Compared(session, tenant, [found[id] for id in ids])


def title(job: Job) -> str:
    """What to call a job among others: its name, else what it is."""
    return (
        job.name or f"{differences.made_by(job.spec)} on {job.dataset}, ipc {job.spec['ipc']}, seed {job.spec['seed']}"
    )


def _columns(kind: int, label: str, ids: list[str], exact: bool, points: Sequence[Point]) -> Band:
    columns = {name: [getattr(point, name) for point in points] for name in Point.__dataclass_fields__}
    return Band(kind=kind, label=label, job_ids=ids, exact=exact, **columns)
