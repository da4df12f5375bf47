"""Scoring a set of others without Celery: the supervisor, the process that scores and the one that reads the file."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.core.storage import open_store
from app.models.scores import Score, ScorePart
from app.scores.schemas import NewScore, ScoreDocument
from app.scores.service import ScoreService
from ddcore.bundle.foreign import stored
from ddcore.data import load
from tests.chaos.harness import PRINCIPAL, ROOT, Cluster
from tests.worker.conftest import claim
from worker import protocol
from worker.protocol import Decoder, Failed
from worker.supervisor import Supervisor

RECIPE: dict[str, Any] = {
    "network": {"name": "convnet", "depth": 1, "width": 4},
    "evaluation": {"repeats": 1, "epochs": 1, "batch_size": 32},
    "compile": "off",
}
REAL = load("digits")
ROWS = [int((REAL.train.labels == label).nonzero()[0]) for label in range(10)]
IMAGES = REAL.train.images[ROWS].numpy()


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self._marker,)


def send(service: Cluster, file: Path, **fields: Any) -> str:
    """A set that waits for a worker."""
    blob = open_store(service.settings).put_file(file)
    request = NewScore(file=file.name, dataset="digits", recipe=RECIPE, **fields)
    with service.database.write() as session:
        scores = ScoreService(session, PRINCIPAL, service.settings)
        score_id = scores.announce(request).id
        scores.add_part(score_id, 0, blob)
        scores.complete(score_id, blob.size, blob.sha256)
    return score_id


def shown(service: Cluster, score_id: str) -> ScoreDocument:
    with service.database.read() as session:
        return ScoreService(session, PRINCIPAL, service.settings).get(score_id)


def count(service: Cluster, model: type[Any]) -> int:
    with service.database.read() as session:
        return session.query(model).count()


def test_a_file_is_read_apart_scored_and_let_go_of(service: Cluster, supervisor: Supervisor, tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", images=IMAGES)
    score_id = send(service, tmp_path / "set.npz")
    supervisor.supervise(claim(service))
    found = shown(service, score_id)
    assert found.status == "succeeded", service.story(found.job.id if found.job else "")
    assert (found.ipc, found.dataset) == (1, "digits")
    results = found.results
    assert results is not None
    assert results.accuracy is not None
    assert results.bytes is not None
    assert (results.accuracy.networks, set(results.controls)) == (1, {"random"})
    assert results.origin is not None
    assert (results.origin.file, results.origin.sha256) == ("set.npz", found.sha256)
    assert found.spec is not None
    assert (found.spec["dataset"], found.spec["ipc"], found.spec["evaluation"]["epochs"]) == ("digits", 1, 1)
    assert found.job is not None
    phases = [event.data["phase"] for event in service.events(found.job.id) if event.type == "job.progress"]
    assert phases[-1] in ("evaluating", "finalizing")
    assert count(service, ScorePart) == 0
    assert not any(service.settings.runs_dir.iterdir())
    assert service.files_left() == []


def test_a_file_that_would_run_code_runs_nothing(service: Cluster, supervisor: Supervisor, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    (tmp_path / "set.pt").write_bytes(pickle.dumps({"images": Trap(marker)}, 2))
    score_id = send(service, tmp_path / "set.pt")
    supervisor.supervise(claim(service))
    found = shown(service, score_id)
    assert (found.status, found.error is not None and found.error.code) == ("failed", "data_error")
    assert found.error is not None
    assert found.error.message.startswith("set.pt holds more than tensors and numbers")
    assert str(service.home) not in found.error.message
    assert not marker.exists()
    assert (count(service, ScorePart), found.upload.kept, found.job is not None and found.job.attempt) == (1, True, 1)


def test_a_score_that_was_deleted_is_not_made(service: Cluster, supervisor: Supervisor, tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", images=IMAGES)
    score_id = send(service, tmp_path / "set.npz")
    claimed = claim(service)
    with service.database.write() as session:
        ScoreService(session, PRINCIPAL, service.settings).delete(score_id)
    supervisor.supervise(claimed)
    assert service.job(claimed.job_id).status == "cancelled"
    with service.database.read() as session:
        row = session.query(Score).one()
    assert (row.spec, row.deleted_at is not None) == (None, True)


def read(folder: Path, file: str, values: str | None = None, **limits: int) -> tuple[int, list[Any]]:
    """Have the process read a file of a run folder; its exit code and what it said."""
    (folder / protocol.READ).mkdir()
    stored.write_outline(folder / protocol.READ, REAL)
    most = {"memory_bytes": 4 << 30, "unpacked_bytes": 1 << 30, **limits}
    job = {"dataset": "digits", "file": file, "recipe": {}, "values": values, "limits": most}
    (folder / "spec.json").write_text(json.dumps(job))
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "worker.read_main", "--run-dir", str(folder), "--pipe-fd", str(writing)]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, pass_fds=(writing,), env=environment, timeout=60, check=False, capture_output=True)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        return done.returncode, list(Decoder().feed(pipe.read()))


def odd_labels(place: Path) -> None:
    np.savez(place / "set.npz", images=IMAGES, labels=np.arange(1, 11))


def odd_shape(place: Path) -> None:
    torch.save([torch.zeros(10, 3, 32, 32)], place / "set.pt")


def not_a_number(place: Path) -> None:
    images = IMAGES.astype(np.float32) / 255
    images[3, 0, 2, 2] = np.nan
    np.savez(place / "set.npz", images=images)


def bomb(place: Path) -> None:
    with zipfile.ZipFile(place / "set.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0/0.png", bytes(200 << 20))


@pytest.mark.parametrize(
    ("make", "file", "words"),
    [
        (odd_labels, "set.npz", "the labels run from 1 to 10, but those of digits from 0 to 9"),
        (odd_shape, "set.pt", "the images have the shape (10, 3, 32, 32), but those of digits are (N, 1, 8, 8)"),
        (not_a_number, "set.npz", "image 3 holds NaN"),
        (bomb, "set.zip", "set.zip"),
    ],
)
def test_a_hostile_file_is_named_with_its_fault(
    make: Callable[[Path], None], file: str, words: str, tmp_path: Path
) -> None:
    place = tmp_path / protocol.UPLOAD
    place.mkdir()
    make(place)
    code, frames = read(tmp_path, file, unpacked_bytes=100 << 20)
    (last,) = [frame for frame in frames if isinstance(frame, Failed)]
    assert (code, last.code, last.retryable) == (protocol.EXIT_DATA_ERROR, "data_error", False)
    assert words in last.message
    assert str(tmp_path) not in last.message
