"""How long a page of the list takes with 10,000 jobs, as a browser and as a client ask for it."""

from __future__ import annotations

import atexit
import random
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from fastapi.testclient import TestClient
from torch import Tensor

from app.core import logging
from app.core.database import Database, now
from app.core.ids import new_id
from app.core.settings import Settings
from app.main import create_app
from app.models.jobs import Job
from benchmarks.harness import Benchmark, Way
from ddcore.spec import all_presets, parse

JOBS = 10_000
PATHS = (
    "/",
    "/?sort=-accuracy",
    "/?sort=-gain",
    "/?sort=duration",
    "/?sort=seed",
    "/?search=sweep+99",
    "/?search=nothing+like",
    "/?search=sweep&sort=-gain",
    "/?label=study:s3",
    "/v1/jobs?limit=50",
    "/v1/jobs?limit=50&sort=-gain",
)
"""The first is the reference: what the dashboard opens with."""


def _score(mean: float) -> dict[str, Any]:
    return {"mean": mean, "std": 0.5, "networks": 3, "values": [mean - 0.6, mean, mean + 0.6]}


def rows(now_: Any) -> Iterator[Job]:
    """Jobs by every preset in turn: most are scored, some failed, a few wait; with labels and names as users give."""
    chance = random.Random(0)
    specs = [parse(preset.job) for preset in all_presets().values()]
    for number in range(JOBS):
        spec = specs[number % len(specs)]
        created = now_ - timedelta(seconds=JOBS - number)
        status = chance.choices(("succeeded", "failed", "queued"), (90, 9, 1))[0]
        network = spec.network.model_dump(mode="json")
        accuracy, controls = _score(chance.uniform(30, 70)), {"random": _score(chance.uniform(25, 60))}
        architecture = {"network": network, "accuracy": accuracy, "controls": controls}
        yield Job(
            id=new_id("job"), tenant_id="default", name=f"sweep {number // 100}, run {number % 100}",
            labels={"study": f"s{number // 1000}", "seed": str(number % 5)}, priority=5,
            spec=spec.model_dump(mode="json"), dataset=spec.dataset, method=spec.method.name, device_class="any",
            max_runtime_s=3600, max_queue_s=3600, status=status, max_attempts=3, attempt=1,
            total_steps=spec.method.iterations, step=spec.method.iterations if status == "succeeded" else 0,
            results={**architecture, "by_architecture": [architecture]} if status == "succeeded" else None,
            created_at=created, queued_at=created, started_at=created,
            finished_at=None if status == "queued" else created + timedelta(seconds=chance.uniform(10, 5000)),
        )  # fmt: skip


def _filled(home: Path) -> TestClient:
    """A service with its jobs, asked without a network."""
    settings = Settings(home=home, auth=False, log_level="error")
    logging.configure(settings)
    client = TestClient(create_app(settings), base_url="http://127.0.0.1")
    client.__enter__()
    database = Database(settings)
    with database.write() as session:
        session.add_all(rows(now(session)))
    database.dispose()
    return client


def _ways() -> Sequence[Way]:
    home = TemporaryDirectory(prefix="job-list-")
    atexit.register(home.cleanup)
    client = _filled(Path(home.name))

    def asking(path: str) -> Way:
        def ask() -> Sequence[Tensor]:
            answer = client.get(path).raise_for_status()
            return [torch.tensor(float(answer.status_code))]

        return Way(path, ask)

    return [asking(path) for path in PATHS]


BENCHMARKS = (Benchmark("job-list", f"A page of 50 of {JOBS:,} jobs (SQLite)", _ways),)
