"""What jobs should take by what others took, against figures worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from app.core.database import Database
from app.costs import repository
from app.costs.forecasts import Forecaster, predict_run
from app.costs.words import basis
from ddcore.spec import DATASETS, JobSpec, parse
from ddcore.spec.cost import Cost
from ddcore.spec.work import DataSizes
from ddcore.spec.workload import Machine, Usage, Workload

BACKENDS = ("sqlite", "postgres")
CPU = Machine(device_class="cpu", name="Desk, 2 threads", precision="fp32", compiled=False)
SECONDS = {"loading": 3.0, "pretraining": 20.0, "distilling": 12.0, "evaluating": 8.0, "finalizing": 1.0}


def spec_of(iterations: int = 100, **fields: Any) -> JobSpec:
    method = {"name": "dm", "iterations": iterations}
    return parse({"dataset": "digits", "ipc": 2, "method": method, "compile": "off", "precision": "fp32", **fields})


def cost_of(spec: JobSpec) -> Cost:
    return Cost(spec, DataSizes.of(DATASETS[spec.dataset]))


def usage_of(spec: JobSpec, seconds: Mapping[str, float] = SECONDS, machine: Machine = CPU) -> Usage:
    workload = Workload.of(cost_of(spec), machine)
    trained = math.ceil(workload.network_epochs) if "pretraining" in seconds else 0
    return Usage(
        workload=workload, seconds=seconds, warm_up={"distilling": 2.0}, trained_epochs=trained,
        peak_bytes=400 + workload.peak_bytes,
    )  # fmt: skip


Remember = Callable[..., Forecaster]


@pytest.fixture
def remember(database: Database) -> Remember:
    """Records that a job took 50 s in all, and reads everything anew."""

    def act(spec: JobSpec, usage: Usage | None = None, whole_s: float = 50.0) -> Forecaster:
        with database.write() as session:
            repository.record(session, spec, usage or usage_of(spec), whole_s)
        with database.read() as session:
            return Forecaster.of(session, {})

    return act


def test_the_same_job_takes_what_it_took_but_for_networks_that_are_there(remember: Remember) -> None:
    predicted = remember(spec_of()).predict(cost_of(spec_of()), "cpu")
    assert predicted.cached
    assert {phase: span.expected for phase, span in predicted.phases.items()} == pytest.approx(
        {"loading": 3, "pretraining": 0, "distilling": 12, "evaluating": 8, "finalizing": 1, "around": 50 - 44}
    )
    total = predicted.total
    assert (total.low, total.expected) == pytest.approx((30 / 1.5, 30))
    assert total.high == pytest.approx(30 * 1.5 + 20 * 1.5)
    assert predicted.peak_bytes == 400 + cost_of(spec_of()).peak_bytes


def test_steps_scale_and_the_warm_up_does_not(remember: Remember) -> None:
    short, long = spec_of(100), spec_of(1000)
    predicted = remember(short).predict(cost_of(long), "cpu")
    share = cost_of(long).operations("distilling") / cost_of(short).operations("distilling")
    assert 9 < share < 11
    assert predicted.phases["distilling"].expected == pytest.approx(2 + 10 * share)
    assert predicted.phases["distilling"].level == 0
    assert predicted.peak_bytes == 400 + cost_of(long).peak_bytes


def test_networks_of_another_job_are_trained_at_the_measured_speed(remember: Remember) -> None:
    """A teacher beside the probe, which is there already, costs as much an operation as the probe did."""
    plain, taught = spec_of(), spec_of(regularizers={"mim": 1})
    own, both = (sum(cost_of(spec).networks_kept().values()) for spec in (plain, taught))
    predicted = remember(plain).predict(cost_of(taught), "cpu")
    assert own > 0
    assert predicted.phases["pretraining"].expected == pytest.approx(20 * (both - own) / own)


def test_the_median_counts_and_the_span_holds_all_that_was_seen(remember: Remember) -> None:
    for distilling in (12.0, 14.0, 100.0):
        forecaster = remember(spec_of(), usage_of(spec_of(), {**SECONDS, "distilling": distilling}))
    span = forecaster.predict(cost_of(spec_of()), "cpu").phases["distilling"]
    assert (span.expected, span.high, span.jobs) == pytest.approx((14, 100, 3))


def test_another_method_is_a_rougher_guess_and_says_so(remember: Remember) -> None:
    forecaster, idm = remember(spec_of()), spec_of(method={"name": "idm", "iterations": 10})
    same, other = (forecaster.predict(cost_of(spec), "cpu") for spec in (spec_of(), idm))
    assert same.phases["distilling"].level == 0
    assert (other.phases["distilling"].level or 0) > 1
    assert "from 1 job of dm on digits on this CPU (Desk, 2 threads)" in basis(spec_of(), "cpu", same)
    assert "scaled by operations" in basis(idm, "cpu", other)
    nothing = forecaster.predict(cost_of(spec_of()), "cuda")
    assert "80 to 800 GFLOP/s" in basis(spec_of(), "cuda", nothing)
    assert nothing.total.expected == pytest.approx((nothing.total.low * nothing.total.high) ** 0.5)


def test_where_nothing_was_measured_passes_that_are_not_compiled_are_slow() -> None:
    """So a study of two minutes plans no more steps than two cores take in them."""
    for compiled, usual, slow in ((False, 8e10, 4e10), (True, (8e10 * 8e11) ** 0.5, 8e10)):
        spec = spec_of(compile="on" if compiled else "off")
        span = Forecaster({}).predict(cost_of(spec), "cpu").phases["distilling"]
        flop = cost_of(spec).operations("distilling")
        speeds = [flop / seconds for seconds in (span.high, span.expected, span.low)]
        assert speeds == pytest.approx([slow, usual, 8e11])


def test_only_the_machine_that_is_there_counts(database: Database, remember: Remember) -> None:
    remember(spec_of())
    laptop = CPU.model_copy(update={"name": "Laptop, 8 threads"})
    slow = {name: 10 * seconds for name, seconds in SECONDS.items()}
    remember(spec_of(), usage_of(spec_of(), slow, laptop), 500.0)
    with database.read() as session:
        for present, distilling in (((), 120), (("Desk",), 12), (("Gone",), 120)):
            predicted = Forecaster.of(session, {"cpu": present}).predict(cost_of(spec_of()), "cpu")
            assert predicted.phases["distilling"].expected == pytest.approx(distilling)
        run = predict_run(session, spec_of(), Workload.of(cost_of(spec_of()), CPU))
        assert run.phases["distilling"].expected == pytest.approx(12)


def test_the_table_stays_small_and_forgets_the_oldest(database: Database, remember: Remember) -> None:
    for number in range(repository.OF_A_KIND + 3):
        remember(spec_of(), usage_of(spec_of(), {**SECONDS, "distilling": float(number)}))
    with database.read() as session:
        kept = [job.phases["distilling"].seconds for job in repository.newest(session, "cpu")]
    assert kept == [float(number) for number in range(repository.OF_A_KIND + 2, 2, -1)]


def test_a_rough_guess_is_never_sure_that_a_fast_machine_would_be_too_slow(remember: Remember) -> None:
    """Networks on larger images, of which nothing was measured: at best as fast as any machine of the kind."""
    large = parse({"dataset": "cifar10", "ipc": 10, "method": {"name": "dm", "iterations": 1000}, "compile": "off"})
    span = remember(spec_of()).predict(cost_of(large), "cpu").phases["distilling"]
    flop = cost_of(large).operations("distilling")
    assert span.low <= flop / 8e11
    assert span.expected <= 2.0 + flop / 8e10
