"""Claims, heartbeats and fences, on both databases."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import select, update

from app.core.database import Database
from app.core.ids import new_id
from app.core.tables import clock
from app.models.artifacts import Artifact, Blob
from app.models.events import Event
from app.models.jobs import Job, Outbox
from app.models.keys import Tenant
from app.models.states import State
from app.queue import checkpoints, endings, leases
from app.queue.checkpoints import SavedCheckpoint
from app.queue.leases import Claim
from app.queue.retries import Failure
from app.queue.states import Actor, transition
from ddcore.spec.results import Results

BACKENDS = ("sqlite", "postgres")

AddJob = Callable[..., str]
CRASH = Failure("engine_lost", "killed", retryable=True, lost=True)
FULL = Failure("no_space", "the disk is full: 9 bytes are needed, and 3 are free", retryable=True)
BAD_DATA = Failure("data_error", "row 7 is no image", retryable=False)


def claim(database: Database, device_class: str = "cpu", lease_s: float = 60.0) -> Claim | None:
    with database.write() as session:
        return leases.claim(session, "wrk_1", device_class, lease_s)


def claimed(database: Database, lease_s: float = 60.0) -> Claim:
    found = claim(database, lease_s=lease_s)
    assert found is not None
    return found


def job(database: Database, job_id: str) -> Job:
    with database.read() as session:
        return session.execute(select(Job).where(Job.id == job_id)).scalar_one()


def move(database: Database, job_id: str, to: State) -> None:
    with database.write() as session:
        assert transition(session, job_id, to, Actor.API)


def change(database: Database, job_id: str, **values: Any) -> None:
    with database.write() as session:
        session.execute(update(Job).where(Job.id == job_id).values(values).execution_options(synchronize_session=False))


def test_a_claim_takes_the_job_under_a_new_fence(database: Database, add_job: AddJob) -> None:
    job_id = add_job()
    taken = claimed(database)
    assert (taken.job_id, taken.fence, taken.attempt, taken.runtime_left_s) == (job_id, 1, 1, 3600)
    row = job(database, job_id)
    assert (row.status, row.owner, row.fence, row.attempt) == ("running", "wrk_1", 1, 1)
    assert row.lease_until is not None
    assert row.heartbeat_at is not None
    assert abs((row.lease_until - row.heartbeat_at).total_seconds() - 60) < 5
    assert claim(database) is None


def test_the_order_is_priority_then_fairness_then_age(database: Database, add_job: AddJob) -> None:
    with database.write() as session:
        session.add(Tenant(id="rival", name="Rival"))
    old, young = add_job(), add_job()
    urgent = add_job(priority=9)
    rivals = add_job(tenant_id="rival")
    assert [claimed(database).job_id for _ in range(4)] == [urgent, rivals, old, young]


@pytest.mark.parametrize(
    "columns",
    [
        {"device_class": "cuda"},
        {"status": "paused"},
        {"deleted_at": clock()},
        {"not_before": clock(60)},
        {"queued_at": clock(-3601)},
    ],
)
def test_what_is_not_claimed(database: Database, add_job: AddJob, columns: dict[str, Any]) -> None:
    change(database, add_job(), **columns)
    with database.read() as session:
        assert not leases.runnable(session, "cpu")
    assert claim(database) is None


def test_a_worker_with_a_gpu_takes_every_kind(database: Database, add_job: AddJob) -> None:
    expected = {add_job(device_class=name) for name in ("any", "cpu", "cuda")}
    assert {taken.job_id for _ in range(3) if (taken := claim(database, "cuda"))} == expected


def test_a_tenant_runs_no_more_than_it_may(database: Database, add_job: AddJob) -> None:
    with database.write() as session:
        session.add(Tenant(id="rival", name="Rival", max_running=1))
    first, second = add_job(tenant_id="rival"), add_job(tenant_id="rival")
    taken = claimed(database)
    assert taken.job_id == first
    assert claim(database) is None
    with database.write() as session:
        assert endings.release(session, taken, "drained")
    assert claimed(database).job_id in (first, second)


def test_many_claim_at_once_and_each_job_goes_to_one(database: Database, add_job: AddJob) -> None:
    with database.write() as session:
        session.add(Tenant(id="rival", name="Rival", max_running=3))
    jobs = {add_job() for _ in range(12)} | {add_job(tenant_id="rival") for _ in range(8)}

    def work(_: int) -> list[str]:
        taken = []
        while found := claim(database):
            taken.append(found.job_id)
        return taken

    with ThreadPoolExecutor(4) as pool:
        taken = [job_id for found in pool.map(work, range(4)) for job_id in found]
    assert len(taken) == len(set(taken)) == 12 + 3
    assert set(taken) <= jobs


def test_a_heartbeat_renews_and_tells_the_wish(database: Database, add_job: AddJob) -> None:
    taken = claimed_after(database, add_job, lease_s=5)
    before = job(database, taken.job_id)
    change(database, taken.job_id, desired="cancel", keep_result=True)
    with database.write() as session:
        wish = leases.heartbeat(session, taken.job_id, taken.fence, 60)
    assert wish == leases.Wish("cancel", keep_result=True)
    after = job(database, taken.job_id)
    assert after.lease_until is not None
    assert before.lease_until is not None
    assert (after.lease_until - before.lease_until).total_seconds() > 50
    assert after.version == before.version


def claimed_after(database: Database, add_job: AddJob, lease_s: float = 60.0, **columns: Any) -> Claim:
    add_job(**columns)
    return claimed(database, lease_s)


def test_an_old_fence_writes_nothing(database: Database, add_job: AddJob) -> None:
    taken = claimed_after(database, add_job)
    change(database, taken.job_id, fence=2)
    before = job(database, taken.job_id)
    with database.write() as session:
        assert leases.heartbeat(session, taken.job_id, taken.fence, 60) is None
        assert leases.wish(session, taken.job_id, taken.fence) is None
        assert not leases.hold(session, taken.job_id, taken.fence, {"step": 5})
        assert not endings.succeed(session, taken, "done", {})
        assert not endings.cancel(session, taken, None)
        assert not endings.release(session, taken, "drained")
        assert not endings.expire(session, taken)
        assert endings.fail(session, taken, CRASH, 0) is None
    after = job(database, taken.job_id)
    assert (after.version, after.event_seq, after.lease_until) == (before.version, before.event_seq, before.lease_until)


def checkpoint(database: Database, taken: Claim, step: int) -> None:
    digest = f"{step:064x}"
    artifact = new_id("art")
    with database.write() as session:
        session.add(Blob(sha256=digest, size=1))
        session.flush()
        session.add(
            Artifact(
                id=artifact, tenant_id=taken.tenant_id, job_id=taken.job_id, attempt=taken.attempt, fence=taken.fence,
                kind="checkpoint", name="c", media_type="x/y", sha256=digest, size=1, state="ready",
            )
        )  # fmt: skip
        session.flush()
        assert leases.hold(session, taken.job_id, taken.fence, {})
        leases.record_checkpoint(session, taken, SavedCheckpoint(step, digest, 1), artifact, {"loss": None})


def test_the_newest_two_checkpoints_stay(database: Database, add_job: AddJob) -> None:
    taken = claimed_after(database, add_job)
    for step in (10, 20, 30):
        checkpoint(database, taken, step)
    with database.read() as session:
        assert [saved.step for saved in checkpoints.newest_first(session, taken.job_id)] == [30, 20]
        assert checkpoints.known(session, taken.job_id, f"{30:064x}")
        assert not checkpoints.known(session, taken.job_id, f"{10:064x}")
        states = dict(session.execute(select(Artifact.sha256, Artifact.state)).all())
    assert states == {f"{10:064x}": "deleted", f"{20:064x}": "ready", f"{30:064x}": "ready"}
    assert job(database, taken.job_id).checkpoint_step == 30


def test_from_scratch_forgets_the_checkpoints_once(database: Database, add_job: AddJob) -> None:
    taken = claimed_after(database, add_job)
    checkpoint(database, taken, 10)
    with database.write() as session:
        assert endings.release(session, taken, "drained")
    change(database, taken.job_id, from_scratch=True)
    again = claimed(database)
    row = job(database, again.job_id)
    assert (again.attempt, row.from_scratch, row.checkpoint_step) == (2, False, None)
    with database.read() as session:
        assert checkpoints.newest_first(session, again.job_id) == []


@pytest.mark.parametrize(
    ("wish", "end"), [(None, "queued"), (State.PAUSING, "paused"), (State.CANCELLING, "cancelled")]
)
def test_a_stopped_job_goes_where_the_user_wants_it(
    database: Database, add_job: AddJob, wish: State | None, end: str
) -> None:
    taken = claimed_after(database, add_job)
    if wish is not None:
        move(database, taken.job_id, wish)
    with database.write() as session:
        assert endings.release(session, taken, "drained")
        owed = session.execute(select(Outbox)).scalars().all()
    row = job(database, taken.job_id)
    assert (row.status, row.failures, row.owner, row.lease_until) == (end, 0, None, None)
    assert len(owed) == (1 if end == "queued" else 0)


@pytest.mark.parametrize(
    ("wish", "end"), [(None, "paused"), (State.PAUSING, "paused"), (State.CANCELLING, "cancelled")]
)
def test_a_job_that_is_held_waits_until_it_may_go_on(
    database: Database, add_job: AddJob, wish: State | None, end: str
) -> None:
    taken = claimed_after(database, add_job, hold_at=10)
    assert taken.hold_at == 10
    if wish is not None:
        move(database, taken.job_id, wish)
    with database.write() as session:
        assert endings.release(session, taken, "held", held=True)
        owed = session.execute(select(Outbox)).scalars().all()
    row = job(database, taken.job_id)
    assert (row.status, row.failures, row.owner, row.hold_at, owed) == (end, 0, None, 10, [])
    if end == "cancelled":
        return
    with database.write() as session:
        assert transition(session, taken.job_id, State.QUEUED, Actor.RECONCILER, values={"hold_at": None})
    assert claimed(database).hold_at is None


@pytest.mark.parametrize(
    ("wish", "failure", "end"),
    [
        (None, CRASH, "queued"),
        (None, BAD_DATA, "failed"),
        (State.PAUSING, CRASH, "paused"),
        (State.PAUSING, BAD_DATA, "failed"),
        (State.CANCELLING, CRASH, "cancelled"),
        (State.CANCELLING, BAD_DATA, "cancelled"),
    ],
)
def test_a_failed_attempt(database: Database, add_job: AddJob, wish: State | None, failure: Failure, end: str) -> None:
    taken = claimed_after(database, add_job)
    if wish is not None:
        move(database, taken.job_id, wish)
    with database.write() as session:
        assert endings.fail(session, taken, failure, 0.0) is not None
    row = job(database, taken.job_id)
    assert row.status == end
    assert row.failures == (0 if end == "failed" else 1)
    assert (row.error is None) == (end == "cancelled")


def test_two_losses_without_progress_are_poison_and_a_checkpoint_between_them_is_progress(
    database: Database, add_job: AddJob
) -> None:
    job_id = add_job(max_attempts=3)
    advancing = [(step, "queued") for step in range(10, 60, 10)]
    for step, status in ((None, "queued"), *advancing, (None, "failed")):
        taken = claimed(database)
        if step is not None:
            checkpoint(database, taken, step)
        with database.write() as session:
            endings.fail(session, taken, CRASH, 0.0)
        assert job(database, job_id).status == status
    error = job(database, job_id).error
    assert error is not None
    assert error["code"] == "poison"


def test_a_lapsed_lease_is_recovered_once(database: Database, add_job: AddJob) -> None:
    taken = claimed_after(database, add_job, lease_s=0.05)
    alive = claimed_after(database, add_job)
    time.sleep(0.1)
    with database.read() as session:
        assert endings.lapsed(session) == [(taken.job_id, 1)]
    with database.write() as session:
        verdict = endings.recover(session, taken.job_id, 1)
        assert verdict is not None
        assert verdict.failure.code == "worker_lost"
        assert endings.recover(session, taken.job_id, 1) is None
        assert endings.recover(session, alive.job_id, 1) is None
    row = job(database, taken.job_id)
    assert (row.status, row.fence, row.failures) == ("queued", 2, 1)
    with database.read() as session:
        kinds = session.execute(select(Event.type).where(Event.job_id == taken.job_id).order_by(Event.seq)).scalars()
        assert list(kinds) == ["job.state_changed", "attempt.started", "attempt.lost", "job.state_changed"]


def test_recovery_does_not_wait_for_a_worker_that_still_writes(
    database: Database, backend: str, add_job: AddJob
) -> None:
    if backend == "sqlite":  # where one waits for every writer
        return
    taken = claimed_after(database, add_job, lease_s=0.05)
    time.sleep(0.1)
    with database.write() as writing:
        assert leases.hold(writing, taken.job_id, taken.fence, {"step": 1})
        with database.write() as session:
            assert endings.recover(session, taken.job_id, taken.fence) is None
    with database.write() as session:
        assert endings.recover(session, taken.job_id, taken.fence) is not None


def test_a_heartbeat_that_comes_late_still_counts(database: Database, add_job: AddJob) -> None:
    taken = claimed_after(database, add_job, lease_s=0.05)
    time.sleep(0.1)
    with database.write() as session:
        assert leases.heartbeat(session, taken.job_id, taken.fence, 60) is not None
        assert endings.recover(session, taken.job_id, taken.fence) is None


def test_running_time_is_summed_and_limited(database: Database, add_job: AddJob) -> None:
    taken = claimed_after(database, add_job, max_runtime_s=100)
    change(database, taken.job_id, claimed_at=clock(-40))
    with database.write() as session:
        endings.release(session, taken, "drained")
    again = claimed(database)
    assert 55 < again.runtime_left_s < 61
    with database.write() as session:
        assert endings.expire(session, again)
    row = job(database, again.job_id)
    assert row.status == "expired"
    assert row.error is not None
    assert row.error["code"] == "max_runtime_exceeded"


def test_a_cancelled_job_does_not_expire(database: Database, add_job: AddJob) -> None:
    taken = claimed_after(database, add_job)
    move(database, taken.job_id, State.CANCELLING)
    with database.write() as session:
        assert endings.expire(session, taken)
    row = job(database, taken.job_id)
    assert (row.status, row.error) == ("cancelled", None)


def test_a_finish_wins_over_a_wish(database: Database, add_job: AddJob) -> None:
    taken = claimed_after(database, add_job)
    move(database, taken.job_id, State.CANCELLING)
    with database.write() as session:
        results = Results(accuracy=None).model_dump(mode="json", exclude_unset=True)
        assert endings.succeed(session, taken, "done", {"step": 100, "results": results})
    row = job(database, taken.job_id)
    assert (row.status, row.results, row.step) == ("succeeded", {"accuracy": None}, 100)


def test_a_job_that_waits_too_long_expires(database: Database, add_job: AddJob) -> None:
    late, fresh = add_job(), add_job()
    change(database, late, queued_at=clock(-3601))
    with database.read() as session:
        assert endings.overdue(session) == [late]
    with database.write() as session:
        assert endings.expire_queued(session, late)
        assert not endings.expire_queued(session, fresh)
    assert job(database, late).status == "expired"
    with database.read() as session:
        assert leases.unfinished(session, [late, fresh, "job_none"]) == {fresh}


def test_a_cancel_and_a_finish_at_once_end_legally(database: Database, add_job: AddJob) -> None:
    """The finish always wins in the end: before the wish, or over it."""
    for _ in range(25):
        taken = claimed_after(database, add_job)
        barrier = Barrier(2)

        def wish(taken: Claim = taken, barrier: Barrier = barrier) -> bool:
            barrier.wait()
            with database.write() as session:
                return transition(session, taken.job_id, State.CANCELLING, Actor.API)

        def finish(taken: Claim = taken, barrier: Barrier = barrier) -> bool:
            barrier.wait()
            with database.write() as session:
                return endings.succeed(session, taken, "done", {"step": 100})

        with ThreadPoolExecutor(2) as pool:
            wished, finished = pool.submit(wish), pool.submit(finish)
        assert finished.result()
        assert job(database, taken.job_id).status == "succeeded"
        with database.read() as session:
            moves = [
                event.data["to"]
                for event in session.scalars(
                    select(Event)
                    .where(Event.job_id == taken.job_id, Event.type == "job.state_changed")
                    .order_by(Event.seq)
                )
            ]
        assert moves == (["running", "cancelling", "succeeded"] if wished.result() else ["running", "succeeded"])


def test_a_full_disk_costs_no_attempt_and_is_waited_for_longer_each_time(database: Database, add_job: AddJob) -> None:
    job_id = add_job(max_attempts=2)
    waits = []
    for _ in range(4):
        found = claimed(database)
        with database.write() as session:
            verdict = endings.fail(session, found, FULL, backoff_s=0.1)
        assert verdict is not None
        waits.append(verdict.wait_s)
        now = job(database, job_id)
        assert (now.status, now.failures, now.lost_step) == (State.QUEUED, 0, None)
        assert now.not_before is not None
        assert now.error is not None
        assert (now.error["code"], now.error["message"]) == ("no_space", FULL.message)
        change(database, job_id, not_before=None)
    assert waits == [1.0, 2.0, 4.0, 8.0]


def test_a_job_that_is_cancelled_does_not_wait_for_room(database: Database, add_job: AddJob) -> None:
    job_id = add_job()
    found = claimed(database)
    move(database, job_id, State.CANCELLING)
    with database.write() as session:
        assert endings.fail(session, found, FULL, backoff_s=0.1) is not None
    now = job(database, job_id)
    assert (now.status, now.error) == (State.CANCELLED, None)
