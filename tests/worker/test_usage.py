"""A real run leaves behind what it took, and the next estimate goes by it."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from app.core.tables import Base
from app.costs import repository
from app.costs.forecasts import Forecaster
from app.models.costs import MeasuredJob
from ddcore.spec import DATASETS, parse
from ddcore.spec.cost import Cost
from ddcore.spec.work import DataSizes
from tests.chaos.harness import Cluster
from tests.worker.conftest import claim
from worker.launching import Launcher
from worker.supervisor import Supervisor


def test_what_a_job_took_is_what_the_same_job_is_expected_to_take(service: Cluster, supervisor: Supervisor) -> None:
    supervisor.settings = service.settings.model_copy(update={"engine_module": "worker.engine_main"})
    supervisor.launcher = Launcher(supervisor.settings, forks=False)  # the first to be forked waits for the imports
    job_id = service.submit(ring=False, method="random", evaluation={"repeats": 1, "epochs": 2}, device="cpu")
    supervisor.supervise(claim(service))
    job = service.job(job_id)
    assert job.status == "succeeded", job.error
    assert job.plan is not None
    assert [phase["phase"] for phase in job.plan["phases"]] == ["loading", "pretraining", "evaluating", "finalizing"]
    with service.database.read() as session:
        (measured,) = repository.newest(session, "cpu")
        (row,) = session.scalars(select(MeasuredJob))
        forecaster = Forecaster.of(session, {})
    assert sum(phase.seconds for phase in measured.phases.values()) == pytest.approx(job.runtime_s, abs=1)
    predicted = forecaster.predict(Cost(parse(job.spec), DataSizes.of(DATASETS["digits"])), "cpu")
    # The probe is in the cache by then.
    again = job.runtime_s - measured.phases["pretraining"].seconds
    assert predicted.total.expected == pytest.approx(again, abs=1.5)
    assert predicted.peak_bytes == measured.peak_bytes
    assert not names_someone(row, job_id, job.tenant_id)


def names_someone(row: Base, *identities: str) -> bool:
    """Whether any column holds one of the identities."""
    text = " ".join(str(getattr(row, column.key)) for column in row.__table__.columns)
    return any(identity in text for identity in identities)
