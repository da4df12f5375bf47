"""A score whose worker or process is killed is made anew, and ends with the accuracy of one that nothing disturbed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

import ddcore
from app.core.storage import open_store
from app.models.scores import Score, ScorePart
from app.queue import outbox
from app.scores.schemas import NewScore
from app.scores.service import ScoreService
from ddcore.data import load
from ddcore.spec.results import Results
from tests.chaos.expectations import expect_no_engine
from tests.chaos.harness import PRINCIPAL, Cluster, cluster, eventually, files_below, postgres_database, redis_broker

RECIPE: dict[str, Any] = {
    "network": {"name": "convnet", "depth": 1, "width": 4},
    "evaluation": {"repeats": 2, "epochs": 2, "batch_size": 32},
    "compile": "off",
}
DEATHS = {
    "score.1.read:kill9": "embedded",
    "score.reading:kill9": "embedded",
    "sink.write:killgroup:3": "production",
}
"""Where the worker or one of its processes dies, and on which topology."""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One real image of each class."""
    train = load("digits").train
    rows = [int((train.labels == label).nonzero()[0]) for label in range(10)]
    path = tmp_path_factory.mktemp("made") / "set.npz"
    np.savez(path, images=train.images[rows].numpy())
    return path


@pytest.fixture(scope="module")
def undisturbed(file: Path) -> tuple[float, ...]:
    results: Results = ddcore.score(file, "digits", RECIPE).results
    assert results.accuracy is not None
    return results.accuracy.values


def send(made: Cluster, file: Path) -> str:
    blob = open_store(made.settings).put_file(file)
    with made.database.write() as session:
        scores = ScoreService(session, PRINCIPAL, made.settings)
        score_id = scores.announce(NewScore(file=file.name, dataset="digits", recipe=RECIPE)).id
        scores.add_part(score_id, 0, blob)
        job = scores.complete(score_id, blob.size, blob.sha256).job
    outbox.publish_pending(made.database, made.settings)
    assert job is not None
    return job.id


def die(folder: Path, fault: str, urls: tuple[str, str] | None, file: Path) -> tuple[str, tuple[float, ...], int]:
    """Status, accuracies and attempts of a score that meets a death."""
    if urls is None:
        with cluster(folder / "home", DD_BACKOFF_S="0.01") as made:
            return met(made, fault, file)
    with postgres_database(urls[0]) as database, cluster(folder / "home", database, urls[1]) as made:
        return met(made, fault, file)


def met(made: Cluster, fault: str, file: Path) -> tuple[str, tuple[float, ...], int]:
    job_id = send(made, file)
    first = made.worker(fault)
    if "killgroup" in fault:
        first.process.wait(60)
        expect_no_engine(made)
        made.survivor()
    job = made.wait(job_id, lambda job: job.status in ("succeeded", "failed"), timeout=120)
    eventually(lambda: not files_below(made.home / "runs"))
    if job.status == "succeeded":
        assert made.files_left() == []
        with made.database.read() as session:
            assert session.scalars(select(ScorePart.start)).all() == []
            assert session.scalars(select(Score.ipc)).all() == [1]
    made.assert_invariants()
    return job.status, tuple(job.results["accuracy"]["values"]) if job.results else (), job.attempt


@pytest.fixture(scope="module")
def deaths(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, file: Path
) -> Iterator[dict[str, Future[tuple[str, tuple[float, ...], int]]]]:
    """Every death in a cluster of its own, side by side because each mostly waits."""
    postgres, broker = request.getfixturevalue("postgres_url"), request.getfixturevalue("redis_url")
    with redis_broker(broker), ThreadPoolExecutor(2) as pool:
        yield {
            fault: pool.submit(
                die, tmp_path_factory.mktemp("death"), fault,
                (postgres, broker) if topology == "production" else None, file,
            )
            for fault, topology in DEATHS.items()
        }  # fmt: skip


@pytest.mark.postgres
@pytest.mark.redis
@pytest.mark.parametrize("fault", [fault for fault in DEATHS if "reading" not in fault])
def test_a_score_that_is_killed_begins_anew_and_ends_the_same(
    fault: str, deaths: dict[str, Future[tuple[str, tuple[float, ...], int]]], undisturbed: tuple[float, ...]
) -> None:
    assert deaths[fault].result() == ("succeeded", undisturbed, 2)


@pytest.mark.postgres
@pytest.mark.redis
def test_a_file_that_kills_what_reads_it_costs_its_own_score(
    deaths: dict[str, Future[tuple[str, tuple[float, ...], int]]],
) -> None:
    """It is no fault of the worker, which would be quarantined for three of them."""
    assert deaths["score.reading:kill9"].result() == ("failed", (), 1)
