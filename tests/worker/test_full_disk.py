"""A disk that is really full: the job waits for room, and no attempt is counted."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import update

from app.core.storage import LocalStore
from app.models.jobs import Job
from app.queue.checkpoints import SavedCheckpoint
from tests.chaos import disks
from tests.chaos.harness import ROOT, Cluster
from tests.worker.conftest import claim
from worker import supervisor as module
from worker.launching import Launcher
from worker.protocol import Log
from worker.run_folder import RunFolder
from worker.spool import SpooledQueue
from worker.supervisor import Supervisor

pytestmark = pytest.mark.mount
SIZE = 256 << 10
WRITES = """
import sys
from pathlib import Path
from worker import child, protocol
from ddcore.machine.files import write_atomically
def act(run, writer, stop):
    for name in ("bundle.zip", "distilled.npz", "image_folder.zip"):
        write_atomically(run / name, bytes(%d))
    (run / "out").mkdir()
    header = b'{"images":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'
    write_atomically(run / "out" / "distilled.safetensors", len(header).to_bytes(8, "little") + header)
    for name in ("manifest.json", "preview.png"):
        write_atomically(run / "out" / name, b"{}")
    results = {"accuracy": None, "controls": {}}
    writer.send(protocol.Done(steps=10, finalized=False, results=results))
sys.exit(child.run("writing_engine", act, sys.argv[1:]))
"""


@pytest.fixture
def small() -> Iterator[Callable[[Path], None]]:
    """Puts a folder on a file system of 256 KiB."""
    with ExitStack() as mounted:
        yield lambda folder: mounted.enter_context(disks.small(folder, SIZE))


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, supervisor: Supervisor) -> Callable[[int], None]:
    """Lets the engine write files of some size, and patience end at once."""

    def write(size: int) -> None:
        (tmp_path / "writing_engine.py").write_text(WRITES % size)

    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    monkeypatch.setattr(module, "PATIENCE_S", 0.2)
    monkeypatch.setattr(module, "_PREPARE_PATIENCE_S", 0.2)
    supervisor.settings = supervisor.settings.model_copy(update={"engine_module": "writing_engine"})
    supervisor.launcher = Launcher(supervisor.settings, forks=False)  # it is a script, and another each time
    return write


def attempt(service: Cluster, supervisor: Supervisor, job_id: str) -> Job:
    with service.database.write() as session:
        session.execute(update(Job).where(Job.id == job_id).values(not_before=None))
    supervisor.supervise(claim(service, service.settings.lease_s))
    return service.job(job_id)


def expect_waiting(job: Job, waits: int) -> str:
    """The reason of a job that waits for room."""
    assert (job.status, job.failures, job.lost_step) == ("queued", 0, None), job.error
    assert job.not_before is not None
    assert job.error is not None
    assert (job.error["code"], job.error["retryable"], job.error["waits"]) == ("no_space", True, waits)
    return str(job.error["message"])


def test_frames_that_find_no_room_wait_in_memory_in_their_order(tmp_path: Path) -> None:
    frames = [Log(level="info", message=f"{number} {'x' * 3000}") for number in range(8)]
    with disks.small(tmp_path / "tiny", 8192):
        queue = SpooledQueue(tmp_path / "tiny" / "spool", limit=2)
        for frame in frames[:7]:
            queue.put(frame)
        assert (len(queue), len(queue._memory), len(queue._beyond)) == (7, 2, 3)
        taken = queue.take(1) + queue.take(2)
        queue.put(frames[7])
        while found := queue.take(2):
            taken += found
        assert taken == frames
        assert len(queue) == 0


def test_a_good_checkpoint_is_not_passed_over_for_want_of_room(
    service: Cluster, store: LocalStore, small: Callable[[Path], None]
) -> None:
    small(service.settings.runs_dir)
    blob = store.put_stream([bytes(2 * SIZE)])
    folder = RunFolder(service.settings.runs_dir, "job_1", 1)
    folder.create({})
    with pytest.raises(OSError) as caught:
        folder.restore(store, [SavedCheckpoint(10, blob.sha256, blob.size)])
    assert caught.value.errno == errno.ENOSPC


def test_an_engine_that_cannot_write_waits_and_goes_on_when_there_is_room(
    service: Cluster, supervisor: Supervisor, small: Callable[[Path], None], engine: Callable[[int], None]
) -> None:
    small(service.settings.runs_dir)
    engine(SIZE)
    job_id = service.submit(ring=False, iterations=10)
    for waits in range(1, service.settings.max_attempts + 2):
        message = expect_waiting(attempt(service, supervisor, job_id), waits)
        assert f"{SIZE:,} bytes are needed" in message
    engine(1000)
    job = attempt(service, supervisor, job_id)
    assert (job.status, job.failures, job.error) == ("succeeded", 0, None)


def test_a_worker_without_room_for_the_folder_waits(
    service: Cluster, supervisor: Supervisor, small: Callable[[Path], None], engine: Callable[[int], None]
) -> None:
    small(service.settings.runs_dir)
    filling = service.settings.runs_dir / "filling"
    engine(1000)
    job_id = service.submit(ring=False, iterations=10)
    with pytest.raises(OSError, match="No space left"):
        filling.write_bytes(bytes(2 * SIZE))
    message = expect_waiting(attempt(service, supervisor, job_id), 1)
    assert "0 on that of the worker" in message
    filling.unlink()
    assert (job := attempt(service, supervisor, job_id)).status == "succeeded", job.error


def test_a_store_without_room_for_the_result_waits(
    service: Cluster,
    supervisor: Supervisor,
    store: LocalStore,
    small: Callable[[Path], None],
    engine: Callable[[int], None],
) -> None:
    small(service.home / "artifacts")
    engine(2 * SIZE)
    job_id = service.submit(ring=False, iterations=10)
    message = expect_waiting(attempt(service, supervisor, job_id), 1)
    needed = re.search(r"the job needs ([\d,]+) bytes.* 262,144 on that of the store are free", message)
    assert needed is not None, message
    assert int(needed[1].replace(",", "")) > 6 * SIZE
    engine(1000)
    assert (job := attempt(service, supervisor, job_id)).status == "succeeded", job.error
