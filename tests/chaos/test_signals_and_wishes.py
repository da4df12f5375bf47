"""Shutdowns, wishes of the user, and messages that are lost or come too often."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
import redis

from app.core.storage import open_store
from app.jobs.schemas import Limits
from app.queue import outbox
from tests.chaos.dummy_engine import BAD_DATA_SEED, DEAF_SEED
from tests.chaos.expectations import assert_undisturbed, events_of, expect_no_engine
from tests.chaos.harness import Cluster, WorkerProcess, cluster

LONG = 2000
ENDLESS = 1_000_000
STEPS = 40


def running(made: Cluster, job_id: str, step: int = 10) -> None:
    made.wait(job_id, lambda job: (job.checkpoint_step or 0) >= step)


def terminate(worker: WorkerProcess) -> int:
    return worker.terminate()


def terminate_all(worker: WorkerProcess) -> int:
    """As a service manager does that signals every process of a unit."""
    worker.signal(signal.SIGTERM)
    return worker.process.wait(60)


def terminate_twice(worker: WorkerProcess) -> int:
    worker.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    return worker.terminate()


SHUTDOWNS = {"once": (terminate, True), "all": (terminate_all, True), "twice": (terminate_twice, False)}
"""How a worker is told to stop, and whether it is told to take its time."""


@pytest.fixture(scope="module")
def shutdowns(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[None]]]:
    """Every way in a cluster of its own, side by side because each mostly waits."""
    with ThreadPoolExecutor(len(SHUTDOWNS)) as pool:
        yield {way: pool.submit(shut_down, tmp_path_factory.mktemp("shutdown"), way) for way in SHUTDOWNS}


def shut_down(folder: Path, way: str) -> None:
    stop, patient = SHUTDOWNS[way]
    with cluster(folder / "home") as made:
        job_id = made.submit(iterations=150)
        worker = made.worker()
        running(made, job_id)
        code = stop(worker)
        expect_no_engine(made)
        job = made.job(job_id)
        if patient:
            assert code == 0
            assert (job.status, job.attempt, job.failures) == ("queued", 1, 0)
        assert "Traceback" not in worker.log.read_text()
        made.worker()
        made.wait(job_id, "succeeded")
        assert_undisturbed(made, job_id, steps=150)


@pytest.mark.parametrize("way", SHUTDOWNS)
def test_a_shutdown_hands_the_job_back(shutdowns: dict[str, Future[None]], way: str) -> None:
    shutdowns[way].result()


def test_an_idle_worker_shuts_down(embedded: Cluster) -> None:
    worker = embedded.worker()
    wait_for_log(worker, "is ready for")
    began = time.monotonic()
    assert worker.terminate() == 0
    assert time.monotonic() - began < 10


def wait_for_log(worker: WorkerProcess, words: str, timeout: float = 60) -> None:
    give_up_at = time.monotonic() + timeout
    while words not in worker.log.read_text():
        assert time.monotonic() < give_up_at, worker.log.read_text()
        time.sleep(0.05)


def test_wishes_are_heard_while_the_engine_runs(embedded: Cluster) -> None:
    embedded.worker()

    cancelled = embedded.submit(iterations=LONG)
    running(embedded, cancelled)
    embedded.cancel(cancelled)
    job = embedded.wait(cancelled, "cancelled")
    assert (job.results, embedded.artifacts(cancelled, "bundle")) == (None, [])

    kept = embedded.submit(iterations=LONG)
    running(embedded, kept)
    embedded.cancel(kept, keep_result=True)
    job = embedded.wait(kept, "cancelled")
    assert job.results == {"accuracy": None, "controls": {}}
    (manifest,) = embedded.artifacts(kept, "manifest")
    assert json.loads(b"".join(open_store(embedded.settings).iter_range(manifest.sha256 or "")))["steps"] < LONG

    begun = embedded.submit(iterations=LONG)
    running(embedded, begun)
    embedded.pause(begun)
    at = embedded.wait(begun, "paused").checkpoint_step
    embedded.resume(begun)
    embedded.wait(begun, "running")
    embedded.cancel(begun, keep_result=True)  # before its engine has read the images
    embedded.wait(begun, "cancelled")
    (manifest,) = embedded.artifacts(begun, "manifest")
    assert json.loads(b"".join(open_store(embedded.settings).iter_range(manifest.sha256 or "")))["steps"] >= at

    paused = embedded.submit(iterations=120)
    running(embedded, paused)
    embedded.pause(paused)
    at = embedded.wait(paused, "paused").checkpoint_step
    expect_no_engine(embedded)
    embedded.resume(paused)
    job = embedded.wait(paused, "succeeded")
    assert (job.attempt, job.failures) == (2, 0)
    assert any(event.message == f"goes on after step {at}" for event in embedded.events(paused))
    assert_undisturbed(embedded, paused, steps=120)

    unreadable = embedded.submit(seed=BAD_DATA_SEED)
    job = embedded.wait(unreadable, "failed")
    assert job.error == {
        "code": "data_error", "message": "row 7 is no image", "param": None, "retryable": False, "attempt": 1,
    }  # fmt: skip
    embedded.assert_invariants()


def test_an_engine_that_does_not_listen_is_killed_after_the_grace(embedded: Cluster) -> None:
    embedded.worker()
    job_id = embedded.submit(seed=DEAF_SEED, iterations=LONG)
    running(embedded, job_id)
    embedded.pause(job_id)
    job = embedded.wait(job_id, "paused")
    assert job.failures == 0
    expect_no_engine(embedded)
    embedded.assert_invariants()


def test_a_worker_dies_before_it_can_pause(embedded: Cluster) -> None:
    worker = embedded.worker()
    job_id = embedded.submit(seed=DEAF_SEED, iterations=80)
    running(embedded, job_id)
    embedded.pause(job_id)
    worker.kill()
    embedded.worker()
    embedded.wait(job_id, "paused")
    embedded.resume(job_id)
    embedded.wait(job_id, "succeeded")
    assert_undisturbed(embedded, job_id, steps=80, seed=DEAF_SEED)


def test_the_running_time_is_limited(embedded: Cluster) -> None:
    """At a limit in which the engine surely begins, as a job before took a third of it on the same machine."""
    embedded.worker()
    short = embedded.wait(embedded.submit(iterations=10), "succeeded")
    assert short.started_at is not None
    assert short.finished_at is not None
    limit_s = 3 * (short.finished_at - short.started_at).total_seconds()

    job_id = embedded.submit(iterations=ENDLESS, limits=Limits(max_runtime_s=limit_s, ignore_estimate=True))
    job = embedded.wait(job_id, "expired", timeout=60 + limit_s)
    assert job.error is not None
    assert job.error["code"] == "max_runtime_exceeded"
    assert job.checkpoint_step is not None
    assert job.started_at is not None
    assert job.finished_at is not None
    assert (job.finished_at - job.started_at).total_seconds() >= limit_s
    embedded.assert_invariants()


def test_ten_doorbells_are_one_job(embedded: Cluster) -> None:
    job_id = embedded.submit(iterations=STEPS, ring=False)
    for _ in range(10):
        assert outbox.ring(embedded.settings, ["cpu"])
    worker = embedded.worker()
    embedded.wait(job_id, "succeeded")
    give_up_at = time.monotonic() + 60
    while worker.log.read_text().count("succeeded in") < 11:
        assert time.monotonic() < give_up_at, worker.log.read_text()
        time.sleep(0.05)
    assert embedded.job(job_id).attempt == 1
    assert_undisturbed(embedded, job_id, steps=STEPS)


def test_all_messages_are_lost(embedded: Cluster) -> None:
    jobs = {seed: embedded.submit(seed=seed, iterations=10) for seed in (1, 2)}
    shutil.rmtree(embedded.settings.broker_dir)
    worker = embedded.worker()
    wait_for_log(worker, "is ready for")
    shutil.rmtree(embedded.settings.broker_dir)
    jobs[3] = embedded.submit(seed=3, iterations=10)
    for job_id in jobs.values():
        embedded.wait(job_id, "succeeded")
    for seed, job_id in jobs.items():
        assert_undisturbed(embedded, job_id, steps=10, seed=seed)


@pytest.mark.postgres
@pytest.mark.redis
def test_redis_forgets_everything(production: Cluster, redis_url: str) -> None:
    worker = production.worker()
    wait_for_log(worker, "is ready for")
    jobs = {seed: production.submit(seed=seed, iterations=20) for seed in (1, 2, 3)}
    client = redis.Redis.from_url(redis_url)
    client.flushdb()
    client.close()
    for job_id in jobs.values():
        production.wait(job_id, "succeeded")
    for seed, job_id in jobs.items():
        assert_undisturbed(production, job_id, steps=20, seed=seed)


def test_two_reconcilers_recover_a_job_once(tmp_path: Path) -> None:
    with cluster(tmp_path / "home", DD_RECONCILER="external") as made:
        job_id = made.submit(iterations=60)
        doomed = made.worker()
        for _ in range(2):
            made.reconciler()
        running(made, job_id)
        doomed.kill()
        job = made.wait(job_id, lambda job: job.status == "queued")
        assert job.fence == 2
        made.survivor()
        job = made.wait(job_id, "succeeded")
        assert (job.attempt, job.fence) == (2, 3)
        assert len(events_of(made, job_id, "attempt.lost")) == 1
        assert_undisturbed(made, job_id, steps=60)
