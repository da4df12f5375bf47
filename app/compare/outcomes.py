"""What came of jobs: their scores and costs, one by one and over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from app.compare.bands import spread
from app.compare.differences import made_by
from app.compare.schemas import ComparedJob, KindOfJob, NamedScore, Spread
from app.jobs.documents import ran_s
from app.models.jobs import Job
from app.models.states import State
from ddcore.spec.differences import scored_controls
from ddcore.spec.evaluation import BEST_CORESET
from ddcore.spec.results import ArchitectureScores, Results, Score

WHOLE_SET = "full"
"""The control that is no subset."""


def compared(job: Job, kind: int, size: int | None, last: Mapping[str, float | None]) -> ComparedJob:
    """One job of a comparison.

    Args:
        job: the job.
        kind: the kind that it is of.
        size: bytes of its images.
        last: last readings by metric.
    """
    scores, seconds = _first(job), ran_s(job)
    return ComparedJob(
        id=job.id,
        name=job.name,
        status=State(job.status),
        dataset=job.dataset,
        method=job.method,
        ipc=job.spec["ipc"],
        seed=job.spec["seed"],
        kind=kind,
        step=job.step,
        total_steps=job.total_steps,
        accuracy=scores.accuracy,
        random=scores.controls.get("random"),
        best_coreset=_best_coreset(scores),
        minutes=None if seconds is None else seconds / 60,
        bytes=size,
        teacher_bytes=_teacher_bytes(job),
        label_bytes=_label_bytes(job),
        loss=last.get("loss"),
        mi_lower_bound=last.get("mi_lower_bound"),
        cmi=last.get("cmi"),
    )


def together(jobs: Sequence[ComparedJob], label: str, spec: Mapping[str, object]) -> KindOfJob:
    """Jobs that differ in the seed only.

    Args:
        jobs: at least one.
        label: what they are called.
        spec: specification of one of them.
    """
    coresets = [job.best_coreset.score if job.best_coreset else None for job in jobs]
    return KindOfJob(
        label=label,
        made_by=made_by(spec),
        dataset=jobs[0].dataset,
        ipc=jobs[0].ipc,
        job_ids=[job.id for job in jobs],
        seeds=[job.seed for job in jobs],
        accuracy=over([job.accuracy for job in jobs]),
        random=over([job.random for job in jobs]),
        best_coreset=over(coresets),
        minutes=_mean(job.minutes for job in jobs),
        bytes=_mean(job.bytes for job in jobs),
    )


def over(scores: Sequence[Score | None]) -> Spread | None:
    """The spread over the jobs that have a score; that of its networks where it is one job.

    >>> over([Score(mean=60, std=1, networks=3), None, Score(mean=64, std=1, networks=3)])
    Spread(mean=62.0, std=2.0, n=2, over='seeds')
    """
    found = [score for score in scores if score is not None]
    if len(found) == 1:
        return Spread(mean=found[0].mean, std=found[0].std, n=found[0].networks, over="networks")
    mean, std = spread([score.mean for score in found])
    return None if mean is None or std is None else Spread(mean=mean, std=std, n=len(found), over="seeds")


def _first(job: Job) -> ArchitectureScores:
    return ArchitectureScores() if job.results is None else Results.model_validate(job.results).by_architecture[0]


def _teacher_bytes(job: Job) -> int | None:
    teacher = None if job.results is None else Results.model_validate(job.results).teacher
    return None if teacher is None else teacher.bytes


def _label_bytes(job: Job) -> int | None:
    labels = None if job.results is None else Results.model_validate(job.results).labels
    return None if labels is None else labels.bytes


def _best_coreset(scores: ArchitectureScores) -> NamedScore | None:
    """The control that was chosen without the test images; where a job has none, the best of the subsets it scored."""
    chosen = scores.controls.get(BEST_CORESET)
    if chosen is not None:
        return NamedScore(name=chosen.rule or BEST_CORESET, score=chosen)
    subsets = [
        NamedScore(name=name, score=score) for name, score in scored_controls(scores).items() if name != WHOLE_SET
    ]
    return max(subsets, key=lambda found: found.score.mean, default=None)


def _mean(values: Iterable[float | None]) -> float | None:
    return spread([value for value in values if value is not None])[0]
