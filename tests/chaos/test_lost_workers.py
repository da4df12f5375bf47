"""Workers and engines that die at every moment of a job; the result is that of an undisturbed run."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text

from app.core.database import BUSY_TIMEOUT_MS
from app.core.storage import key_of
from tests.chaos.dummy_engine import DEAF_SEED, HANG_SEED, POISON_SEED
from tests.chaos.expectations import assert_undisturbed, events_of, expect_no_engine
from tests.chaos.harness import Cluster, cluster, eventually

STEPS = 40
SIDE_BY_SIDE = 4


DEATHS = {
    "task.entry:killgroup": 1,
    "claim.after:killgroup": 2,
    "spawn.before:killgroup": 2,
    "sink.write:killgroup:4": 2,
    "heartbeat:killgroup:2": 2,
    "finish.before:killgroup": 2,
    "finish.stored:killgroup": 2,
    "finish.after:killgroup": 1,
}
"""Where the first worker dies, and the attempts that the job then takes."""


@pytest.fixture(scope="module")
def deaths(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[None]]]:
    """Every death in a cluster of its own, several side by side because each mostly waits."""
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        yield {fault: pool.submit(die, tmp_path_factory.mktemp("death"), fault) for fault in DEATHS}


def die(folder: Path, fault: str) -> None:
    with cluster(folder / "home") as made:
        job_id = made.submit(iterations=STEPS)
        made.worker(fault).process.wait(60)
        expect_no_engine(made)
        made.survivor()
        job = made.wait(job_id, "succeeded")
        assert job.attempt == DEATHS[fault]
        assert len(events_of(made, job_id, "attempt.lost")) == DEATHS[fault] - 1
        assert_undisturbed(made, job_id, steps=STEPS)


@pytest.mark.parametrize("fault", DEATHS)
def test_a_worker_is_killed(deaths: dict[str, Future[None]], fault: str) -> None:
    deaths[fault].result()


def test_a_worker_is_killed_from_outside_in_the_middle(embedded: Cluster) -> None:
    job_id = embedded.submit(iterations=STEPS)
    doomed = embedded.worker()
    embedded.wait(job_id, lambda job: (job.checkpoint_step or 0) >= 10)
    doomed.kill()
    expect_no_engine(embedded)
    embedded.survivor()
    embedded.wait(job_id, "succeeded")
    (resumed,) = [event for event in events_of(embedded, job_id, "job.log") if "goes on after" in event.message]
    assert resumed.data["step"] >= 10
    assert_undisturbed(embedded, job_id, steps=STEPS)
    # What the killed worker had stored is there, and all of it comes before what the next one says.
    attempts = [line.split()[1] for line in embedded.log(job_id)]
    assert attempts == sorted(attempts)
    assert set(attempts) == {"#1", "#2"}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_only_the_engine_is_killed(embedded: Cluster, number: signal.Signals) -> None:
    job_id = embedded.submit(iterations=STEPS)
    embedded.survivor()
    embedded.wait(job_id, lambda job: (job.checkpoint_step or 0) >= 10)
    (engine,) = embedded.engines()
    os.kill(engine, number)
    job = embedded.wait(job_id, "succeeded")
    assert job.attempt == 2
    (lost,) = events_of(embedded, job_id, "attempt.lost")
    assert number.name in lost.message
    assert_undisturbed(embedded, job_id, steps=STEPS)


def test_an_engine_dies_while_it_writes_checkpoints(tmp_path: Path) -> None:
    """Each attempt saves one checkpoint and dies in the next, so each begins five steps later."""
    with cluster(tmp_path / "home", DD_MAX_ATTEMPTS="9") as made:
        job_id = made.submit(iterations=20)
        made.worker("engine.checkpoint:kill9:2")
        job = made.wait(job_id, "succeeded")
        assert job.attempt == 4
        assert_undisturbed(made, job_id, steps=20)


def test_the_newest_checkpoint_rots(embedded: Cluster) -> None:
    job_id = embedded.submit(iterations=STEPS)
    doomed = embedded.worker()
    embedded.wait(job_id, lambda job: (job.checkpoint_step or 0) >= 15)
    doomed.kill()
    newest = max(embedded.artifacts(job_id, "checkpoint"), key=lambda artifact: artifact.step or 0)
    assert newest.sha256 is not None
    copies = [embedded.home / "artifacts" / key_of(newest.sha256)]
    copies += [path for path in (embedded.home / "runs").rglob(f"*{newest.sha256}*") if path.is_file()]
    for path in copies:
        data = path.read_bytes()
        path.unlink()  # not in place: the names may be links to one file
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    embedded.survivor()
    embedded.wait(job_id, "succeeded")
    assert any("cannot be used" in event.message for event in events_of(embedded, job_id, "job.warning"))
    (resumed,) = [event for event in events_of(embedded, job_id, "job.log") if "goes on after" in event.message]
    assert resumed.data["step"] < (newest.step or 0)
    assert_undisturbed(embedded, job_id, steps=STEPS)


def test_a_hanging_engine_is_ended_and_its_job_tried_again(tmp_path: Path) -> None:
    with cluster(tmp_path / "home", DD_STALL_S="0.2") as made:
        job_id = made.submit(seed=HANG_SEED, iterations=STEPS)
        made.survivor()
        job = made.wait(job_id, "succeeded")
        assert job.attempt == 2
        assert any("stalled" in event.message for event in events_of(made, job_id, "job.warning"))
        assert_undisturbed(made, job_id, steps=STEPS, seed=HANG_SEED)


def test_poison_does_not_keep_others_from_running(embedded: Cluster) -> None:
    poison = embedded.submit(seed=POISON_SEED, iterations=STEPS)
    good = {seed: embedded.submit(seed=seed, iterations=10) for seed in (2, 3)}
    embedded.survivor()
    job = embedded.wait(poison, "failed")
    assert job.error is not None
    assert (job.error["code"], job.attempt) == ("poison", 2)
    for job_id in good.values():
        embedded.wait(job_id, "succeeded")
    for seed, job_id in good.items():
        assert_undisturbed(embedded, job_id, steps=10, seed=seed)


def test_a_zombie_worker_changes_nothing(embedded: Cluster) -> None:
    job_id = embedded.submit(iterations=80)
    zombie = embedded.worker()
    embedded.wait(job_id, lambda job: (job.checkpoint_step or 0) >= 10)
    embedded.freeze(zombie)
    embedded.survivor()
    job = embedded.wait(job_id, "succeeded")
    zombie.signal(signal.SIGCONT)
    expect_no_engine(embedded)
    time.sleep(0.5)
    after = embedded.job(job_id)
    assert (after.version, after.fence, after.attempt) == (job.version, 3, 2)
    assert_undisturbed(embedded, job_id, steps=80)


@pytest.mark.postgres
@pytest.mark.redis
def test_a_worker_stopped_amid_a_write_holds_nobody_up(production: Cluster) -> None:
    """PostgreSQL takes its locks away; until then, others get on with their jobs."""
    job_id = production.submit(iterations=STEPS)
    zombie = production.worker("sink.write:stop:4")
    eventually(zombie.stopped)
    other = production.submit(seed=2, iterations=10)
    production.survivor()
    production.wait(other, "succeeded")
    job = production.wait(job_id, "succeeded")
    assert job.attempt == 2
    zombie.signal(signal.SIGCONT)
    expect_no_engine(production)
    time.sleep(0.5)
    assert production.job(job_id).version == job.version
    assert_undisturbed(production, job_id, steps=STEPS)


def test_a_worker_stopped_amid_a_write_stops_sqlite_until_it_is_gone(embedded: Cluster) -> None:
    """A worker that begins meanwhile waits, longer than for one transaction, and then takes the job over."""
    job_id = embedded.submit(iterations=STEPS)
    zombie = embedded.worker("sink.write:stop:4")
    eventually(zombie.stopped)
    heir = embedded.survivor()
    time.sleep(BUSY_TIMEOUT_MS / 1000 + 3)
    assert heir.process.poll() is None
    zombie.kill()
    assert embedded.wait(job_id, "succeeded").attempt == 2
    assert_undisturbed(embedded, job_id, steps=STEPS)


def test_a_locked_database_outlasts_the_lease(embedded: Cluster) -> None:
    """The engine is stopped before another worker could claim the job, and nothing is lost."""
    job_id = embedded.submit(seed=DEAF_SEED, iterations=250)
    embedded.worker()
    embedded.wait(job_id, lambda job: (job.checkpoint_step or 0) >= 10)
    with embedded.database.write() as session:
        session.execute(text("SELECT 1"))  # the lock is taken with the first statement
        expect_no_engine(embedded, timeout=4)
    embedded.wait(job_id, "succeeded")
    assert not events_of(embedded, job_id, "attempt.lost")
    assert_undisturbed(embedded, job_id, steps=250, seed=DEAF_SEED)


@pytest.mark.postgres
@pytest.mark.redis
def test_two_workers_share_the_jobs_and_one_is_killed(production: Cluster) -> None:
    jobs = {seed: production.submit(seed=seed, iterations=STEPS, ring=False) for seed in range(1, 6)}
    doomed = production.worker()
    production.worker()
    victim = jobs[1]
    production.wait(victim, lambda job: (job.checkpoint_step or 0) >= 10)
    if production.worker_row(victim).pid != doomed.process.pid:
        doomed = production.workers[1]
    doomed.kill()
    for job_id in jobs.values():
        production.wait(job_id, "succeeded")
    for seed, job_id in jobs.items():
        assert_undisturbed(production, job_id, steps=STEPS, seed=seed)
    assert production.job(victim).attempt == 2


@pytest.mark.postgres
@pytest.mark.redis
def test_a_worker_dies_between_storing_and_finishing_on_postgres(production: Cluster) -> None:
    job_id = production.submit(iterations=STEPS)
    production.worker("finish.stored:killgroup").process.wait(60)
    production.worker()
    production.wait(job_id, "succeeded")
    assert_undisturbed(production, job_id, steps=STEPS)
