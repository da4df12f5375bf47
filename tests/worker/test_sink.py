"""What frames become in the database."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError

from app.core.storage import StorageError
from app.models.jobs import Job
from app.models.logs import LogPart
from app.models.metrics import MetricPoint
from app.queue import checkpoints
from ddcore.spec import DATASETS, parse
from ddcore.spec.cost import Cost
from ddcore.spec.work import DataSizes
from ddcore.spec.workload import Machine, Workload
from tests.worker.conftest import Desk
from worker import protocol
from worker.protocol import CheckpointSaved, Frame, Metrics, PhaseStarted, Planned, Progress, Resumed, Snapshot
from worker.sink import LeaseLostError, Sink


@pytest.fixture
def sink(desk: Desk) -> Sink:
    return Sink(desk.cluster.database, desk.store, desk.claimed, desk.folder, desk.book)


def reading(step: int, value: float = 0.5) -> Metrics:
    return Metrics(step=step, wall_ms=1, values={"loss": value})


def save(desk: Desk, step: int) -> CheckpointSaved:
    data = f"state {step}".encode()
    digest = hashlib.sha256(data).hexdigest()
    name = f"{step:010d}-{digest}.safetensors"
    desk.folder.checkpoint(name).write_bytes(data)
    return CheckpointSaved(step=step, name=name, sha256=digest)


def steps(desk: Desk) -> list[int]:
    return list(desk.cluster.points(desk.claimed.job_id))


def recorded(desk: Desk) -> list[int]:
    with desk.cluster.database.read() as session:
        return [saved.step for saved in checkpoints.newest_first(session, desk.claimed.job_id)]


def test_progress_shows_in_the_job(desk: Desk, sink: Sink) -> None:
    sink.write([PhaseStarted(phase="distilling", total=10), Progress(done=4, total=10), reading(4)])
    job = desk.cluster.job(desk.claimed.job_id)
    assert (job.phase, job.phase_done, job.phase_total, job.step) == ("distilling", 4, 10, 4)
    sink.write([PhaseStarted(phase="evaluating", total=3), Progress(done=1, total=3)])
    job = desk.cluster.job(desk.claimed.job_id)
    assert (job.phase, job.phase_done, job.phase_total, job.step) == ("evaluating", 1, 3, 4)
    progress = [event for event in desk.cluster.events(job.id) if event.type == "job.progress"]
    assert [event.message for event in progress] == ["distilling 4 of 10", "evaluating 1 of 3"]


def test_networks_of_several_groups_are_counted_together(desk: Desk, sink: Sink) -> None:
    """A pool of teachers, then the probe's: the count goes on, also over a write that fails in between."""
    sink.write([PhaseStarted(phase="pretraining", total=6), Progress(done=6, total=6)])
    sink.write([PhaseStarted(phase="pretraining", total=4), Progress(done=1, total=4)])
    job = desk.cluster.job(desk.claimed.job_id)
    assert (job.phase_done, job.phase_total) == (7, 10)
    sink.write([PhaseStarted(phase="distilling", total=10), PhaseStarted(phase="pretraining", total=2)])
    job = desk.cluster.job(desk.claimed.job_id)
    assert (job.phase_done, job.phase_total) == (10, 12)


def test_the_plan_of_a_job_follows_from_its_work(desk: Desk, sink: Sink) -> None:
    """Nothing was measured here, so its seconds are a guess, and it says so."""
    spec = parse(desk.folder.spec())
    machine = Machine(device_class="cpu", name="Desk", precision="fp32", compiled=False)
    workload = Workload.of(Cost(spec, DataSizes.of(DATASETS[spec.dataset])), machine)
    sink.write([PhaseStarted(phase="loading", total=None), Planned(workload=workload)])
    plan = desk.cluster.job(desk.claimed.job_id).plan
    assert plan is not None
    assert (plan["measured"], plan["network_epochs"]) == (False, workload.network_epochs)
    expected = {phase["phase"]: phase["expected_s"] for phase in plan["phases"]}
    assert expected["distilling"] == pytest.approx(workload.phases["distilling"].flop / 8e10)


def test_the_last_step_counts_also_when_the_next_phase_came_with_it(desk: Desk, sink: Sink) -> None:
    sink.write([PhaseStarted(phase="distilling", total=10), Progress(done=7, total=10)])
    sink.write([Progress(done=10, total=10), PhaseStarted(phase="evaluating", total=3)])
    job = desk.cluster.job(desk.claimed.job_id)
    assert (job.phase, job.phase_done, job.phase_total, job.step) == ("evaluating", 0, 3, 10)


def test_speed_is_steps_a_second_of_one_phase(desk: Desk, sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 2.0, 4.0])
    monkeypatch.setattr("worker.sink.time.monotonic", lambda: next(clock))
    sink.write([PhaseStarted(phase="distilling", total=100), Progress(done=10, total=100)])
    assert desk.cluster.job(desk.claimed.job_id).steps_per_s is None
    sink.write([Progress(done=30, total=100)])
    assert desk.cluster.job(desk.claimed.job_id).steps_per_s == 10.0
    sink.write([PhaseStarted(phase="evaluating", total=3)])
    assert desk.cluster.job(desk.claimed.job_id).steps_per_s is None


def test_values_that_are_not_finite_keep_their_kind(desk: Desk, sink: Sink) -> None:
    sink.write([reading(1, math.nan), reading(2, math.inf), reading(3, -math.inf), reading(4, 1.0)])
    with desk.cluster.database.read() as session:
        rows = session.execute(select(MetricPoint.value, MetricPoint.nf).order_by(MetricPoint.step))
        assert [tuple(row) for row in rows] == [(None, 1), (None, 2), (None, 3), (1.0, 0)]


def test_a_resumed_run_takes_the_place_of_the_lost_one(desk: Desk, sink: Sink) -> None:
    sink.write([reading(step) for step in range(1, 9)])
    sink.write([Resumed(step=5, exact=True), reading(6, 0.25)])
    assert desk.cluster.points(desk.claimed.job_id) == {1: 0.5, 2: 0.5, 3: 0.5, 4: 0.5, 5: 0.5, 6: 0.25}


def test_a_start_forgets_what_lies_beyond_its_checkpoint(desk: Desk, sink: Sink) -> None:
    sink.write([reading(step) for step in range(9)])
    sink.start_from(5)
    assert steps(desk) == [0, 1, 2, 3, 4, 5]
    sink.start_from(None)
    assert steps(desk) == []


def test_a_resume_that_may_differ_is_a_warning(desk: Desk, sink: Sink) -> None:
    sink.write([Resumed(step=5, exact=False)])
    (warning,) = [event for event in desk.cluster.events(desk.claimed.job_id) if event.type == "job.warning"]
    assert (warning.level, warning.data) == ("warning", {"code": "resume.not_bit_exact"})


def test_the_last_checkpoint_of_a_batch_is_stored(desk: Desk, sink: Sink) -> None:
    sink.write([save(desk, 5), reading(7, math.nan), save(desk, 10), Progress(done=10, total=10)])
    assert recorded(desk) == [10]
    (artifact,) = desk.cluster.artifacts(desk.claimed.job_id, "checkpoint")
    assert artifact.sha256 is not None
    assert b"".join(desk.store.iter_range(artifact.sha256)) == b"state 10"
    assert desk.cluster.job(desk.claimed.job_id).checkpoint_step == 10
    assert list((desk.folder.path / "uploads").iterdir()) == []


def test_a_checkpoint_that_is_gone_already_has_been_followed_by_another(desk: Desk, sink: Sink) -> None:
    frame = save(desk, 5)
    desk.folder.checkpoint(frame.name).unlink()
    sink.write([frame])
    assert recorded(desk) == []


def test_a_damaged_checkpoint_is_not_recorded(desk: Desk, sink: Sink) -> None:
    frame = save(desk, 5)
    desk.folder.checkpoint(frame.name).write_bytes(b"rotten")
    sink.write([frame])
    assert recorded(desk) == []
    assert any("damaged" in event.message for event in desk.cluster.events(desk.claimed.job_id))


def test_the_same_checkpoint_again_is_no_progress(desk: Desk, sink: Sink) -> None:
    frame = save(desk, 5)
    sink.write([frame])
    with desk.cluster.database.write() as session:
        session.execute(update(Job).values(lost_step=5).execution_options(synchronize_session=False))
    sink.write([frame])
    assert desk.cluster.job(desk.claimed.job_id).lost_step == 5
    assert len(desk.cluster.artifacts(desk.claimed.job_id, "checkpoint")) == 1
    sink.write([save(desk, 6)])
    assert desk.cluster.job(desk.claimed.job_id).lost_step is None


def test_a_snapshot_is_published(desk: Desk, sink: Sink) -> None:
    (desk.folder.path / "snapshots").mkdir()
    desk.folder.snapshot("0000000003.png").write_bytes(b"picture")
    sink.write([Snapshot(step=3, name="0000000003.png")])
    (artifact,) = desk.cluster.artifacts(desk.claimed.job_id, "snapshot")
    assert (artifact.step, artifact.media_type, artifact.size) == (3, "image/png", 7)


ALL: list[Frame] = [PhaseStarted(phase="loading", total=None), reading(1), protocol.Log(level="info", message="hi")]


def test_a_lost_lease_writes_nothing(desk: Desk, sink: Sink) -> None:
    with desk.cluster.database.write() as session:
        session.execute(update(Job).values(fence=Job.fence + 1).execution_options(synchronize_session=False))
    before = desk.cluster.job(desk.claimed.job_id)
    acts: tuple[Callable[[], object], ...] = (
        lambda: sink.write([*ALL, save(desk, 5)]),
        lambda: sink.start_from(None),
        lambda: sink.warn(["hi"]),
    )
    for act in acts:
        with pytest.raises(LeaseLostError):
            act()
    after = desk.cluster.job(desk.claimed.job_id)
    assert (after.version, after.event_seq) == (before.version, before.event_seq)
    assert (steps(desk), recorded(desk)) == ([], [])


def test_frames_that_could_not_be_written_can_be_given_again(
    desk: Desk, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OperationalError("insert", {}, Exception("database is locked"))

    frames = [*ALL, save(desk, 5)]
    with monkeypatch.context() as patched:
        patched.setattr("worker.sink.leases.record_checkpoint", fail)
        with pytest.raises(OperationalError):
            sink.write(frames)
    assert (steps(desk), recorded(desk)) == ([], [])
    sink.write(frames)
    assert (steps(desk), recorded(desk)) == ([1], [5])
    logs = [event for event in desk.cluster.events(desk.claimed.job_id) if event.type == "job.log"]
    assert [event.message for event in logs] == ["hi"]


class TestLog:
    def test_lines_are_stored_with_the_frames_or_not_at_all(
        self, desk: Desk, sink: Sink, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        desk.book.add("info", "one")
        monkeypatch.setattr(sink, "_report_progress", broken)
        with pytest.raises(OperationalError):
            sink.write([])
        assert desk.cluster.log(desk.claimed.job_id) == []
        monkeypatch.undo()
        sink.write([])
        sink.write([])
        (line,) = desk.cluster.log(desk.claimed.job_id)
        assert line.endswith("Z #1 info    one")

    def test_whoever_has_lost_the_job_adds_nothing(self, desk: Desk, sink: Sink) -> None:
        with desk.cluster.database.write() as session:
            session.execute(update(Job).values(fence=Job.fence + 1).execution_options(synchronize_session=False))
        desk.book.add("info", "too late")
        with pytest.raises(LeaseLostError):
            sink.write([])
        assert desk.cluster.log(desk.claimed.job_id) == []

    def test_a_store_that_is_down_keeps_no_line_from_being_stored(
        self, desk: Desk, sink: Sink, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.logs.repository.PART", 10)
        monkeypatch.setattr(desk.store, "put_stream", unreachable)
        for word in ("one", "two"):
            desk.book.add("info", word)
            sink.write([])
        assert stored_parts(desk) == [False, False]
        monkeypatch.undo()
        monkeypatch.setattr("app.logs.repository.PART", 10)
        desk.book.add("info", "three")
        sink.write([])
        assert stored_parts(desk) == [True, True, True]
        assert [line.split()[-1] for line in desk.cluster.log(desk.claimed.job_id)] == ["one", "two", "three"]


def broken(*_: object) -> None:
    raise OperationalError("INSERT", {}, Exception("gone"))


def unreachable(*_: object) -> None:
    raise StorageError("gone")


def stored_parts(desk: Desk) -> list[bool]:
    with desk.cluster.database.read() as session:
        return [part.sha256 is not None for part in session.scalars(select(LogPart).order_by(LogPart.start))]
