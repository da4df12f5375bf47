from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from app.artifacts import repository
from app.artifacts.service import Output, StaleFenceError, collect, content_of, publish
from app.core.database import Database
from app.core.storage import ArtifactStore, read_verified, store_at
from app.models.artifacts import Artifact, Blob
from app.models.jobs import Job

BACKENDS = ("sqlite", "postgres")
AddJob = Callable[..., str]


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return store_at(str(tmp_path / "blobs"))


@pytest.fixture
def put(database: Database, store: ArtifactStore, tmp_path: Path) -> Callable[..., str]:
    """Publishes some bytes and returns the artifact's id."""

    def put(job_id: str, content: bytes = b"content", fence: int = 2, **options: Any) -> str:
        path = tmp_path / options.pop("file", "preview.png")
        path.write_bytes(content)
        kind = options.pop("kind", "preview")
        with database.write() as session:
            return publish(session, store, job_id, fence, Output(kind, path, "image/png", **options))

    return put


@pytest.fixture
def job(add_job: AddJob) -> str:
    return add_job(status="running", fence=2, attempt=1)


def visible(database: Database, job_id: str) -> list[Artifact]:
    with database.read() as session:
        return list(repository.of_job(session, "default", job_id))


class TestPublish:
    def test_the_file_is_kept_and_described(
        self, database: Database, store: ArtifactStore, put: Callable[..., str], job: str
    ) -> None:
        made = put(job, b"tensor", kind="synthetic_images", step=7, shape=(2, 1, 8, 8), dtype="float32")
        (found,) = visible(database, job)
        assert (found.id, found.kind, found.state, found.size) == (made, "synthetic_images", "ready", 6)
        assert (found.attempt, found.fence, found.step) == (1, 2, 7)
        assert (found.shape, found.dtype, found.name) == ([2, 1, 8, 8], "float32", "preview.png")
        assert read_verified(store, content_of(found)) == b"tensor"

    def test_a_blob_stored_before_needs_no_file(
        self, database: Database, store: ArtifactStore, tmp_path: Path, job: str
    ) -> None:
        blob = store.put_stream(iter([b"early"]))
        with database.write() as session:
            publish(
                session, store, job, 2, Output("log", tmp_path / "gone", "text/plain", name="engine.log", blob=blob)
            )
        (found,) = visible(database, job)
        assert (found.sha256, found.name) == (blob.sha256, "engine.log")

    @pytest.mark.parametrize("fence", [1, 3])
    def test_another_fence_publishes_nothing(
        self, database: Database, put: Callable[..., str], job: str, fence: int
    ) -> None:
        with pytest.raises(StaleFenceError, match="fence 2"):
            put(job, fence=fence)
        assert visible(database, job) == []

    def test_unknown_job(self, put: Callable[..., str]) -> None:
        with pytest.raises(LookupError):
            put("job_nothing")

    def test_nothing_is_visible_before_the_commit(
        self, database: Database, store: ArtifactStore, tmp_path: Path, job: str
    ) -> None:
        (tmp_path / "a.png").write_bytes(b"x")

        def fail_late() -> None:
            with database.write() as session:
                publish(session, store, job, 2, Output("preview", tmp_path / "a.png", "image/png"))
                raise RuntimeError

        with pytest.raises(RuntimeError):
            fail_late()
        assert visible(database, job) == []

    def test_a_newer_file_takes_the_place_of_the_older(
        self, database: Database, put: Callable[..., str], job: str
    ) -> None:
        put(job, b"old")
        put(job, b"other step", step=3)
        put(job, b"other kind", kind="snapshot")
        newest = put(job, b"new")
        assert [a.kind for a in visible(database, job)] == ["preview", "snapshot", "preview"]
        assert visible(database, job)[-1].id == newest

    def test_equal_contents_share_a_blob(self, database: Database, put: Callable[..., str], add_job: AddJob) -> None:
        for _ in range(2):
            put(add_job(status="running", fence=2, attempt=1), b"same")
        with database.read() as session:
            assert session.execute(select(func.count()).select_from(Blob)).scalar_one() == 1

    def test_names_are_made_safe(self, database: Database, put: Callable[..., str], job: str) -> None:
        put(job, name='../../etc/"pass\nwd"; x')
        assert visible(database, job)[0].name == "etc_pass_wd_x"


class TestVisibility:
    def test_other_tenants_see_nothing(self, database: Database, put: Callable[..., str], job: str) -> None:
        made = put(job)
        with database.read() as session:
            assert repository.get(session, "default", made) is not None
            assert repository.get(session, "rival", made) is None
            assert repository.of_job(session, "rival", job) == []
            assert repository.latest(session, "rival", job, "preview") is None

    def test_a_buried_job_takes_its_files_along(self, database: Database, put: Callable[..., str], job: str) -> None:
        made = put(job)
        bury(database, job)
        with database.read() as session:
            assert repository.get(session, "default", made) is None

    def test_discarded_files_are_hidden(self, database: Database, put: Callable[..., str], job: str) -> None:
        made = put(job)
        with database.write() as session:
            repository.discard(session, [made])
        assert visible(database, job) == []

    def test_kinds_can_be_chosen(self, database: Database, put: Callable[..., str], job: str) -> None:
        put(job)
        put(job, kind="log")
        with database.read() as session:
            assert [a.kind for a in repository.of_job(session, "default", job, ["log"])] == ["log"]


class TestCollect:
    def test_only_unused_content_goes(
        self, database: Database, store: ArtifactStore, put: Callable[..., str], add_job: AddJob, job: str
    ) -> None:
        put(job, b"kept")
        dropped = put(job, b"dropped", kind="log")
        doomed = add_job(status="running", fence=2, attempt=1)
        put(doomed, b"buried")
        put(doomed, b"kept", kind="log")
        with database.write() as session:
            repository.discard(session, [dropped])
        bury(database, doomed)
        assert self.run(database, store) == 2
        (left,) = visible(database, job)
        assert read_verified(store, content_of(left)) == b"kept"
        with database.read() as session:
            assert session.execute(select(Blob.sha256)).scalars().all() == [left.sha256]
        assert self.run(database, store) == 0

    def test_fresh_content_is_left_alone(
        self, database: Database, store: ArtifactStore, put: Callable[..., str], job: str
    ) -> None:
        made = put(job)
        with database.write() as session:
            repository.discard(session, [made])
        with database.write() as session:
            assert collect(session, store, grace_s=3600) == 0

    def run(self, database: Database, store: ArtifactStore) -> int:
        with database.write() as session:
            return collect(session, store, grace_s=-1)


def bury(database: Database, job_id: str) -> None:
    with database.write() as session:
        job = session.execute(select(Job).where(Job.id == job_id)).scalar_one()
        job.deleted_at = job.created_at
