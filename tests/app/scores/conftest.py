"""Scores in every situation, without a worker: what one would do is done here with the same functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from app.core.tables import clock
from app.scores import scoring
from ddcore.spec.scoring import job_of
from tests.app.compare.jobs import score

if TYPE_CHECKING:
    from tests.app.conftest import Api

FILE = b"a set of others"


@dataclass(frozen=True)
class Scores:
    """The scores of one principal, asked over the API."""

    api: Api

    def announce(self, **fields: Any) -> str:
        """Announce a set; the identifier of the score."""
        body = {"file": "set.npz", "dataset": "digits", **fields}
        answer = self.api.post("/v1/scores", json=body)
        assert answer.status_code == 201, answer.text
        assert answer.headers["Location"] == f"/v1/scores/{answer.json()['id']}"
        return str(answer.json()["id"])

    def put(self, score_id: str, data: bytes = FILE, **headers: str) -> Any:
        """Send bytes; the answer."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.api.request("PUT", f"/v1/scores/{score_id}/content", content=data, headers=named)

    def get(self, score_id: str) -> dict[str, Any]:
        """The document."""
        document: dict[str, Any] = self.api.get(f"/v1/scores/{score_id}").json()
        return document

    def sent(self, **fields: Any) -> str:
        """A set that waits for a worker."""
        score_id = self.announce(**fields)
        assert self.put(score_id).status_code == 202
        return score_id

    def scored(self, accuracy: float = 50.0, ipc: int = 2, **fields: Any) -> str:
        """A set that is scored."""
        score_id = self.sent(**fields)
        self.finish(score_id, accuracy, ipc, fields.get("recipe", {}))
        return score_id

    def finish(self, score_id: str, accuracy: float, ipc: int, recipe: Mapping[str, Any]) -> None:
        """Do what a worker does with a set that was sent."""
        dataset = self.get(score_id)["dataset"]
        spec = job_of(dataset, ipc, recipe, lambda _: None).model_dump(mode="json")
        results = {
            "accuracy": score(accuracy, accuracy + 2),
            "controls": {"random": score(accuracy - 9, accuracy - 7)},
            "bytes": 1234,
            "scores": {"label_robust": {"score": 30.5}, "augmentation_robust": {"score": 41.25}},
            "origin": {"file": "set.npz", "sha256": "ab" * 32, "layout": "an .npz file", "remarks": ["pixels run"]},
        }
        job_id = self.get(score_id)["job"]["id"]
        with self.api.database.write() as session:
            assert scoring.complete(session, job_id, spec, "ab" * 32) is not None
        self.api.force(job_id, status="succeeded", results=results, finished_at=clock())


@pytest.fixture
def scores(api: Api) -> Scores:
    return Scores(api)


@pytest.fixture
def scores_of() -> Callable[[Api], Scores]:
    return Scores
