"""Clusters to break, on the embedded parts and on PostgreSQL with Redis."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.harness import Cluster, cluster, postgres_database, redis_broker


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.chaos)


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Cluster]:
    """SQLite and the folder broker."""
    with cluster(tmp_path / "home") as made:
        yield made


@pytest.fixture
def production(tmp_path: Path, postgres_url: str, redis_url: str) -> Iterator[Cluster]:
    """PostgreSQL and Redis; the test needs both markers."""
    with (
        postgres_database(postgres_url) as database,
        redis_broker(redis_url) as broker,
        cluster(tmp_path / "home", database, broker) as made,
    ):
        yield made
