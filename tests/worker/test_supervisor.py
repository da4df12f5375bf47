"""An attempt from claim to end, without Celery: what goes wrong around the engine."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.core.storage import Blob, LocalStore, StorageError
from app.models.fleet import Worker
from app.models.jobs import Job
from app.queue import fleet, leases
from tests.chaos.expectations import assert_undisturbed
from tests.chaos.harness import ROOT, Cluster
from tests.worker.conftest import claim
from worker import supervisor as module
from worker.launching import Launcher
from worker.supervisor import Supervisor


def run(service: Cluster, supervisor: Supervisor, **fields: Any) -> Job:
    job_id = service.submit(ring=False, iterations=10, **fields)
    supervisor.supervise(claim(service, service.settings.lease_s))
    return service.job(job_id)


def odd_engine(
    folder: Path, monkeypatch: pytest.MonkeyPatch, supervisor: Supervisor, code: str, **settings: object
) -> None:
    """Let a few lines be the engine; ``finish(n)`` writes everything but the n-th file, and says it is done."""
    (folder / "odd_engine.py").write_text(
        "import os, sys\nfrom pathlib import Path\nfrom worker import protocol\nfrom worker.protocol import *\n"
        "run = Path(sys.argv[2]); writer = FrameWriter(int(sys.argv[4]))\n" + code
    )
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{ROOT}")
    changes = {"engine_module": "odd_engine", **settings}
    supervisor.settings = supervisor.settings.model_copy(update=changes)
    supervisor.launcher = Launcher(supervisor.settings, forks=False)  # it is a script


def test_a_job_is_run(service: Cluster, supervisor: Supervisor, store: LocalStore) -> None:
    job = run(service, supervisor)
    assert (job.status, job.step, job.results) == ("succeeded", 10, {"accuracy": None, "controls": {}})
    assert_undisturbed(service, job.id, steps=10)
    (images,) = service.artifacts(job.id, "synthetic_images")
    assert (images.shape, images.dtype, images.attempt) == ([32], "U8", 1)
    assert not (service.settings.runs_dir / job.id).exists()


@pytest.mark.parametrize(
    ("code", "error", "status"),
    [
        ("sys.exit(3)", "engine_lost", "queued"),
        ("os.abort()", "engine_lost", "queued"),
        ("sys.exit(76)", "out_of_memory", "queued"),
        ("writer.send(Failed(code='diverged', message='NaN', retryable=False)); sys.exit(1)", "diverged", "failed"),
        ("writer.send(Done(steps=1, finalized=False, results={}))", "incomplete_bundle", "queued"),
    ],
)
def test_an_engine_that_fails(
    service: Cluster, supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, error: str,
    status: str,
) -> None:  # fmt: skip
    odd_engine(tmp_path, monkeypatch, supervisor, f"print('trouble', flush=True)\n{code}")
    job = run(service, supervisor)
    assert job.status == status
    assert job.error is not None
    assert job.error["code"] == error
    log = service.log(job.id)
    assert [line.split(maxsplit=1)[1] for line in log if "output" in line] == ["#1 output  trouble"]
    assert f"attempt 1 is over: {job.error['message']} ({error})" in log[-1] or error == "incomplete_bundle"


def test_an_engine_that_cannot_be_started(service: Cluster, supervisor: Supervisor) -> None:
    supervisor.settings = supervisor.settings.model_copy(update={"engine_module": "no.such.module"})
    job = run(service, supervisor)
    assert (job.status, job.failures) == ("queued", 1)


def test_a_bug_in_the_supervisor_does_not_leave_the_job_hanging(
    service: Cluster, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(*_: object) -> None:
        raise KeyError("oops")

    monkeypatch.setattr("worker.sink.Sink.write", bug)
    job = run(service, supervisor)
    assert job.status == "queued"
    assert job.error is not None
    assert job.error["code"] == "supervisor_error"
    assert "oops" not in job.error["message"]
    assert service.engines() == []


def test_a_worker_that_loses_three_jobs_is_quarantined(
    service: Cluster, supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with service.database.write() as session:
        row = Worker(id="wrk_test", name="w", host="h", pid=1, device_class="cpu", facts={}, state="idle")
        fleet.register(session, row)
    odd_engine(tmp_path, monkeypatch, supervisor, "os.abort()")
    supervisor.settings = supervisor.settings.model_copy(update={"backoff_s": 60})
    for seed in range(3):
        run(service, supervisor, seed=seed)
    with service.database.read() as session:
        assert session.execute(select(Worker.state)).scalar_one() == "quarantined"


def test_a_store_that_is_down_for_a_moment_is_waited_for(
    service: Cluster, supervisor: Supervisor, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = store.put_file
    calls: list[str] = []

    def sometimes(path: Path) -> Blob:
        calls.append(path.name)
        if len(calls) in (1, 2, 5):
            raise StorageError("the store is down")
        return put(path)

    monkeypatch.setattr(store, "put_file", sometimes)
    job = run(service, supervisor)
    assert (job.status, job.failures) == ("succeeded", 0)
    assert_undisturbed(service, job.id, steps=10)


def test_a_store_that_stays_down_costs_an_attempt(
    service: Cluster, supervisor: Supervisor, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(path: Path) -> None:
        raise StorageError("the store is down")

    monkeypatch.setattr(store, "put_file", never)
    monkeypatch.setattr(module, "PATIENCE_S", 0.2)
    job = run(service, supervisor)
    assert (job.status, job.failures) == ("queued", 1)
    assert job.error is not None
    assert job.error["retryable"]


def test_a_database_that_is_away_for_a_moment_is_waited_for(
    service: Cluster, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = leases.hold
    calls: list[int] = []

    def sometimes(session: Session, job_id: str, fence: int, values: Mapping[str, Any]) -> bool:
        calls.append(1)
        if len(calls) in (1, 3, 4):
            raise OperationalError("update", {}, Exception("database is locked"))
        return real(session, job_id, fence, values)

    monkeypatch.setattr(leases, "hold", sometimes)
    job = run(service, supervisor)
    assert (job.status, job.failures) == ("succeeded", 0)
    assert_undisturbed(service, job.id, steps=10)


class Outage:
    """After the first write of an attempt none works for a while, heartbeats included."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        self._seconds = seconds
        self._until: float | None = None
        for name in ("hold", "heartbeat"):
            monkeypatch.setattr(leases, name, self._beset(getattr(leases, name)))

    def _beset(self, real: Any) -> Any:
        def write(*arguments: Any) -> Any:
            if self._until is None:
                self._until = time.monotonic() + self._seconds
            elif time.monotonic() < self._until:
                raise OperationalError("update", {}, Exception("database or disk is full"))
            return real(*arguments)

        return write


def test_a_worker_says_how_an_attempt_ended_after_an_outage_that_outlasts_the_lease(
    service: Cluster, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    Outage(monkeypatch, 1.5 * service.settings.lease_s)
    job = run(service, supervisor)
    assert (job.status, job.failures, job.attempt) == ("succeeded", 0, 1)
    assert_undisturbed(service, job.id, steps=10)


def test_a_worker_that_shuts_down_waits_for_no_database_beyond_the_lease(
    service: Cluster, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    Outage(monkeypatch, 3600)
    supervisor.draining = lambda: True
    begun = time.monotonic()
    job = run(service, supervisor)
    assert time.monotonic() - begun < 60
    assert (job.status, job.fence, job.failures) == ("running", 1, 0)


def test_a_job_that_was_taken_over_is_left_alone(service: Cluster, supervisor: Supervisor) -> None:
    job_id = service.submit(ring=False, iterations=10)
    claimed = claim(service, service.settings.lease_s)
    with service.database.write() as session:
        session.execute(update(Job).values(fence=Job.fence + 1).execution_options(synchronize_session=False))
    before = service.job(job_id)
    supervisor.supervise(claimed)
    assert service.job(job_id).version == before.version
    assert not (service.settings.runs_dir / job_id).exists()


def test_a_draining_worker_hands_the_job_back(service: Cluster, supervisor: Supervisor) -> None:
    supervisor.draining = lambda: True
    job = run(service, supervisor)
    assert (job.status, job.failures, job.attempt) == ("queued", 0, 1)
    assert job.error is None


def test_an_engine_that_takes_too_much_memory_ends_with_the_numbers(
    service: Cluster, supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
import time
from worker import child, engine_main
def greedy(run_dir, writer, stop):
    engine_main.limit_memory(writer)
    writer.send(Log(level="info", message=open("/proc/self/oom_score_adj").read()))
    held = []
    while True:
        held.append(bytearray(b"x" * 20_000_000))
        time.sleep(0.01)
sys.exit(child.run("odd_engine", greedy, sys.argv[1:]))
"""
    odd_engine(tmp_path, monkeypatch, supervisor, code, engine_memory_gb=0.4)
    job = run(service, supervisor)
    assert (job.status, job.out_of_memory) == ("queued", 1)
    assert job.error is None or "0.4 GB" in job.error["message"]
    events = [event.message for event in service.events(job.id)]
    assert any("needs more than 0.4 GB of main memory (DD_ENGINE_MEMORY_GB)" in message for message in events), events


FINALIZING = """
import hashlib, signal, time
tried = run.parent / "tried"
header = b'{"images":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
if len(list((run / "checkpoints").iterdir())) == 0:
    data = b"state"
    path = run / "checkpoints" / f"0000000004-{hashlib.sha256(data).hexdigest()}.safetensors"
    path.write_bytes(data)
else:
    path = next((run / "checkpoints").iterdir())
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
writer.send(PhaseStarted(phase="distilling", total=10))
if not tried.exists():
    writer.send(CheckpointSaved(step=4, name=path.name, sha256=hashlib.sha256(b"state").hexdigest()))
signal.sigwait([signal.SIGUSR1])
for _ in range(WRITING):
    time.sleep(0.1)
    writer.send(Progress(done=1, total=2))
if HANGS and not tried.exists():
    tried.touch()
    time.sleep(600)
(run / "out").mkdir()
(run / "out" / "distilled.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
for name in ("bundle.zip", "distilled.npz", "image_folder.zip", "out/manifest.json", "out/preview.png"):
    (run / name).write_bytes(b"x")
writer.send(Done(steps=4, finalized=True, results={"accuracy": None}))
"""
"""Saves a state, waits to be told to finalise, writes for a while, and perhaps hangs the first time."""


@pytest.mark.parametrize("fault", ["WRITING, HANGS = 12, False", "WRITING, HANGS = 0, True"], ids=["slow", "hangs"])
def test_images_that_a_cancellation_keeps_are_written_however_long_it_takes(
    service: Cluster, supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """Twice the grace on a busy machine; and where the engine hangs, from its last checkpoint."""
    odd_engine(tmp_path, monkeypatch, supervisor, f"{fault}\n{FINALIZING}")
    times = {"stop_grace_s": 0.5, "stall_s": 0.6, "poll_s": 0.05}
    supervisor.settings = supervisor.settings.model_copy(update=times)
    job_id = service.submit(ring=False, iterations=10)

    def cancel_once_saved() -> None:
        deadline = time.monotonic() + 60
        while service.job(job_id).checkpoint_step is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        service.cancel(job_id, keep_result=True)

    user = threading.Thread(target=cancel_once_saved)
    user.start()
    supervisor.supervise(claim(service, service.settings.lease_s))
    user.join(timeout=60)
    job = service.job(job_id)
    assert (job.status, job.results) == ("cancelled", {"accuracy": None})
    assert len(service.artifacts(job_id, "synthetic_images")) == 1


def test_a_cut_short_bundle_of_a_job_nobody_cancelled_counts_as_its_result(
    service: Cluster, supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody sent the engine a signal by hand; the images are what there is."""
    code = """
(run / "out").mkdir()
header = b'{"images":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
(run / "out" / "distilled.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
for name in ("bundle.zip", "distilled.npz", "image_folder.zip", "out/manifest.json", "out/preview.png"):
    (run / name).write_bytes(b"x")
writer.send(Done(steps=4, finalized=True, results={"accuracy": None}))
"""
    odd_engine(tmp_path, monkeypatch, supervisor, code)
    job = run(service, supervisor)
    assert (job.status, job.step) == ("succeeded", 4)
    assert json.loads(json.dumps(job.results)) == {"accuracy": None}
