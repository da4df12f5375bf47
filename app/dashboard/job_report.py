"""A job's result as one page that needs no network: what ``GET /v1/jobs/{id}/report`` answers."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import structlog
from sqlalchemy.orm import Session

from app.artifacts.service import content_of
from app.core.errors import NotFound
from app.core.storage import ArtifactStore, StorageError, read_verified
from app.dashboard import audit_views, content
from app.dashboard.drawing import bars, sparkline
from app.dashboard.rendering import templates
from app.dashboard.views import JobView
from app.jobs.specifications import as_declared
from app.metrics import queries as metrics
from app.models.artifacts import Artifact
from app.models.states import Kind

CURVE_POINTS = 400
CURVE_WIDTH, CURVE_HEIGHT = 480, 120
LARGEST_PICTURE = 16 << 20
"""Bytes of a picture that a report carries."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Curve:
    """Course of one metric over the steps."""

    series: metrics.Series
    points: str
    width: int = CURVE_WIDTH
    height: int = CURVE_HEIGHT


def check(view: JobView) -> None:
    """Refuse a job that has nothing to report.

    Raises:
        NotFound: it has no result, or it takes a dataset in.
    """
    job = view.job
    if job.kind is Kind.INGEST:
        raise NotFound(f"job {job.id} takes a dataset in, which is no result to report; `ddctl datasets` shows the set")
    if job.results is None:
        raise NotFound(
            f"job {job.id} is {job.status.value} and has no result to report; a job has one when it has succeeded, "
            "or was cancelled with `--keep-result`"
        )


def curves(session: Session, tenant: str, job_id: str) -> Sequence[Curve]:
    """Every metric of a job, in at most so many points each."""
    return [_curve(session, series) for series in metrics.series_of(session, tenant, job_id)]


def html(store: ArtifactStore, view: JobView, found: content.Content, drawn: Sequence[Curve]) -> str:
    """The whole report, with its pictures inside.

    Args:
        store: where pictures and the manifest are.
        view: of a job that :func:`check` has let through.
        found: what the job has made.
        drawn: its curves.
    """
    audit = audit_views.of_job(store, view.job, found.downloads)
    preview = next((file for file in found.downloads if file.kind == "preview"), None)
    return templates().get_template("report.html").render(
        view=view,
        job=view.job,
        style=_style(),
        charts_of=[(one, bars(one)) for one in view.architectures],
        curves=drawn,
        preview=_inline(store, preview),
        audit=audit,
        neighbours=_inline(store, audit.picture if audit else None),
        specification=json.dumps(as_declared(view.job.spec), indent=2, ensure_ascii=False),
        origin=content.origin(store, found.manifest),
    )  # fmt: skip


def _curve(session: Session, series: metrics.Series) -> Curve:
    rows = metrics.reduced(session, series, series.first_step, series.last_step, CURVE_POINTS).rows
    return Curve(series, sparkline([row.vlast for row in rows], CURVE_WIDTH, CURVE_HEIGHT))


def _inline(store: ArtifactStore, picture: Artifact | None) -> str | None:
    """A picture as an address that holds all of it; nothing where it is too large or damaged."""
    if picture is None or (picture.size or 0) > LARGEST_PICTURE:
        return None
    try:
        data = read_verified(store, content_of(picture))
    except StorageError as error:
        log.warning("picture left out of a report", artifact=picture.id, reason=str(error))
        return None
    return f"data:{picture.media_type};base64,{base64.b64encode(data).decode()}"


@cache
def _style() -> str:
    return (files("app.dashboard") / "static" / "style.css").read_text("utf-8")
