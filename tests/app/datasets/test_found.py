"""What workers have found in data roots, and what becomes of jobs on it. No worker runs here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update

from app.core.tables import clock
from app.datasets import found
from app.datasets.found import Found
from app.datasets.schemas import DatasetError
from app.models.datasets import FoundSet
from ddcore.spec import DatasetFacts

if TYPE_CHECKING:
    from tests.app.conftest import Api

FACTS = DatasetFacts(
    name="cats", title="cats", shape=(3, 16, 16), classes=("a", "b"), train_size=24, smallest_class=12,
    mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2), flip=False, download=False, test_size=4,
)  # fmt: skip
UNFIT = DatasetError(code="data_error", message="all 9 training images are of class 'a'; at least 2 classes are needed")


def look(api: Api, root: str, verdict: Found | None, fingerprint: str = "1") -> list[str]:
    """A worker sees the set `cats`, and finds something in it."""
    with api.database.write() as session:
        waiting = list(found.saw(session, root, {"cats": fingerprint}))
        if verdict is not None:
            found.record(session, root, "cats", fingerprint, verdict)
    return waiting


def validated(api: Api, spec: dict[str, Any], **changes: Any) -> Any:
    return api.post("/v1/jobs:validate", json={**spec, "dataset": "cats", **changes})


def listed(api: Api) -> Any:
    return next((one for one in api.get("/v1/datasets").json()["data"] if one["name"] == "cats"), None)


def test_an_unfit_set_is_refused_when_a_job_is_sent_and_a_mended_one_is_not(api: Api, spec: dict[str, Any]) -> None:
    assert look(api, "here", Found(error=UNFIT)) == ["cats"]
    answer = api.post("/v1/jobs", json={**spec, "dataset": "cats"})
    assert answer.status_code == 422
    (fault,) = answer.json()["errors"]
    assert (fault["pointer"], fault["code"]) == ("/dataset", "dataset_unfit")
    assert UNFIT.message in fault["detail"]
    assert (listed(api)["state"], listed(api)["error"]) == ("unfit", UNFIT.model_dump())
    page = api.get("/datasets").text
    assert '<span class="chip unfit">unfit</span>' in page
    assert "at least 2 classes are needed" in page
    assert look(api, "here", None) == [], "looked at already"
    assert look(api, "here", None, fingerprint="2") == ["cats"]
    assert listed(api)["state"] == "ready"
    assert "checked by the worker" in str(validated(api, spec).json()["warnings"])


def test_jobs_are_checked_and_estimated_by_what_was_found(api: Api, spec: dict[str, Any]) -> None:
    look(api, "here", Found(facts=FACTS))
    assert "smallest class" in validated(api, spec, ipc=13).text
    answer = validated(api, spec, ipc=1).json()
    assert answer["estimate"] is not None
    assert "checked by the worker" not in str(answer["warnings"])
    assert (listed(api)["train_size"], listed(api)["shape"]) == (24, [3, 16, 16])


@pytest.mark.parametrize(("there", "state"), [(Found(error=UNFIT), "unfit"), (Found(facts=FACTS), "ready")])
def test_where_data_roots_differ_nothing_is_certain(api: Api, spec: dict[str, Any], there: Found, state: str) -> None:
    look(api, "here", there)
    look(api, "elsewhere", Found(), fingerprint="2")
    assert (listed(api)["state"], listed(api)["train_size"]) == ("ready", None)
    assert validated(api, spec, ipc=1).status_code == 200
    with api.database.write() as session:
        session.execute(update(FoundSet).where(FoundSet.root == "elsewhere").values(seen_at=clock(-3600)))
    assert listed(api)["state"] == state, "a worker that is gone no longer counts"


def test_files_that_another_data_root_holds_are_looked_at_once(api: Api) -> None:
    look(api, "here", Found(error=UNFIT))
    assert look(api, "elsewhere", None) == []
    assert listed(api)["state"] == "unfit"


def test_who_stops_looking_is_followed_by_another(api: Api) -> None:
    assert look(api, "here", None) == ["cats"]
    assert look(api, "here", None) == []
    with api.database.write() as session:
        session.execute(update(FoundSet).values(seen_at=clock(-120)))
    assert look(api, "here", None) == ["cats"]


def test_what_has_gone_is_forgotten(api: Api, spec: dict[str, Any]) -> None:
    look(api, "here", Found(error=UNFIT))
    with api.database.write() as session:
        assert not found.saw(session, "here", {})
    assert listed(api) is None
    assert "unknown_dataset" in validated(api, spec).text
