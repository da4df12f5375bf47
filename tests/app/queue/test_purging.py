"""What was deleted goes for good, and what is old goes when the settings say so."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import delete, func, select

from app.artifacts import service as artifacts
from app.artifacts.service import Output
from app.core.storage import LocalStore
from app.core.tables import clock
from app.events import repository as events
from app.metrics import repository as metrics
from app.models.artifacts import Artifact, Blob, Checkpoint
from app.models.audit import AuditEntry
from app.models.events import Event
from app.models.jobs import IdempotencyKey, Job
from app.models.logs import LogPart
from app.models.metrics import MetricLast, MetricPoint, MetricRollup
from app.models.studies import Study
from app.queue import checkpoints, purging
from app.queue.checkpoints import SavedCheckpoint

if TYPE_CHECKING:
    from tests.app.conftest import Api

BACKENDS = ("sqlite", "postgres")
OF_A_JOB = (Job, Event, MetricPoint, MetricRollup, MetricLast, Checkpoint, Artifact, LogPart)
SPEC: dict[str, Any] = {"dataset": "digits", "ipc": 1, "method": {"name": "dm", "iterations": 100}}


@pytest.fixture
def store(api: Api) -> LocalStore:
    store = api.state.store
    assert isinstance(store, LocalStore)
    return store


def finished(api: Api, store: LocalStore, folder: Path, **values: Any) -> str:
    """A job that has ended and left something everywhere."""
    job_id = str(api.submit(SPEC, name=f"job {folder.name}")["id"])
    for name in ("state", "picture"):
        (folder / name).write_text(f"{name} of {job_id}")
    with api.database.write() as session:
        saved = artifacts.publish(session, store, job_id, 0, Output("checkpoint", folder / "state", "a/b", step=10))
        artifacts.publish(session, store, job_id, 0, Output("snapshot", folder / "picture", "image/png", step=5))
        blob = session.get(Artifact, saved)
        assert blob is not None
        assert blob.sha256 is not None
        checkpoints.add(session, job_id, 1, 0, SavedCheckpoint(10, blob.sha256, 3), saved, {"loss": 0.5})
        metrics.ingest(session, job_id, "default", [(1, 1, "loss", 0.5), (2, 2, "loss", 0.4)])
        session.add(LogPart(job_id=job_id, start=0, size=3, data=b"log"))
    api.force(job_id, status="succeeded", finished_at=clock(), **values)
    return job_id


def purge(api: Api) -> None:
    with api.database.read() as session:
        hidden = purging.deleted_jobs(session, 100)
    for job_id in hidden:
        for _ in range(20):
            with api.database.write() as session:
                if purging.purge(session, job_id):
                    break


def test_a_deleted_job_leaves_nothing_but_what_was_done(
    api: Api, store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purging, "ROWS", 1)
    job_id = finished(api, store, tmp_path)
    assert all(api.count(table) for table in (Event, MetricPoint, Checkpoint, Artifact, LogPart))
    assert api.delete(f"/v1/jobs/{job_id}").status_code == 204
    purge(api)
    assert {table.__name__: api.count(table) for table in OF_A_JOB} == {table.__name__: 0 for table in OF_A_JOB}
    assert api.get(f"/v1/jobs/{job_id}").status_code == 404
    assert api.delete(f"/v1/jobs/{job_id}").status_code == 404
    with api.database.write() as session:
        assert artifacts.collect(session, store, grace_s=-1) == 2
    assert api.count(Blob) == 0
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and "blobs" in path.parts]
    acts = [act["action"] for act in api.get("/v1/audit", params={"object": job_id}).json()["data"]]
    assert acts == ["job.delete", "job.submit"]


def test_what_is_not_deleted_stays(api: Api, store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    gone, kept = (finished(api, store, tmp_path / name) for name in "ab")
    child = api.post(f"/v1/jobs/{gone}:clone", json={"overrides": {"seed": 2}}).json()["id"]
    assert api.delete(f"/v1/jobs/{gone}").status_code == 204
    purge(api)
    with api.database.read() as session:
        left = session.scalars(select(Job.id)).all()
        events = session.execute(select(Event.job_id, func.count()).group_by(Event.job_id)).all()
    assert set(left) == {kept, child}
    assert {job_id for job_id, _ in events} == {kept, child}
    assert api.get(f"/v1/jobs/{child}").json()["parent_id"] == gone
    assert api.get(f"/v1/jobs/{kept}/metrics").json()["data"]
    assert api.get(f"/jobs/{child}").status_code == 200


def test_the_request_that_made_it_is_told_that_it_is_gone(api: Api, store: LocalStore) -> None:
    headers = {"Idempotency-Key": "once"}
    job_id = api.post("/v1/jobs", json=SPEC, headers=headers).json()["id"]
    api.post(f"/v1/jobs/{job_id}:cancel")
    assert api.delete(f"/v1/jobs/{job_id}").status_code == 204
    purge(api)
    assert api.count(IdempotencyKey) == 1
    assert api.post("/v1/jobs", json=SPEC, headers=headers).status_code == 410


def test_a_deleted_study_goes_after_its_jobs(api: Api) -> None:
    base = {"dataset": "digits", "ipc": 1, "iterations": 10, "evaluation": {"repeats": 2}}
    request = {"base": base, "space": {"method": ["dm", "herding"]}, "budget": {"jobs": 4}, "rungs": 1}
    answer = api.post("/v1/studies", json=request)
    assert answer.status_code == 201, answer.text
    study_id = answer.json()["id"]
    api.post(f"/v1/studies/{study_id}:cancel")
    assert api.delete(f"/v1/studies/{study_id}").status_code == 204, api.get(f"/v1/studies/{study_id}").text
    with api.database.write() as session:
        purging.purge_studies(session)
    assert api.count(Study) == 1
    purge(api)
    with api.database.write() as session:
        purging.purge_studies(session)
    assert (api.count(Study), api.count(Job), api.count(Event)) == (0, 0, 0)
    assert api.count(AuditEntry) > 0


def test_old_checkpoints_and_pictures_go_by_the_settings(api: Api, store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    old, new = (finished(api, store, tmp_path / name) for name in "ab")
    api.force(old, finished_at=clock(-10 * 86_400))
    with api.database.write() as session:
        assert purging.drop_old_checkpoints(session, 11, 100) == 0
        assert purging.drop_old_checkpoints(session, 9, 100) == 1
        assert purging.drop_old_snapshots(session, 9, 100) == 1
        assert purging.drop_old_snapshots(session, 9, 100) == 0
    kinds = {job: {one["kind"] for one in api.get(f"/v1/jobs/{job}/artifacts").json()["data"]} for job in (old, new)}
    assert kinds == {old: set(), new: {"checkpoint", "snapshot"}}


def test_old_jobs_go_by_the_settings_but_not_those_that_others_go_on_from(
    api: Api, store: LocalStore, tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    parent, old = (finished(api, store, tmp_path / name) for name in "ab")
    child = api.post(f"/v1/jobs/{parent}:clone", json={"overrides": {}}).json()["id"]
    for job_id in (parent, old):
        api.force(job_id, finished_at=clock(-10 * 86_400))
    with api.database.write() as session:
        assert purging.bury_old_jobs(session, 9, 100) == 1
    purge(api)
    with api.database.read() as session:
        assert set(session.scalars(select(Job.id)).all()) == {parent, child}


def test_an_old_job_loses_what_it_said_on_its_way(api: Api, store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    old, resumable = (finished(api, store, tmp_path / name) for name in "ab")
    with api.database.write() as session:
        for job_id in (old, resumable):
            for type in ("job.progress", "job.log", "job.warning", "artifact.ready", "job.alert"):
                level: events.Level = "info" if type != "job.warning" else "warning"
                events.append(session, job_id, type, level, type, {"rule": "plateau"})
        session.execute(delete(Checkpoint).where(Checkpoint.job_id == old))
    for job_id in (old, resumable):
        api.force(job_id, finished_at=clock(-31 * 86_400))
    with api.database.read() as session:
        found = purging.wordy(session, 30, 10)
        assert [job_id for job_id, _ in found] == [old]
        assert purging.wordy(session, 32, 10) == []
    version = api.get(f"/v1/jobs/{old}").json()["version"]
    with api.database.write() as session:
        assert purging.drop_details(session, old, 2) == 2
        assert purging.drop_details(session, old, 2) == 1
        purging.mark_thinned(session, old)
    kinds = [event["type"] for event in api.get(f"/v1/jobs/{old}/events").json()["data"]]
    assert kinds == ["job.created", "job.warning", "job.alert"]
    with api.database.read() as session:
        assert purging.wordy(session, 30, 10) == []
    assert api.get(f"/v1/jobs/{old}").json()["version"] == version
    api.force(old, finished_at=clock())  # retried, and ended again
    with api.database.read() as session:
        assert [job_id for job_id, _ in purging.wordy(session, -1, 10)] == [old]
