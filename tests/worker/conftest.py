"""A service without a broker: database, store and folders, and the dummy engine of the chaos tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.core.storage import ArtifactStore, LocalStore, open_store
from app.queue import leases
from app.queue.leases import Claim
from tests.chaos.harness import ROOT, Cluster, cluster
from worker.launching import Launcher
from worker.log_book import LogBook
from worker.run_folder import RunFolder
from worker.supervisor import Supervisor


@dataclass
class Desk:
    """What a supervisor has before it."""

    cluster: Cluster
    store: ArtifactStore
    claimed: Claim
    folder: RunFolder
    book: LogBook


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """An empty service; engines find the test modules."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with cluster(tmp_path / "home") as made:
        yield made


def claim(service: Cluster, lease_s: float = 60.0) -> Claim:
    """Claim the next job."""
    with service.database.write() as session:
        claimed = leases.claim(session, "wrk_test", "cpu", lease_s)
    assert claimed is not None
    return claimed


@pytest.fixture
def desk(service: Cluster) -> Desk:
    """A claimed job of ten steps with its folder."""
    service.submit(iterations=10, ring=False)
    claimed = claim(service)
    folder = RunFolder(service.settings.runs_dir, claimed.job_id, claimed.fence)
    folder.create(claimed.spec)
    return Desk(service, open_store(service.settings), claimed, folder, LogBook(claimed.attempt, limit=10**6))


@pytest.fixture
def store(service: Cluster) -> LocalStore:
    return LocalStore(service.home / "artifacts")


@pytest.fixture
def launcher(service: Cluster) -> Iterator[Launcher]:
    """Forks engines from a process that ends with the test."""
    made = Launcher(service.settings)
    yield made
    made.close()


@pytest.fixture
def supervisor(service: Cluster, store: LocalStore, launcher: Launcher) -> Supervisor:
    return Supervisor(service.settings, service.database, store, "wrk_test", lambda: False, launcher)
