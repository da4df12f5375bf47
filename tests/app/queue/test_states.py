"""The transition table, applied exhaustively and at random."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import select, update

from app.core.database import Database
from app.core.tables import clock
from app.models.events import Event
from app.models.jobs import Job
from app.models.states import HELD, TERMINAL, State
from app.queue.states import TRANSITIONS, VERBS, Actor, actions, allowed, transition

BACKENDS = ("sqlite", "postgres")

PUBLISHED = {
    (Actor.WORKER, "queued", "running"),
    (Actor.API, "queued", "paused"),
    (Actor.API, "queued", "cancelled"),
    (Actor.RECONCILER, "queued", "expired"),
    (Actor.WORKER, "running", "succeeded"),
    (Actor.WORKER, "running", "failed"),
    (Actor.WORKER, "running", "queued"),
    (Actor.RECONCILER, "running", "queued"),
    (Actor.RECONCILER, "running", "failed"),
    (Actor.API, "running", "pausing"),
    (Actor.API, "running", "cancelling"),
    (Actor.WORKER, "running", "expired"),
    (Actor.WORKER, "pausing", "paused"),
    (Actor.API, "pausing", "running"),
    (Actor.API, "pausing", "cancelling"),
    (Actor.WORKER, "pausing", "succeeded"),
    (Actor.WORKER, "pausing", "failed"),
    (Actor.WORKER, "pausing", "expired"),
    (Actor.RECONCILER, "pausing", "paused"),
    (Actor.API, "paused", "queued"),
    (Actor.API, "paused", "cancelled"),
    (Actor.WORKER, "cancelling", "cancelled"),
    (Actor.WORKER, "cancelling", "succeeded"),
    (Actor.WORKER, "cancelling", "failed"),
    (Actor.RECONCILER, "cancelling", "cancelled"),
    (Actor.API, "failed", "queued"),
    (Actor.API, "expired", "queued"),
    # A job of a study is held at a rung, and goes on or is dropped as the study decides.
    (Actor.WORKER, "running", "paused"),
    (Actor.RECONCILER, "paused", "queued"),
    (Actor.RECONCILER, "paused", "cancelled"),
    (Actor.RECONCILER, "queued", "cancelled"),
}
"""The contract's 24 rules, a slash in one of them being two moves, and those of studies."""


def job(database: Database, job_id: str) -> Job:
    with database.read() as session:
        return session.execute(select(Job).where(Job.id == job_id)).scalar_one()


def events(database: Database, job_id: str) -> list[Event]:
    with database.read() as session:
        return list(session.scalars(select(Event).where(Event.job_id == job_id).order_by(Event.seq)))


class TestTable:
    def test_is_the_published_one(self) -> None:
        table = {
            (actor, str(origin), str(target))
            for actor, moves in TRANSITIONS.items()
            for origin, targets in moves.items()
            for target in targets
        }
        assert table == PUBLISHED

    def test_verbs_lead_where_the_api_may_go(self) -> None:
        for verb, moves in VERBS.items():
            for origin, target in moves.items():
                assert target in allowed(origin, Actor.API), verb

    def test_every_move_of_the_api_has_a_verb(self) -> None:
        reached = {(origin, target) for moves in VERBS.values() for origin, target in moves.items()}
        assert reached == {(o, t) for o, targets in TRANSITIONS[Actor.API].items() for t in targets}

    def test_succeeded_and_cancelled_are_final(self) -> None:
        for actor in Actor:
            assert not allowed(State.SUCCEEDED, actor)
            assert not allowed(State.CANCELLED, actor)

    def test_only_ended_jobs_can_be_deleted(self) -> None:
        assert {state for state in State if "delete" in actions(state)} == TERMINAL


def test_every_state_actor_and_target(database: Database, add_job: Callable[..., str]) -> None:
    """9 states x 3 actors x 9 targets: moved exactly where the table says so, with one event, else untouched."""
    checked = 0
    for origin, actor, target in itertools.product(State, Actor, State):
        holder = {"owner": "wrk_1", "fence": 7} if origin in HELD else {"fence": 7}
        job_id = add_job(status=origin, **holder)
        with database.write() as session:
            moved = transition(session, job_id, target, actor, fence=7)
        legal = (actor, str(origin), str(target)) in PUBLISHED
        after = job(database, job_id)
        assert moved is legal, (origin, actor, target)
        assert after.status == (target if legal else origin)
        assert after.version == (2 if legal else 1)
        assert [event.seq for event in events(database, job_id)] == ([1] if legal else [])
        checked += 1
    assert checked == 9 * 3 * 9


class TestTransition:
    def test_claim_raises_fence_and_attempt(self, database: Database, add_job: Callable[..., str]) -> None:
        job_id = add_job()
        with database.write() as session:
            assert transition(
                session, job_id, State.RUNNING, Actor.WORKER, values={"owner": "wrk_1", "lease_until": clock(60)}
            )
        after = job(database, job_id)
        assert (after.fence, after.attempt, after.owner) == (1, 1, "wrk_1")
        assert after.claimed_at is not None
        assert after.heartbeat_at is not None
        assert after.started_at is not None
        # PostgreSQL's clock goes on within a statement.
        moments = (after.claimed_at, after.heartbeat_at, after.started_at)
        assert max(moments) - min(moments) < timedelta(minutes=1)

    def test_stale_fence_changes_nothing(self, database: Database, add_job: Callable[..., str]) -> None:
        job_id = add_job(status="running", fence=3, owner="wrk_1")
        with database.write() as session:
            assert not transition(session, job_id, State.SUCCEEDED, Actor.WORKER, fence=2)
        assert job(database, job_id).status == "running"
        assert events(database, job_id) == []

    def test_other_version_changes_nothing(self, database: Database, add_job: Callable[..., str]) -> None:
        job_id = add_job(version=5)
        with database.write() as session:
            assert not transition(session, job_id, State.PAUSED, Actor.API, version=4)
            assert transition(session, job_id, State.PAUSED, Actor.API, version=5)

    def test_guard_must_hold(self, database: Database, add_job: Callable[..., str]) -> None:
        job_id = add_job(status="running", fence=1, owner="wrk_1", lease_until=None)
        with database.write() as session:
            over = Job.lease_until < clock()
            assert not transition(session, job_id, State.QUEUED, Actor.RECONCILER, fence=1, guard=over)

    @pytest.mark.parametrize("actor", [Actor.WORKER, Actor.RECONCILER])
    def test_held_job_needs_a_fence(self, database: Database, add_job: Callable[..., str], actor: Actor) -> None:
        job_id = add_job(status="running", owner="wrk_1")
        with database.write() as session, pytest.raises(ValueError, match="without a fence"):
            transition(session, job_id, State.QUEUED, actor)

    def test_reconciler_shuts_the_worker_out(self, database: Database, add_job: Callable[..., str]) -> None:
        job_id = add_job(status="running", fence=4, owner="wrk_1")
        with database.write() as session:
            assert transition(session, job_id, State.QUEUED, Actor.RECONCILER, fence=4)
            assert not transition(session, job_id, State.SUCCEEDED, Actor.WORKER, fence=4)
        after = job(database, job_id)
        assert (after.fence, after.owner, after.lease_until) == (5, None, None)

    def test_retry_renews_the_budget(self, database: Database, add_job: Callable[..., str]) -> None:
        job_id = add_job(status="failed", failures=3, runtime_s=99.0, lost_step=5, error={"code": "poison"})
        with database.write() as session:
            assert transition(session, job_id, State.QUEUED, Actor.API)
        after = job(database, job_id)
        assert (after.failures, after.runtime_s, after.lost_step, after.error) == (0, 0.0, None, None)

    def test_running_time_adds_up(self, database: Database, add_job: Callable[..., str]) -> None:
        job_id = add_job(status="running", fence=1, owner="wrk_1", runtime_s=10.0)
        with database.write() as session:
            session.execute(update(Job).values(claimed_at=clock(-5)))
            assert transition(session, job_id, State.QUEUED, Actor.WORKER, fence=1)
        assert job(database, job_id).runtime_s == pytest.approx(15.0, abs=2.0)

    def test_event_says_who_and_whence(self, database: Database, add_job: Callable[..., str]) -> None:
        job_id = add_job(status="running", fence=1, attempt=2, owner="wrk_1")
        with database.write() as session:
            transition(session, job_id, State.FAILED, Actor.WORKER, fence=1, message="diverged", data={"code": "x"})
        (event,) = events(database, job_id)
        assert (event.type, event.level, event.message, event.attempt) == ("job.state_changed", "error", "diverged", 2)
        assert event.data == {"from": "running", "to": "failed", "actor": "worker", "code": "x"}

    def test_unknown_job_is_not_moved(self, database: Database) -> None:
        with database.write() as session:
            assert not transition(session, "job_none", State.PAUSED, Actor.API)

    def test_rolled_back_move_leaves_no_event(self, database: Database, add_job: Callable[..., str]) -> None:
        job_id = add_job()

        def move_and_fail() -> None:
            with database.write() as session:
                assert transition(session, job_id, State.PAUSED, Actor.API)
                raise RuntimeError

        with pytest.raises(RuntimeError):
            move_and_fail()
        assert job(database, job_id).status == "queued"
        assert events(database, job_id) == []


class Life(RuleBasedStateMachine):
    """Random users, workers, crashes and reconcilers; a model of leases knows who may write."""

    database: Database
    make: Callable[..., str]

    def __init__(self) -> None:
        super().__init__()
        self.job_id = self.make()
        self.holders: list[int] = []
        """Fences that some worker, dead or alive, believes it holds; the last may be right."""
        self.fences = [0]
        self.ended_for_good: str | None = None

    def now(self) -> Job:
        return job(self.database, self.job_id)

    def move(self, to: State, actor: Actor, fence: int | None = None) -> bool:
        with self.database.write() as session:
            return transition(session, self.job_id, to, actor, fence=fence)

    @rule()
    def claim(self) -> None:
        before = self.now()
        if self.move(State.RUNNING, Actor.WORKER, before.fence):
            assert before.status == State.QUEUED
            self.holders.append(self.now().fence)

    @rule(verb=st.sampled_from(sorted(VERBS)))
    def ask(self, verb: str) -> None:
        state = State(self.now().status)
        target = VERBS[verb].get(state)
        if target is not None:
            assert self.move(target, Actor.API)

    @precondition(lambda self: self.holders)
    @rule(data=st.data(), to=st.sampled_from(list(State)))
    def work(self, data: st.DataObject, to: State) -> None:
        fence = data.draw(st.sampled_from(self.holders))
        before = self.now()
        moved = self.move(to, Actor.WORKER, fence)
        if moved and before.status in HELD:
            assert fence == before.fence, "a worker that was shut out wrote"

    @rule()
    def reconcile(self) -> None:
        before = self.now()
        for target in sorted(allowed(State(before.status), Actor.RECONCILER)):
            if self.move(target, Actor.RECONCILER, before.fence):
                break

    @invariant()
    def holds(self) -> None:
        current = self.now()
        assert current.fence >= self.fences[-1], "a fence went back"
        self.fences.append(current.fence)
        assert [event.seq for event in events(self.database, self.job_id)] == list(range(1, current.event_seq + 1))
        assert (current.finished_at is not None) == (current.status in TERMINAL)
        if current.status in (State.SUCCEEDED, State.CANCELLED):
            assert self.ended_for_good in (None, current.status)
            self.ended_for_good = current.status
        else:
            assert self.ended_for_good is None, "a final state was left"


def test_random_lives_keep_the_invariants(database: Database, add_job: Callable[..., str]) -> None:
    machine = type("BoundLife", (Life,), {"database": database, "make": staticmethod(add_job)})
    run_state_machine_as_test(
        machine,
        settings=hypothesis_settings(
            max_examples=25,
            stateful_step_count=30,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
