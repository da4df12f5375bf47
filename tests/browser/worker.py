"""A worker that tests tell what to do."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from sqlalchemy import update

from app.artifacts.service import Output, publish
from app.core.ids import new_id
from app.core.storage import open_store
from app.core.tables import clock
from app.events import repository as events
from app.logs import repository as logs
from app.metrics.repository import ingest
from app.models.jobs import Job
from ddcore.bundle import preview_png
from ddcore.spec import parse
from ddcore.spec.audit import AuditDocument, AuditedImage, ClassSimilarity, NearestReal

if TYPE_CHECKING:
    from tests.browser.conftest import Service

SPEC = {"dataset": "digits", "ipc": 2, "method": {"name": "dm", "iterations": 1000}, "regularizers": {"cmi": 2000}}


class Worker:
    """Does to the database what a worker does.

    Args:
        service: whose database that is.
        folder: for files that it makes.
        job: a queued job to take; without one, it makes itself a job.
    """

    def __init__(self, service: Service, folder: Path, job: str | None = None) -> None:
        self._database = service.database
        self._store = open_store(service.settings)
        self._folder = folder
        self.job = job or self._made()
        if job is not None:
            with self._database.write() as session:
                self._change(
                    session, status="running", phase="distilling", owner="wrk_1", attempt=1, started_at=clock()
                )

    def _made(self) -> str:
        job = new_id("job")
        spec = parse(SPEC)
        with self._database.write() as session:
            session.add(
                Job(
                    id=job, tenant_id="default", name=job[-6:], labels={}, priority=5,
                    spec=spec.model_dump(mode="json"), dataset="digits", method="dm", device_class="any",
                    max_runtime_s=3600, max_queue_s=3600, status="running", phase="distilling", owner="wrk_1",
                    max_attempts=3, attempt=1, total_steps=1000, phase_total=1000,
                )
            )  # fmt: skip
        return job

    def report(self, steps: range) -> None:
        points = []
        for step in steps:
            values = {"loss": 100 * math.exp(-step / 300), "mi_lower_bound": 2 * step / 1000, "cmi": 1 / (step + 1)}
            points += [(step, 1_700_000_000_000 + step, name, value) for name, value in values.items()]
        with self._database.write() as session:
            ingest(session, self.job, "default", points)
            self._change(session, step=steps[-1], phase_done=steps[-1])

    def say(self, lines: range) -> None:
        with self._database.write() as session:
            logs.append(session, self.job, b"".join(b"line %d\n" % line for line in lines))
            self._change(session)

    def snapshot(self, step: int) -> None:
        buffer = io.BytesIO()
        Image.new("L", (16, 80), step % 256).save(buffer, "PNG")
        path = self._folder / f"{step}.png"
        path.write_bytes(buffer.getvalue())
        with self._database.write() as session:
            publish(session, self._store, self.job, 0, Output("snapshot", path, "image/png", step=step))
            self._change(session)

    def sheet(self, step: int) -> None:
        path = self._folder / f"sheet-{step}.png"
        images = torch.full((4, 1, 8, 8), step / 255)
        path.write_bytes(preview_png(images, torch.tensor([0, 0, 1, 1]), ["zero", "<b>eins</b>"]))
        with self._database.write() as session:
            publish(session, self._store, self.job, 0, Output("snapshot", path, "image/png", step=step))
            self._change(session)

    def audit(self) -> None:
        """Ends the job with its last sheet and what the audit has found of it."""
        names = ("zero", "<b>eins</b>")

        def near(row: int) -> NearestReal:
            return NearestReal(row=row, label=row // 30, distance=row % 30 / 50 + 0.1, rank=0.5)

        labels, rows = torch.tensor([0, 0, 1, 1]), (10, 20, 30, 40)
        document = AuditDocument(
            classes=names, real_images=60, compared_with=60, near_copy_below=0.05, nearest_of_real=0.1,
            images=tuple(
                AuditedImage(label=label, pixels=near(row), features=near(row), near_copy=row == 40)
                for label, row in zip(labels.tolist(), rows, strict=True)
            ),
            similarity=ClassSimilarity(cka=None, cka_random=None, random_per_class=2, by_class=(0.9, 0.8)), map=(),
        )  # fmt: skip
        files = {
            "preview": preview_png(torch.zeros(4, 1, 8, 8), labels, names),
            "nearest": preview_png(torch.ones(4, 1, 8, 8), labels, names),
            "audit": document.model_dump_json().encode(),
        }
        summary = {"real_pixels": False, "images": 4, "near_copies": 1, "near_copy_below": 0.05, "nearest": 0.2,
                   "nearest_of_real": 0.1, "own_class": 1.0, "cka": None, "cka_random": None}  # fmt: skip
        results = {"accuracy": None, "controls": {}, "checkpoint": "last", "audit": summary}
        with self._database.write() as session:
            for kind, content in files.items():
                path = self._folder / kind
                path.write_bytes(content)
                publish(session, self._store, self.job, 0, Output(kind, path, "image/png"))  # type: ignore[arg-type]  # one of them
            self._change(session, status="succeeded", results=results)
            events.append(session, self.job, "job.state_changed", "info", "running → succeeded")

    def finish(self) -> None:
        def score(mean: float) -> dict[str, Any]:
            return {"mean": mean, "std": 0.5, "networks": 2, "values": [mean - 0.5, mean + 0.5]}

        results = {"accuracy": score(90), "controls": {"random": score(80)}, "epochs": 3, "checkpoint": "last"}
        with self._database.write() as session:
            self._change(session, status="succeeded", results=results, step=1000, phase_done=1000)
            events.append(session, self.job, "job.state_changed", "info", "running → succeeded")

    def _change(self, session: Any, **values: Any) -> None:
        session.execute(update(Job).where(Job.id == self.job).values(version=Job.version + 1, **values))
