"""A job with everything that the pages can show."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from app.artifacts.service import Output, publish
from app.core.database import Database
from app.core.settings import Settings
from app.core.storage import open_store
from app.events import repository as events
from app.logs import repository as logs
from app.metrics.repository import ingest
from ddcore.spec import parse
from ddcore.spec.audit import AuditDocument, AuditedImage, ClassSimilarity, MapPoint, NearestReal
from tests.app.conftest import Api
from tests.app.dashboard.sets import Sets


def score(mean: float, std: float) -> dict[str, Any]:
    return {"mean": mean, "std": std, "networks": 2, "values": [mean - std, mean + std]}


RESULTS = {
    "accuracy": score(88.2, 0.8),
    "controls": {"random": score(79.0, 1.4)},
    "network": {"name": "convnet", "depth": 3, "width": 128, "norm": "instance"},
    "epochs": 300,
    "checkpoint": "last",
    "protocol": {},
    "probe": {"digest": "pr_0123456789ab", "network": "teacher"},
    "audit": {
        "real_pixels": False, "images": 2, "near_copies": 1, "near_copy_below": 0.05, "nearest": 0.07,
        "nearest_of_real": 0.11, "own_class": 0.5, "cka": 0.97, "cka_random": 0.93,
    },
}  # fmt: skip
SPEC = {
    "dataset": "digits",
    "ipc": 2,
    "method": {"name": "dm", "iterations": 100},
    "regularizers": {"mim": {"relative": 1.0}, "cmi": 2000},
    "seed": 3,
}


def near(row: int, label: int, distance: float) -> NearestReal:
    return NearestReal(row=row, label=label, distance=distance, rank=0.25)


AUDIT = AuditDocument(
    classes=("<b>Äpfel</b>", "שלום", "x" * 300),
    real_images=60,
    compared_with=60,
    near_copy_below=0.05,
    nearest_of_real=0.11,
    images=tuple(
        AuditedImage(label=label, pixels=near(17 + label, 1, distance), features=near(2, label, 0.4), near_copy=copy)
        for label, distance, copy in ((0, 0.101, False), (1, 0.042, True))
    ),
    similarity=ClassSimilarity(cka=0.97, cka_random=0.93, random_per_class=2, by_class=(0.987, None, -0.2)),
    map=tuple(MapPoint(x=x, y=2 * x, label=x % 3, real=x < 6) for x in range(8)),
)


def picture(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (16, 80), shade).save(buffer, "PNG")
    return buffer.getvalue()


def report(database: Database, job_id: str, steps: range) -> None:
    """Metrics of some steps."""
    points = []
    for step in steps:
        base = 100 * math.exp(-step / 50)
        values = {"loss": base, "loss/total": base + 5, "mi_lower_bound": 2 - base / 60, "cmi": base / 1000}
        points += [(step, 1_700_000_000_000 + step, name, value) for name, value in values.items()]
    with database.write() as session:
        ingest(session, job_id, "default", points)


@pytest.fixture
def publish_file(settings: Settings, database: Database, tmp_path: Path) -> Callable[..., str]:
    """Publishes bytes as an artifact."""

    def make(job_id: str, kind: Any, name: str, data: bytes, media_type: str, **options: Any) -> str:
        path = tmp_path / "artifact"
        path.write_bytes(data)
        with database.write() as session:
            return publish(
                session, open_store(settings), job_id, 0, Output(kind, path, media_type, name=name, **options)
            )

    return make


@pytest.fixture
def finished(database: Database, add_job: Callable[..., str], publish_file: Callable[..., str]) -> str:
    """A scored job with curves, pictures, files and events."""
    spec = parse(SPEC)
    job_id = add_job(
        status="succeeded", name="A <b>bold</b> name", spec=spec.model_dump(mode="json"), results=RESULTS, step=100,
        phase="finalizing", attempt=1,
    )  # fmt: skip
    report(database, job_id, range(10, 101, 10))
    for step in (0, 50):
        publish_file(job_id, "snapshot", f"{step}.png", picture(step), "image/png", step=step)
    publish_file(job_id, "preview", "preview.png", picture(200), "image/png")
    publish_file(job_id, "audit", "audit.json", AUDIT.model_dump_json().encode(), "application/json")
    publish_file(job_id, "neighbours", "neighbours.png", picture(100), "image/png")
    publish_file(job_id, "bundle", "bundle.zip", b"PK" + bytes(3000), "application/zip")
    manifest = {"seed": 3, "versions": {"torch": "2.15.0"}, "dataset": {"digest": "5f" * 32}, "spec": {}}
    publish_file(job_id, "manifest", "manifest.json", json.dumps(manifest).encode(), "application/json")
    with database.write() as session:
        events.append(session, job_id, "job.warning", "warning", "the teacher is <weak>")
    return job_id


@pytest.fixture
def running(database: Database, add_job: Callable[..., str]) -> str:
    """A job in the middle of its distillation."""
    spec = parse(SPEC)
    job_id = add_job(
        status="running", spec=spec.model_dump(mode="json"), step=40, phase="distilling", phase_done=40,
        phase_total=100, steps_per_s=2.0, owner="wrk_1", attempt=1,
    )  # fmt: skip
    report(database, job_id, range(10, 41, 10))
    with database.write() as session:
        logs.append(session, job_id, b"".join(b"line %d <b>\n" % number for number in range(300)))
    return job_id


@pytest.fixture
def sets(api: Api) -> Sets:
    """Makes own sets of the default tenant in any state."""
    return Sets(api)
