"""What the job page shows beside the job itself: curves, pictures, files, events, origin."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy.orm import Session

from app.artifacts import repository as artifacts
from app.artifacts.service import content_of
from app.core.storage import ArtifactStore, StorageError, read_verified
from app.dashboard.drawing import sparkline
from app.dashboard.views import JobView
from app.events import queries as events
from app.events.repository import PROGRESS
from app.logs.service import LogGoneError, LogReader
from app.metrics import queries as metrics
from app.models.artifacts import Artifact
from app.models.events import Event
from ddcore.spec.evaluation import BEST_CORESET
from ddcore.spec.readings import ACCURACY_DURING, ACCURACY_OF_REAL, ACCURACY_RANDOM, LOSS, PROBED, Reading, catalogue

SHOWN_EVENTS = 60
SHOWN_LINES = 200
SPARK_POINTS = 60
MANIFEST_LIMIT = 1 << 20
ORIGIN = ("seed", "schema_version", "dataset", "images", "normalization", "compute", "versions")
DOWNLOADS = (
    "bundle", "synthetic_images", "npz", "image_folder", "manifest", "preview", "neighbours", "nearest", "audit", "log",
)  # fmt: skip

logger = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Chart:
    """One chart of the page, drawn by its script."""

    title: str
    unit: str
    keys: Sequence[str]
    limit: float | None = None
    limit_label: str = ""
    limit_key: str = ""
    """Metrics whose last readings are limits, where these are not known beforehand; bars divide them and labels."""


@dataclass(frozen=True)
class Row:
    """One metric in the table of readings."""

    series: metrics.Series
    spark: str


@dataclass(frozen=True)
class Content:
    """Everything on the job page beside the job."""

    charts: Sequence[Chart]
    readings: Sequence[Row]
    pictures: Sequence[Artifact]
    downloads: Sequence[Artifact]
    events: Sequence[Event]
    last_seq: int
    manifest: Artifact | None


def of_job(session: Session, tenant: str, view: JobView) -> Content:
    """Read what the page shows."""
    job_id = view.job.id
    series = metrics.series_of(session, tenant, job_id)
    found = artifacts.of_job(session, tenant, job_id)
    return Content(
        charts=charts(view, [one.name for one in series]),
        readings=[Row(one, _spark(session, one)) for one in series],
        pictures=_pictures(found),
        downloads=sorted((a for a in found if a.kind in DOWNLOADS), key=lambda a: DOWNLOADS.index(a.kind)),
        # Events about progress say what the page shows anyway.
        events=events.newest(session, tenant, job_id, SHOWN_EVENTS, without=(PROGRESS,)),
        last_seq=next((event.seq for event in events.newest(session, tenant, job_id, 1)), 0),
        manifest=next((a for a in reversed(found) if a.kind == "manifest"), None),
    )


def charts(view: JobView, names: Sequence[str]) -> list[Chart]:
    """The charts of a job: the losses together, the accuracy on the way where it is read, and the probe's readings."""
    losses = [name for name in names if name == LOSS or name.startswith(f"{LOSS}/")]
    return [
        Chart("Loss and its parts", "", losses or [LOSS]),
        *_on_the_way(view),
        *(_chart(catalogue()[name], view.classes) for name in PROBED),
    ]


def _on_the_way(view: JobView) -> Iterator[Chart]:
    """Accuracy while the images are learned, above or below that of real images."""
    during = view.job.spec["evaluation"].get("during")
    if during is not None:
        reading = catalogue()[ACCURACY_DURING[during["on"]]]
        compared = BEST_CORESET in view.job.spec["evaluation"]["controls"]
        lines = ACCURACY_OF_REAL if compared else (ACCURACY_RANDOM,)
        labels = "|".join(catalogue()[name].label for name in lines)
        yield Chart(reading.title, reading.unit, [reading.name], limit_label=labels, limit_key="|".join(lines))


def _chart(reading: Reading, classes: int | None) -> Chart:
    ceiling = reading.ceiling_with(classes)
    label = "" if ceiling is None else f"{reading.ceiling_text(classes)} = {ceiling:.3f}"
    return Chart(reading.title, reading.unit, [reading.name], ceiling, label)


def origin(store: ArtifactStore, manifest: Artifact | None) -> dict[str, Any]:
    """Where the result comes from, as the bundle's manifest says; empty where there is none to be read."""
    if manifest is None or (manifest.size or 0) > MANIFEST_LIMIT:
        return {}
    try:
        document = json.loads(read_verified(store, content_of(manifest)))
    except (StorageError, ValueError) as error:
        logger.warning("manifest cannot be shown", artifact=manifest.id, reason=str(error))
        return {}
    if not isinstance(document, dict):
        return {}
    shown = {name: document[name] for name in ORIGIN if name in document}
    if isinstance(shown.get("dataset"), dict):
        # One for each class, which nobody reads.
        shown["dataset"] = {name: value for name, value in shown["dataset"].items() if name != "class_digests"}
    return shown


def last_lines(log: LogReader) -> str | None:
    """The end of a job's log; ``None`` where it cannot be read now."""
    try:
        end = log.length()
        return b"".join(log.read(log.last_lines(SHOWN_LINES, end), end)).decode()
    except (StorageError, LogGoneError) as error:
        logger.warning("log cannot be shown", reason=str(error))
        return None


def _spark(session: Session, series: metrics.Series) -> str:
    rows = metrics.reduced(session, series, series.first_step, series.last_step, SPARK_POINTS).rows
    return sparkline([row.vlast for row in rows])


def _pictures(found: Sequence[Artifact]) -> list[Artifact]:
    """Pictures in the order of the run; the final preview last."""
    snapshots = sorted((a for a in found if a.kind == "snapshot"), key=lambda a: a.step or 0)
    return [*snapshots, *(a for a in found if a.kind == "preview")]
