"""The parts of a worker around the supervisor: claiming, announcing, draining, starting."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import delete, select
from sqlalchemy.exc import OperationalError

from app import migrate
from app.core.database import Database
from app.core.settings import Settings
from app.core.storage import LocalStore
from app.migrate import SchemaError
from app.models.fleet import Worker
from app.queue import fleet
from tests.chaos.harness import ROOT, Cluster
from worker import attendance, celery_app
from worker.attendance import Attendance, detect_device_class
from worker.database_gate import await_database
from worker.draining import Drain
from worker.launching import Launcher
from worker.tasks import Post

WORKER = "wrk_test"


@pytest.fixture
def present(service: Cluster) -> Attendance:
    made = Attendance(service.settings, service.database, WORKER, "cpu-1@host", "cpu")
    made.register()
    return made


@pytest.fixture
def post(service: Cluster, present: Attendance, launcher: Launcher) -> Post:
    store = LocalStore(service.home / "artifacts")
    return Post(service.settings, service.database, store, WORKER, "cpu", Drain(service.home, WORKER), launcher)


def state(service: Cluster) -> str:
    with service.database.read() as session:
        return session.execute(select(Worker.state)).scalar_one()


def test_a_doorbell_is_one_job(service: Cluster, post: Post) -> None:
    jobs = [service.submit(ring=False, iterations=5) for _ in range(2)]
    assert post.answer()
    assert [service.job(job_id).status for job_id in jobs] == ["succeeded", "queued"]
    assert state(service) == "idle"
    assert post.answer()
    assert not post.answer()


def test_the_cache_is_cut_down_after_a_job(service: Cluster, post: Post) -> None:
    old = service.settings.cache_dir / "teachers" / "old"
    old.mkdir(parents=True)
    os.utime(old, (0, 0))
    service.submit(ring=False, iterations=5)
    assert post.answer()
    assert old.exists()
    strict = replace(post, settings=post.settings.model_copy(update={"cache_limit_gb": 0}))
    service.submit(ring=False, iterations=5)
    assert strict.answer()
    assert not old.exists()


def test_who_may_not_claim_does_not(service: Cluster, post: Post) -> None:
    job_id = service.submit(ring=False, iterations=5)
    post.drain.begin()
    assert not post.answer()
    post.drain.end()
    with service.database.write() as session:
        fleet.set_state(session, WORKER, "quarantined")
    assert not post.answer()
    with service.database.write() as session:
        session.execute(delete(Worker))
    assert not post.answer()
    assert service.job(job_id).attempt == 0


def test_a_doorbell_for_nothing_is_quick(post: Post) -> None:
    post.answer()
    began = time.monotonic()
    for _ in range(10):
        assert not post.answer()
    assert time.monotonic() - began < 0.5


def test_sigterm_drains_while_a_job_runs_and_kills_otherwise(tmp_path: Path) -> None:
    drain = Drain(tmp_path, WORKER)
    before = signal.getsignal(signal.SIGTERM)
    with drain.heeding_sigterm():
        assert not drain()
        os.kill(os.getpid(), signal.SIGTERM)
        assert drain()
    assert signal.getsignal(signal.SIGTERM) == before
    assert not Drain(tmp_path, WORKER)()


def test_a_worker_announces_itself_and_comes_back_when_it_was_forgotten(service: Cluster, present: Attendance) -> None:
    with service.database.read() as session:
        row = session.execute(select(Worker)).scalar_one()
    assert (row.id, row.name, row.device_class, row.state, row.pid) == (
        WORKER,
        "cpu-1@host",
        "cpu",
        "idle",
        os.getpid(),
    )
    assert row.facts["version"]
    with service.database.write() as session:
        session.execute(delete(Worker))
    ended = threading.Event()
    thread = threading.Thread(target=present.run, args=(ended,))
    thread.start()
    time.sleep(service.settings.heartbeat_s * 2)
    ended.set()
    thread.join()
    assert state(service) == "idle"
    present.say("stopped")
    assert state(service) == "stopped"


def test_a_worker_that_sits_idle_beside_work_ends(
    service: Cluster, present: Attendance, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ended(BaseException):
        pass

    def end(code: int) -> None:
        raise Ended(code)

    monkeypatch.setattr(attendance, "_IDLE_BESIDE_WORK_S", 0.5)
    monkeypatch.setattr(os, "_exit", end)
    service.submit(ring=False)
    with pytest.raises(Ended, match="1"):
        present.run(threading.Event())


def test_a_busy_worker_beside_work_is_no_trouble(
    service: Cluster, present: Attendance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attendance, "_IDLE_BESIDE_WORK_S", 0.0)
    monkeypatch.setattr(os, "_exit", lambda _: pytest.fail("it ended"))
    service.submit(ring=False)
    present.say("busy")
    ended = threading.Event()
    threading.Timer(1.5, ended.set).start()
    present.run(ended)


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho NVIDIA H200\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tool


def test_a_gpu_is_found_by_its_driver(driver: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(home=tmp_path)
    assert attendance.gpus() == ["NVIDIA H200"]
    assert detect_device_class(settings) == "cuda"
    assert detect_device_class(settings.model_copy(update={"device_class": "cpu"})) == "cpu"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert detect_device_class(settings) == "cpu"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    driver.write_text("#!/bin/sh\necho no driver loaded; exit 9\n")
    assert detect_device_class(settings) == "cpu"


def test_a_worker_says_how_much_memory_jobs_can_take(driver: Path, tmp_path: Path) -> None:
    """That of each GPU by its driver, and of the machine, or less where its control group allows less."""
    driver.write_text("#!/bin/sh\n[ $1 = --query-gpu=memory.total ] && printf '143771\\n81559\\n'\n")
    assert attendance.gpu_memory() == [143_771 * 2**20, 81_559 * 2**20]
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    whole = attendance.machine_memory(tmp_path)
    assert whole == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit, most in (("max", whole), (str(2**62), whole), ("1000000000", 1_000_000_000)):
        (group / "memory.max").write_text(f"{limit}\n")
        assert attendance.machine_memory(tmp_path) == most


def test_a_worker_waits_for_the_schema_and_then_says_what_is_wrong(tmp_path: Path) -> None:
    database = Database(Settings(home=tmp_path))
    with pytest.raises(SchemaError, match="migrate"):
        await_database(partial(migrate.check, database), threading.Event(), wait_s=0.2)
    ended = threading.Event()
    ended.set()
    await_database(partial(migrate.check, database), ended)
    database.dispose()


BUSY = OperationalError("BEGIN", None, Exception("database is locked"))
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "pepper")


@pytest.mark.parametrize("error", [BUSY, FULL])
def test_a_worker_waits_for_a_busy_database_and_for_room(error: Exception) -> None:
    faults = [error]

    def enter() -> str:
        if faults:
            raise faults.pop()
        return "entered"

    assert await_database(enter, threading.Event()) == "entered"


@pytest.mark.parametrize(
    ("error", "said"),
    [(BUSY, r"does not answer \(OperationalError\)"), (FULL, "cannot be used: .*No space left on device: 'pepper'")],
)
def test_what_stays_so_is_given_up(error: Exception, said: str) -> None:
    def enter() -> None:
        raise error

    with pytest.raises(SchemaError, match=said):
        await_database(enter, threading.Event(), wait_s=0.1)


def test_celery_is_set_up_for_doorbells(tmp_path: Path) -> None:
    folder = celery_app.configuration(Settings(home=tmp_path))
    assert folder["task_acks_late"] is True
    assert folder["worker_prefetch_multiplier"] == 1
    assert folder["task_reject_on_worker_lost"] is False
    assert folder["worker_cancel_long_running_tasks_on_connection_loss"] is False
    assert folder["result_backend"] is None
    assert folder["accept_content"] == ["json"]
    assert folder["worker_enable_remote_control"] is False
    assert (tmp_path / "broker" / "queue").stat().st_mode & 0o777 == 0o700
    redis = celery_app.configuration(Settings(home=tmp_path, broker_url="redis://127.0.0.1/9"))
    assert redis["broker_transport"] is None
    assert redis["broker_transport_options"]["visibility_timeout"] == 3600
    assert redis["worker_enable_remote_control"] is True


@pytest.mark.parametrize("module", ["worker", "worker.reconciler"])
def test_wrong_settings_are_named_without_a_traceback(module: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", module], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
        env={"PATH": os.environ["PATH"], "DD_HOME": str(tmp_path), "DD_LEASE_S": "-3"},
    )  # fmt: skip
    assert ended.returncode == 2
    assert "DD_LEASE_S" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_database_that_is_away_costs_a_doorbell_not_the_worker(
    service: Cluster, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise OperationalError("select", {}, Exception("away"))

    job_id = service.submit(ring=False, iterations=5)
    with monkeypatch.context() as patched:
        patched.setattr("worker.tasks.leases.claim", away)
        assert not post.answer()
    with monkeypatch.context() as patched:
        patched.setattr("worker.tasks.Post._rest", lambda _: None)
        assert post.answer()
    assert (service.job(job_id).status, state(service)) == ("succeeded", "busy")
    assert not post.answer()
    assert state(service) == "idle"
