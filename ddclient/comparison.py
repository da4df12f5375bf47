"""Jobs side by side, as the service compares them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ddclient.errors import BadInputError
from ddclient.models import Document
from ddcore.spec.results import Score

if TYPE_CHECKING:
    from ddclient.transport import Transport

Numbers = tuple[float | None, ...]


class NamedScore(Document):
    """The score of a control."""

    name: str
    score: Score


class ComparedJob(Document):
    """What came of one job; ``minutes`` of running, ``bytes`` of its images and of what labels them."""

    id: str
    name: str | None = None
    status: str
    dataset: str
    method: str
    ipc: int
    seed: int
    kind: int
    accuracy: Score | None = None
    random: Score | None = None
    best_coreset: NamedScore | None = None
    minutes: float | None = None
    bytes: int | None = None
    teacher_bytes: int | None = None
    label_bytes: int | None = None


class Spread(Document):
    """Mean in percent and population standard deviation in points, ``over`` so many ``seeds`` or ``networks``."""

    mean: float
    std: float
    n: int
    over: str

    def __str__(self) -> str:
        return f"{self.mean:.1f} ± {self.std:.1f} % ({self.n} {self.over if self.n > 1 else self.over[:-1]})"


class KindOfJob(Document):
    """Jobs that differ in the seed only; ``made_by`` is the method with its regularisers (``dm + cmi 2000``)."""

    label: str
    made_by: str
    dataset: str
    ipc: int
    job_ids: tuple[str, ...]
    accuracy: Spread | None = None
    random: Spread | None = None
    best_coreset: Spread | None = None
    minutes: float | None = None
    bytes: float | None = None


class DifferingField(Document):
    """A field of the specification that is not the same in all jobs; jobs without it have no value."""

    path: str
    values: dict[str, Any]


class Curve(Document):
    """A metric that some jobs report; ``comparable`` is ``same``, ``unknown`` or ``different``, and ``note`` why."""

    key: str
    title: str
    unit: str = ""
    comparable: str
    note: str | None = None
    random: float | None = None
    best_coreset: float | None = None


class Comparison(Document):
    """Jobs side by side: what differs, what came of them, which curves compare."""

    jobs: tuple[ComparedJob, ...]
    kinds: tuple[KindOfJob, ...]
    differences: tuple[DifferingField, ...]
    curves: tuple[Curve, ...]
    recipes: int = 1
    link: str


class Band(Document):
    """A metric of the jobs of one kind: for each point its steps, jobs, their mean, deviation and extremes."""

    kind: int
    label: str
    job_ids: tuple[str, ...]
    exact: bool
    step_min: tuple[int, ...]
    step_max: tuple[int, ...]
    n: tuple[int, ...]
    mean: Numbers
    std: Numbers
    low: Numbers
    high: Numbers


class Bands(Document):
    """One metric of several jobs, by kind; none where the readings do not compare, as ``note`` says."""

    key: str
    comparable: str
    note: str | None = None
    bands: tuple[Band, ...]


def compare(transport: Transport, job_ids: Sequence[str]) -> Comparison:
    """Put jobs side by side; see :meth:`ddclient.Client.compare`."""
    return Comparison.model_validate(transport.get("/v1/jobs:compare", ids=_joined(job_ids)))


def as_csv(transport: Transport, job_ids: Sequence[str]) -> str:
    """The same as a table, a row for each job."""
    return transport.request("GET", "/v1/jobs:compare.csv", query={"ids": _joined(job_ids)}).text


def bands(transport: Transport, job_ids: Sequence[str], key: str, max_points: int) -> Bands:
    """One metric of the jobs; see :meth:`ddclient.Client.bands`."""
    answer = transport.get("/v1/metrics:bands", ids=_joined(job_ids), key=key, max_points=max_points)
    return Bands.model_validate(answer)


def _joined(job_ids: Sequence[str]) -> str:
    if isinstance(job_ids, str):
        raise BadInputError(f"`job_ids` is the text {job_ids!r}, but must be a list of jobs, such as ['{job_ids}']")
    return ",".join(job_ids)
