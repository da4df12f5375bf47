"""Studies whose workers, reconciler and API are killed between rungs: the same winner, with the same bytes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from app.models.jobs import Job
from app.queue import outbox
from app.studies import halving, planning
from app.studies.halving import Score
from app.studies.schemas import StudyDocument
from app.studies.service import StudyService
from ddcore import engine
from ddcore.spec import parse
from tests.chaos.dummy_engine import result_of, score_after, state_after
from tests.chaos.expectations import expect_no_engine
from tests.chaos.harness import PRINCIPAL, Cluster, Server, cluster
from tests.ddcore.recorder import Recorder

SEED, IPC, STEPS, RUNGS = 3, (1, 2, 3, 4), 18, 3
REQUEST: dict[str, Any] = {
    "base": {"dataset": "digits", "method": {"name": "dm", "iterations": STEPS}},
    "space": {"ipc": list(IPC)},
    "seeds": [SEED],
    "budget": {"jobs": len(IPC)},
    "rungs": RUNGS,
}


def undisturbed() -> tuple[list[list[int]], int]:
    """Trials that each rung promotes, and the winner, if nothing happens."""
    going, promoted = list(range(len(IPC))), []
    for step in halving.holds(STEPS, RUNGS, 3):
        scores = [Score(trial, score_after(SEED, step, IPC[trial]), 0.5**2 / 3) for trial in going]
        going = halving.promoted(scores, 3)
        promoted.append(going)
    return promoted, promoted[-1][0]


def begin(made: Cluster, request: dict[str, Any]) -> str:
    with made.database.read() as session:
        plan = StudyService(session, PRINCIPAL, made.settings).plan(planning.read(request))
    with made.database.write() as session:
        study_id = StudyService(session, PRINCIPAL, made.settings).create(plan).id
    outbox.publish_pending(made.database, made.settings)
    return study_id


def study(made: Cluster, study_id: str) -> StudyDocument:
    with made.database.read() as session:
        return StudyService(session, PRINCIPAL, made.settings).get(study_id)


def until(made: Cluster, look: Callable[[], Any], reached: Callable[[Any], bool], timeout: float = 60) -> Any:
    """What is seen once it is as wanted."""
    give_up_at = time.monotonic() + timeout
    while not reached(found := look()):
        assert time.monotonic() < give_up_at, f"{found}\n" + "\n".join(w.log.read_text()[-2000:] for w in made.workers)
        time.sleep(0.05)
    return found


def assert_same(made: Cluster, found: StudyDocument) -> None:
    """Everything is as it would have been without a fault."""
    promoted, winner = undisturbed()
    assert found.status == "succeeded"
    assert found.winner is not None
    assert found.winner.trial == winner
    for rung in range(RUNGS - 1):
        assert [trial.index for trial in found.trials if trial.rung > rung] == sorted(promoted[rung])
    for trial in found.trials:
        for score in trial.scores:
            assert score.accuracy == score_after(SEED, score.step, IPC[trial.index])
    assert made.digest(found.winner.job_id) == hashlib.sha256(result_of(state_after(SEED, STEPS))).hexdigest()
    with made.database.read() as session:
        states = list(session.scalars(select(Job.status).where(Job.study_id == found.id)))
    assert sorted(states) == ["cancelled"] * (len(IPC) - 1) + ["succeeded"]
    made.assert_invariants()


FAULTS = ("claim.after:killgroup:5", "study.decided:killgroup:3")
"""Where the first worker, which is the reconciler too, dies: with a job of the second rung, and in the transaction that
decides on the winner."""


@pytest.fixture(scope="module")
def deaths(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[None]]]:
    """Every death in a cluster of its own, some side by side because each mostly waits."""
    with ThreadPoolExecutor(2) as pool:
        yield {fault: pool.submit(die, tmp_path_factory.mktemp("study"), fault) for fault in FAULTS}


def die(folder: Path, fault: str) -> None:
    with cluster(folder / "home") as made:
        study_id = begin(made, REQUEST)
        made.worker(fault).process.wait(60)
        expect_no_engine(made)
        made.worker()
        assert_same(made, until(made, lambda: study(made, study_id), lambda found: found.finished_at is not None))


@pytest.mark.parametrize("fault", FAULTS)
def test_the_only_worker_is_killed(deaths: dict[str, Future[None]], fault: str) -> None:
    deaths[fault].result()


def test_the_same_is_proposed_after_a_kill(tmp_path: Path) -> None:
    """The worker dies in the transaction that makes more trials; a study to which nothing happens makes the same."""
    ranges = {"ipc": {"from": 1, "to": 40, "count": 40}}
    request = {**REQUEST, "space": ranges, "sampler": "tpe", "budget": {"jobs": 4}, "rungs": 1}
    with cluster(tmp_path / "home") as made:
        disturbed = begin(made, request)
        made.worker("study.decided:killgroup").process.wait(60)
        expect_no_engine(made)
        assert len(study(made, disturbed).trials) == 2
        made.worker()
        outcomes = []
        for study_id in (disturbed, begin(made, request)):
            found = until(made, partial(study, made, study_id), lambda each: each.finished_at is not None)
            assert (found.status, len(found.trials)) == ("succeeded", 4)
            trials = [(trial.values, trial.scores, trial.reason) for trial in found.trials]
            outcomes.append((trials, made.digest(found.winner.job_id)))
        assert outcomes[0] == outcomes[1]
        made.assert_invariants()


@pytest.mark.postgres
@pytest.mark.redis
def test_everybody_is_killed_in_turn(production: Cluster) -> None:
    """PostgreSQL and Redis, two workers, a reconciler and the API of their own."""
    external = {"DD_RECONCILER": "external"}
    server = Server(production)
    headers = {"Idempotency-Key": "once"}
    first = httpx.post(f"{server.address}/v1/studies", json=REQUEST, headers=headers, timeout=60)
    server.process.kill()
    server.start()
    again = httpx.post(f"{server.address}/v1/studies", json=REQUEST, headers=headers, timeout=60)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["id"] == first.json()["id"]

    workers = [production.worker(**external) for _ in range(2)]
    reconciler = production.worker("study.decided:killgroup", module="worker.reconciler")
    assert reconciler.process.wait(60) != 0  # in the transaction that decides the first rung
    workers[0].kill()
    production.worker("study.committed:killgroup", module="worker.reconciler").process.wait(60)
    workers[1].kill()
    production.worker(**external)
    production.worker(**external)
    production.reconciler()

    def look() -> StudyDocument:
        return StudyDocument.model_validate(
            httpx.get(f"{server.address}{first.json()['links']['self']}", timeout=60).json()
        )

    assert_same(production, until(production, look, lambda found: found.finished_at is not None))


TINY: dict[str, Any] = {
    "dataset": "digits",
    "ipc": 1,
    "method": {"name": "dm", "iterations": 4, "batch_real": 16},
    "network": {"name": "convnet", "depth": 2, "width": 8},
    "metrics": {"every": 4, "probe": "random"},
    "evaluation": {"repeats": 1, "epochs": 2, "audit": False},
    "compile": "off",
    "device": "cpu",
}


def test_the_real_engine_is_killed_between_rungs(tmp_path: Path) -> None:
    real = {"DD_ENGINE_MODULE": "worker.engine_main", "DD_ENGINE_THREADS": "1", "DD_LEASE_S": "4"}
    request = {"base": TINY, "budget": {"jobs": 1}, "rungs": 2, "scoring": {"networks": 2, "epochs": 2}}
    with cluster(tmp_path / "home", **real) as made:
        study_id = begin(made, request)
        made.worker("study.committed:killgroup").process.wait(180)
        expect_no_engine(made)
        made.worker()
        found = until(made, lambda: study(made, study_id), lambda each: each.finished_at is not None, 180)
        assert found.status == "succeeded"
        assert found.winner is not None
        digest, seen = run_alone(made.job(found.winner.job_id).spec, tmp_path / "alone")
        assert made.digest(found.winner.job_id) == digest
        scores = found.trials[0].scores
        assert [score.step for score in scores] == [2, 4]
        assert [score.accuracy for score in scores] == [seen[score.step]["accuracy/validation"] for score in scores]
        made.assert_invariants()


def run_alone(spec: dict[str, Any], folder: Path) -> tuple[str, dict[int, dict[str, float]]]:
    """Digest of the images of a job that is neither held nor killed, and its readings by step."""
    said = Recorder()
    result = engine.run(parse(spec), folder / "out", run_dir=folder, cache=folder / "cache", callback=said)
    return hashlib.sha256((result.out / "distilled.safetensors").read_bytes()).hexdigest(), said.metrics
