"""Taking a user's images in, and bringing a set to a worker, without Celery: the supervisor and the real process."""

from __future__ import annotations

import errno
import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import update

from app.artifacts import service as artifacts
from app.core.storage import LocalStore, fetch, key_of
from app.datasets import ingests
from app.models.datasets import Dataset
from app.models.jobs import Job
from app.models.keys import Tenant
from ddcore.data import stored
from tests.chaos.harness import Cluster
from tests.worker.conftest import claim
from worker import kinds, work
from worker.launching import Launcher
from worker.supervisor import Supervisor


@pytest.fixture
def supervisor(service: Cluster, store: LocalStore, launcher: Launcher) -> Supervisor:
    """One that a busy machine does not keep from its lease: real processes take seconds to start there."""
    patient = service.settings.model_copy(update={"lease_s": 60.0})
    return Supervisor(patient, service.database, store, "wrk_test", lambda: False, launcher)


def pictures(per_class: int = 8, side: int = 8, classes: tuple[str, ...] = ("cat", "dog")) -> bytes:
    """A zip of class folders with random pictures."""
    rng = np.random.default_rng(side)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in classes:
            for number in range(per_class):
                picture = io.BytesIO()
                Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(picture, "PNG")
                archive.writestr(f"{name}/{number}.png", picture.getvalue())
    return packed.getvalue()


def take_in(service: Cluster, supervisor: Supervisor, data: bytes | None = None, **options: Any) -> str:
    set_id = service.upload(pictures() if data is None else data, ring=False, **options)
    supervisor.supervise(claim(service))
    return set_id


def failure(service: Cluster, set_id: str) -> tuple[str, str]:
    found = service.dataset(set_id)
    assert found.state == "failed", found
    assert found.error is not None
    return found.error.code, found.error.message


def test_images_become_a_set(service: Cluster, supervisor: Supervisor, store: LocalStore) -> None:
    set_id = take_in(service, supervisor)
    found = service.dataset(set_id)
    assert (found.state, found.reference, found.classes) == ("ready", "photos@1", ["cat", "dog"])
    assert found.job is not None
    assert (found.job.status, found.job.done, found.job.total) == ("succeeded", 16, 16)
    assert found.content_id is not None
    cached = stored.read(service.settings.cache_dir / "datasets" / found.content_id)
    assert cached is not None
    assert cached.report.id == found.content_id
    with service.sets() as sets:
        sheet = sets.file(set_id, "samples.png")
        report = sets.report(set_id)
    picture = Image.open(io.BytesIO(b"".join(store.iter_range(sheet.sha256))))
    assert picture.format == "PNG"
    assert report.splits["train"].images + report.splits["test"].images == 16
    assert not any(service.settings.runs_dir.iterdir())
    assert service.files_left() == []


def test_messages_name_files_as_the_user_does(service: Cluster, supervisor: Supervisor) -> None:
    packed = io.BytesIO(pictures())
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("cat/bad.png", b"\x89PNG no")
    code, message = failure(service, take_in(service, supervisor, packed.getvalue()))
    assert code == "data_error"
    assert message.startswith("cat/bad.png: not a readable image")
    assert str(service.home) not in message
    code, message = failure(service, take_in(service, supervisor, b"nothing that is a zip"))
    assert message.startswith("photos.zip")
    assert str(service.home) not in message


def test_a_question_of_size_is_answered_without_another_upload(service: Cluster, supervisor: Supervisor) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for side in (8, 12):
            with zipfile.ZipFile(io.BytesIO(pictures(side=side))) as part:
                for name in part.namelist():
                    archive.writestr(name.replace("/", f"/{side}-"), part.read(name))
    set_id = take_in(service, supervisor, packed.getvalue())
    code, message = failure(service, set_id)
    assert code == "data_error"
    assert "8 x 8" in message
    from ddcore.spec.ingest import IngestOptions

    with service.sets() as sets:
        assert sets.ingest(set_id, IngestOptions(size=8)).state == "queued"
    supervisor.supervise(claim(service))
    found = service.dataset(set_id)
    assert (found.state, found.shape, found.version) == ("ready", [3, 8, 8], 1)
    assert found.upload is not None
    assert not found.upload.kept


class TestDamage:
    def test_a_part_that_rotted(self, service: Cluster, supervisor: Supervisor, store: LocalStore) -> None:
        data = pictures()
        set_id = service.upload(data, ring=False)
        (path,) = [path for path in (service.home / "artifacts").rglob("*") if path.is_file()]
        path.write_bytes(data[:-1] + b"!")
        supervisor.supervise(claim(service))
        assert failure(service, set_id)[0] == "upload_damaged"

    def test_another_digest_than_announced(self, service: Cluster, supervisor: Supervisor) -> None:
        set_id = service.upload(pictures(), ring=False)
        with service.database.write() as session:
            session.execute(update(Dataset).values(sha256="ab" * 32))
        supervisor.supervise(claim(service))
        code, message = failure(service, set_id)
        assert (code, "ab" * 32 in message) == ("digest_mismatch", True)

    def test_a_file_of_the_set_that_is_gone(self, service: Cluster, supervisor: Supervisor) -> None:
        set_id = take_in(service, supervisor)
        shutil.rmtree(service.settings.cache_dir / "datasets")
        with service.sets() as sets:
            digest = sets.file(set_id, "train-images.npy").sha256
        (service.home / "artifacts" / key_of(digest)).unlink()
        job = distil(service, supervisor)
        assert job.error is not None
        assert (job.status, job.error["code"]) == ("failed", "dataset_damaged")


class TestQuota:
    @pytest.mark.parametrize("room", [1500, 4500])
    def test_a_set_that_is_larger_than_there_is_room(self, service: Cluster, supervisor: Supervisor, room: int) -> None:
        """Found by the process, which may write no larger file, or in the sum of all files."""
        set_id = service.upload(pictures(), ring=False)
        with service.database.write() as session:
            session.execute(update(Tenant).values(max_dataset_bytes=room))
        supervisor.supervise(claim(service))
        code, message = failure(service, set_id)
        assert (code, f"{room:,} bytes" in message, "quota" in message) == ("quota_exceeded", True, True)
        assert service.dataset(set_id).actions == ["ingest", "delete"]

    def test_an_archive_that_unfolds_without_bound(self, service: Cluster, supervisor: Supervisor) -> None:
        supervisor.settings = service.settings.model_copy(update={"upload_limit_gb": 1e-6})
        code, message = failure(service, take_in(service, supervisor))
        assert (code, message.startswith("photos.zip")) == ("data_error", True)

    def test_more_memory_than_it_may(self, service: Cluster, supervisor: Supervisor) -> None:
        supervisor.settings = service.settings.model_copy(update={"ingest_memory_gb": 0.001})
        code, message = failure(service, take_in(service, supervisor))
        assert (code, "DD_INGEST_MEMORY_GB" in message) == ("out_of_memory", True)


class TestEndings:
    def test_a_full_disk_is_tried_again(
        self, service: Cluster, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        set_id = service.upload(pictures(), ring=False)

        def full(*_: object) -> Any:
            raise OSError(errno.ENOSPC, "full")

        monkeypatch.setattr(work, "iter_verified", full)
        supervisor.supervise(claim(service))
        found = service.dataset(set_id)
        assert found.job is not None
        job = service.job(found.job.id)
        assert job.error is not None
        assert (job.status, job.error["code"]) == ("queued", "no_space")
        assert not list(service.settings.runs_dir.rglob("*.zip"))

    def test_a_set_that_is_deleted_meanwhile_leaves_nothing(self, service: Cluster, supervisor: Supervisor) -> None:
        set_id = service.upload(pictures(), ring=False)
        claimed = claim(service)
        with service.sets() as sets:
            sets.delete(set_id)
        supervisor.supervise(claimed)
        assert service.job(claimed.job_id).status == "cancelled"
        assert service.files_left() == []
        with service.database.write() as session:
            artifacts.collect(session, supervisor.store, grace_s=-1)
        assert not [path for path in (service.home / "artifacts" / "sha256").rglob("*") if path.is_file()]

    def test_a_set_that_is_gone_when_it_is_ready_ends_the_job(
        self, service: Cluster, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever took it away, the job is over, and does not begin again."""
        set_id = service.upload(pictures(), ring=False)
        claimed = claim(service)
        monkeypatch.setattr(ingests, "complete", lambda *_: None)
        supervisor.supervise(claimed)
        job = service.job(claimed.job_id)
        assert job.error is not None
        assert (job.status, job.error["code"]) == ("failed", "dataset_deleted")
        assert service.dataset(set_id).content_id is None

    def test_a_cancelled_one_can_be_taken_in_later(self, service: Cluster, supervisor: Supervisor) -> None:
        set_id = service.upload(pictures(), ring=False)
        claimed = claim(service)
        service.cancel(claimed.job_id)
        supervisor.supervise(claimed)
        found = service.dataset(set_id)
        assert (found.state, found.actions) == ("cancelled", ["ingest", "delete"])

    def test_equal_images_are_stored_once(self, service: Cluster, supervisor: Supervisor) -> None:
        first, second = take_in(service, supervisor), take_in(service, supervisor)
        found = [service.dataset(one) for one in (first, second)]
        assert [one.version for one in found] == [1, 2]
        assert found[0].content_id == found[1].content_id
        with service.sets() as sets:
            digests = [
                {file.sha256 for file in sets.files(one) if file.name != "dataset.json"} for one in (first, second)
            ]
        assert digests[0] == digests[1]


def distil(service: Cluster, supervisor: Supervisor, dataset: str = "photos") -> Job:
    body = {"dataset": dataset, "ipc": 1, "method": {"name": "dm", "iterations": 10}, "seed": 1}
    job_id = service.submit_body(body)
    supervisor.supervise(claim(service))
    return service.job(job_id)


class TestBringing:
    """A job finds the user's own set in the cache of its machine, under its content."""

    def told(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """What engines were told to distil."""
        names: list[str] = []
        before = work.Distillation.spec

        def spec(self: work.Distillation) -> Any:
            found = before(self)
            names.append(found["dataset"])
            return found

        monkeypatch.setattr(work.Distillation, "spec", spec)
        return names

    def test_it_is_fetched_and_named_by_its_content(
        self, service: Cluster, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        names = self.told(monkeypatch)
        found = service.dataset(take_in(service, supervisor))
        assert found.content_id is not None
        entry = service.settings.cache_dir / "datasets" / found.content_id
        before = {path.name: path.read_bytes() for path in entry.iterdir()}
        shutil.rmtree(entry)
        job = distil(service, supervisor)
        assert (job.status, job.dataset, names) == ("succeeded", "photos@1", [found.content_id])
        assert {path.name: path.read_bytes() for path in entry.iterdir()} == before
        assert list(entry.parent.iterdir()) == [entry]

    def test_what_is_there_and_whole_is_not_fetched(
        self, service: Cluster, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = service.dataset(take_in(service, supervisor))
        fetched: list[str] = []

        def noted(store: Any, blob: Any, target: Path) -> None:
            fetched.append(target.name)
            fetch(store, blob, target)

        monkeypatch.setattr(work, "fetch", noted)
        assert (distil(service, supervisor).status, fetched) == ("succeeded", [])
        (service.settings.cache_dir / "datasets" / str(found.content_id) / "train-labels.npy").write_bytes(b"half")
        assert distil(service, supervisor).status == "succeeded"
        assert "train-labels.npy" in fetched

    def test_a_set_deleted_after_its_job_was_claimed(self, service: Cluster, supervisor: Supervisor) -> None:
        """Only the database can do that; no route lets it happen."""
        set_id = take_in(service, supervisor)
        body = {"dataset": "photos", "ipc": 1, "method": {"name": "dm", "iterations": 10}}
        job_id = service.submit_body(body)
        claimed = claim(service)
        from app.datasets import repository

        with service.database.write() as session:
            repository.bury(session, set_id)
        supervisor.supervise(claimed)
        job = service.job(job_id)
        assert job.error is not None
        assert (job.status, job.error["code"]) == ("failed", "dataset_deleted")

    def test_a_job_is_handed_back_while_it_waits_for_its_set(
        self, service: Cluster, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        take_in(service, supervisor)
        shutil.rmtree(service.settings.cache_dir / "datasets")
        supervisor.draining = lambda: True
        job = distil(service, supervisor)
        assert (job.status, job.failures) == ("queued", 0)
        assert list((service.settings.cache_dir / "datasets").iterdir()) == []


def test_the_specification_of_an_ingest_says_its_limits(service: Cluster, supervisor: Supervisor) -> None:
    service.upload(pictures(), ring=False, size=16)
    claimed = claim(service)
    spec = kinds.work_of(claimed, service.settings, service.database, supervisor.store).spec()
    assert json.loads(json.dumps(spec))["options"]["size"] == 16
    assert set(spec["limits"]) == {"memory_bytes", "file_bytes", "unpacked_bytes"}
