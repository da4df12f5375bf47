"""Working folders and the checkpoint an attempt starts from."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from app.core.storage import ArtifactStore, LocalStore
from app.queue.checkpoints import SavedCheckpoint
from worker.protocol import HOLD_AT
from worker.run_folder import RunFolder, pin

JOB = "job_1"


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return LocalStore(tmp_path / "store")


def attempt(tmp_path: Path, fence: int) -> RunFolder:
    folder = RunFolder(tmp_path / "runs", JOB, fence)
    folder.create({"seed": 1})
    return folder


def save(folder: RunFolder, step: int) -> SavedCheckpoint:
    data = f"state {step}".encode()
    digest = hashlib.sha256(data).hexdigest()
    folder.checkpoint(f"{step:010d}-{digest}.safetensors").write_bytes(data)
    return SavedCheckpoint(step, digest, len(data))


def restored(folder: RunFolder) -> list[str]:
    return sorted(path.read_text() for path in (folder.path / "checkpoints").iterdir())


def test_a_job_that_is_to_be_held_says_so_in_its_folder(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "runs", JOB, 1)
    folder.create({"seed": 1}, hold_at=30)
    assert (folder.path / HOLD_AT).read_text() == "30"
    folder.create({"seed": 1})
    assert not (folder.path / HOLD_AT).exists()


def test_a_new_attempt_has_its_specification_and_a_folder_of_its_own(tmp_path: Path) -> None:
    first = attempt(tmp_path, 1)
    second = attempt(tmp_path, 3)
    assert json.loads((second.path / "spec.json").read_text()) == {"seed": 1}
    assert (second.path.stat().st_mode & 0o777) == 0o700
    second.forget_earlier()
    assert not first.path.exists()
    second.remove()
    assert not second.job.exists()


def test_a_local_checkpoint_is_taken_without_the_store(tmp_path: Path, store: ArtifactStore) -> None:
    first = attempt(tmp_path, 1)
    older, newer = save(first, 5), save(first, 10)
    save(first, 15)  # on disk, but never recorded
    second = attempt(tmp_path, 2)
    assert second.restore(store, [newer, older]) == (10, [])
    assert restored(second) == ["state 10"]


def test_a_checkpoint_comes_from_the_store_where_the_local_one_is_damaged_or_gone(
    tmp_path: Path, store: ArtifactStore
) -> None:
    first = attempt(tmp_path, 1)
    saved = save(first, 5)
    (path,) = (first.path / "checkpoints").iterdir()
    store.put_file(path)
    path.write_bytes(b"state 6")
    second = attempt(tmp_path, 2)
    assert second.restore(store, [saved]) == (5, [])
    first.remove()
    third = attempt(tmp_path, 3)
    assert third.restore(store, [saved]) == (5, [])
    assert restored(third) == ["state 5"]


def test_the_one_before_is_used_where_the_newest_cannot_be_had(tmp_path: Path, store: ArtifactStore) -> None:
    first = attempt(tmp_path, 1)
    older = save(first, 5)
    missing = SavedCheckpoint(10, "ab" * 32, 8)
    second = attempt(tmp_path, 2)
    step, complaints = second.restore(store, [missing, older])
    assert step == 5
    assert "step 10" in complaints[0]
    assert attempt(tmp_path, 3).restore(store, [missing]) == (None, [complaints[0]])


def test_a_pinned_file_outlives_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("content")
    pinned = pin(path, tmp_path / "pins")
    path.unlink()
    assert pinned is not None
    assert pinned.read_text() == "content"
    assert pin(path, tmp_path / "pins") is None
