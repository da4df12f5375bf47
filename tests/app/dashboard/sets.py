"""Users' own sets in any state, made by what clients and workers do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, update

from app.core.storage import open_store
from app.datasets import ingests
from app.models.datasets import Dataset
from app.models.jobs import Job
from ddcore.spec.ingest import DatasetReport, Duplicates, IngestOptions, LargestIpc, SizeCount, SplitReport, Unreadable

if TYPE_CHECKING:
    from tests.app.conftest import Api

SIZE = 2048
ERROR = {"code": "data_error", "message": "images must agree in size; `size` 8 cuts out their middle"}
NO_REPETITIONS = dict.fromkeys(
    ("within_classes", "contradictory", "leaked", "near_within_classes", "near_contradictory", "near_leaked"), 0
)


def report(**fields: Any) -> DatasetReport:
    """What was found in 30 images of two classes."""
    values: dict[str, Any] = {
        "id": "ds_" + "0" * 20,
        "digest": "0" * 64,
        "name": "photos",
        "layout": "class folders",
        "why": "images lie in folders ('cat', 'dog')",
        "options": IngestOptions(),
        "shape": (3, 8, 8),
        "classes": ["cat", "dog"],
        "splits": {
            "train": SplitReport(images=24, per_class={"cat": 17, "dog": 7}),
            "test": SplitReport(images=6, per_class={"cat": 4, "dog": 2}),
        },
        "sizes": [SizeCount(width=8, height=8, images=30)],
        "distinct_sizes": 1,
        "modes": {"RGB": 30},
        "levels": None,
        "mean": [0.5, 0.25, 0.125],
        "std": [0.2, 0.3, 0.0],
        "constant_channels": [],
        "unreadable": [],
        "unlabelled": 0,
        "ignored": {},
        "duplicates": Duplicates(**NO_REPETITIONS),
        "largest_ipc": [LargestIpc(kind="starting from real images", most=7)],
        "remarks": [],
    }
    return DatasetReport(**{**values, **fields})


HOSTILE = report(
    classes=["<i>cat</i>", "dog"],
    why="images lie in folders ('<i>cat</i>', 'dog')",
    splits={
        "train": SplitReport(images=24, per_class={"<i>cat</i>": 17, "dog": 7}),
        "test": SplitReport(images=6, per_class={"<i>cat</i>": 4, "dog": 2}),
    },
    unreadable=[Unreadable(place="<script>alert(1)</script>.png", reason="<b>cut</b> after `12` bytes")],
    ignored={"<b>notes</b>": 3},
    duplicates=Duplicates(**{**NO_REPETITIONS, "leaked": 1, "examples": [("<b>a</b>.png", "b.png")]}),
    remarks=["labels are <b>bold</b>"],
)


@dataclass
class Sets:
    """Own sets of whoever ``api`` asks as."""

    api: Api

    def announce(self, name: str = "photos", **fields: Any) -> str:
        """A set of which nothing has come."""
        body = {"name": name, "file": f"{name}.zip", "size": SIZE, **fields}
        answer = self.api.post("/v1/datasets", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def receiving(self, name: str = "photos") -> str:
        """A set of which half has come."""
        made = self.announce(name)
        headers = {"Content-Range": f"bytes 0-{SIZE // 2 - 1}/{SIZE}"}
        answer = self.api.request("PUT", f"/v1/datasets/{made}/content", content=bytes(SIZE // 2), headers=headers)
        assert answer.status_code == 200, answer.text
        return made

    def queued(self, name: str = "photos", **fields: Any) -> str:
        """A set that waits for a worker."""
        made = self.announce(name, **fields)
        assert self.api.request("PUT", f"/v1/datasets/{made}/content", content=bytes(SIZE)).status_code == 202
        return made

    def failed(self, name: str = "mixed", error: Mapping[str, Any] = ERROR) -> str:
        """A set that a worker could not take in."""
        made = self.queued(name)
        self.force(made, status="failed", error=dict(error))
        return made

    def ready(self, name: str = "photos", found: DatasetReport | None = None) -> str:
        """A set that was taken in."""
        made, found = self.queued(name), found or report()
        store = open_store(self.api.settings)
        files = {one: store.put_stream([one.encode()]) for one in ("dataset.json", "samples.png")}
        with self.api.database.write() as session:
            assert ingests.complete(session, made, self.job(made), found, files) is not None
        self.force(made, status="succeeded")
        return made

    def job(self, made: str) -> str:
        """The job that takes a set in."""
        with self.api.database.read() as session:
            return str(session.execute(select(Dataset.job_id).where(Dataset.id == made)).scalar_one())

    def force(self, made: str, **values: Any) -> None:
        """Put its job into a situation that only a worker could bring about."""
        with self.api.database.write() as session:
            session.execute(update(Job).where(Job.id == self.job_in(session, made)).values(**values))

    @staticmethod
    def job_in(session: Any, made: str) -> Any:
        return session.execute(select(Dataset.job_id).where(Dataset.id == made)).scalar_one()
