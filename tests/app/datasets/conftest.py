"""Sets in every situation, without a worker: what one would do is done here with the same functions."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import select

from app.datasets import ingests
from app.models.jobs import Job
from ddcore.data.ingest.intake import take_in
from ddcore.spec.ingest import DatasetReport, IngestOptions

if TYPE_CHECKING:
    from tests.app.conftest import Api


def images_zip(per_class: int = 10, side: int = 8) -> bytes:
    """A zip of class folders with random pictures."""
    rng = np.random.default_rng(per_class)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in ("cat", "dog"):
            for number in range(per_class):
                picture = io.BytesIO()
                Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(picture, "PNG")
                archive.writestr(f"{name}/{number}.png", picture.getvalue())
    return packed.getvalue()


@dataclass(frozen=True)
class Sets:
    """The datasets of one principal, asked over the API."""

    api: Api
    folder: Path

    def announce(self, name: str = "photos", **fields: Any) -> str:
        """Announce an upload; the identifier of the set."""
        answer = self.api.post("/v1/datasets", json={"name": name, "file": "photos.zip", **fields})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def put(self, set_id: str, data: bytes, **headers: str) -> Any:
        """Send bytes; the answer."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.api.request("PUT", f"/v1/datasets/{set_id}/content", content=data, headers=named)

    def get(self, set_id: str) -> dict[str, Any]:
        """The document."""
        document: dict[str, Any] = self.api.get(f"/v1/datasets/{set_id}").json()
        return document

    def uploaded(self, name: str = "photos", **fields: Any) -> str:
        """A set that waits to be taken in."""
        set_id = self.announce(name, **fields)
        assert self.put(set_id, images_zip()).status_code == 202
        return set_id

    def ready(self, name: str = "photos", per_class: int = 10) -> str:
        """A set that jobs can name."""
        set_id = self.announce(name)
        assert self.put(set_id, images_zip(per_class)).status_code == 202
        self.complete(set_id, per_class)
        return set_id

    def complete(self, set_id: str, per_class: int = 10) -> DatasetReport:
        """Do what a worker does with a set that was uploaded."""
        upload = self.folder / f"{set_id}.zip"
        upload.write_bytes(images_zip(per_class))
        document = self.get(set_id)
        found = take_in(upload, self.folder / set_id, name=document["name"], options=IngestOptions())
        store = self.api.state.store
        files = {path.name: store.put_file(path) for path in (self.folder / set_id / found.report.id).iterdir()}
        job_id = document["job"]["id"]
        with self.api.database.write() as session:
            assert ingests.complete(session, set_id, job_id, found.report, files) is not None
        self.api.force(job_id, status="succeeded")
        return found.report

    def fail(self, set_id: str, message: str = "no images") -> None:
        """Let its ingest fail."""
        error = {"code": "data_error", "message": message, "param": None, "retryable": False, "attempt": 1}
        self.api.force(self.get(set_id)["job"]["id"], status="failed", error=error)

    def job(self, set_id: str) -> Job:
        """The row of its ingest."""
        with self.api.database.read() as session:
            return session.scalars(select(Job).where(Job.id == self.get(set_id)["job"]["id"])).one()


@pytest.fixture
def sets(api: Api, tmp_path: Path) -> Sets:
    return Sets(api, tmp_path)


@pytest.fixture
def sets_of(tmp_path: Path) -> Callable[[Api], Sets]:
    return lambda api: Sets(api, tmp_path)
