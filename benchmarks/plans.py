"""How long a study of 256 trials takes to be planned, and to be made with all its jobs."""

from __future__ import annotations

import atexit
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from app import migrate
from app.core.database import Database
from app.core.security import Principal, Scope
from app.core.settings import Settings
from app.keys import repository as keys
from app.keys.service import DEFAULT_TENANT
from app.studies import planning
from app.studies.schemas import MOST_JOBS
from app.studies.service import StudyService
from benchmarks.harness import Benchmark, Way

REQUEST: dict[str, Any] = {
    "base": {"dataset": "cifar10", "ipc": 10, "iterations": 1000},
    "space": {
        "method": ["dm", "idm", "dc", "dsa"],
        "method.lr_img": {"from": 0.01, "to": 10, "count": 8, "scale": "log"},
        "regularizers.mim.weight": {"from": 0.1, "to": 10, "count": 8, "scale": "log"},
    },
    "budget": {"jobs": MOST_JOBS},
}
PRINCIPAL = Principal(DEFAULT_TENANT, None, frozenset(Scope))


def _ways() -> Sequence[Way]:
    home = TemporaryDirectory(prefix="plans-")
    atexit.register(home.cleanup)
    settings = Settings(home=Path(home.name), max_queued=MOST_JOBS)
    database = Database(settings)
    migrate.upgrade(database)
    with database.write() as session:
        keys.ensure_tenant(session, DEFAULT_TENANT, "Default")

    def plan() -> planning.Plan:
        with database.read() as session:
            return StudyService(session, PRINCIPAL, settings).plan(planning.read(REQUEST))

    def planned() -> Sequence[Tensor]:
        return [torch.tensor(float(plan().jobs))]

    kept = plan()

    def made() -> Sequence[Tensor]:
        with database.write() as session:
            study = StudyService(session, PRINCIPAL, settings).create(kept)
            session.rollback()
        return [torch.tensor(float(len(study.trials)))]

    return [Way("plan", planned), Way("make", made)]


BENCHMARKS = (Benchmark("study-plan", f"A study of {MOST_JOBS} trials, planned and made (SQLite)", _ways),)
