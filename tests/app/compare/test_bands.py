from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from app.metrics.repository import ingest
from tests.app.compare.jobs import results, spec_of
from tests.app.conftest import Api

BACKENDS = ("sqlite", "postgres")
AddJob = Callable[..., str]


def report(api: Api, job: str, values: dict[int, float], key: str = "loss") -> None:
    with api.database.write() as session:
        ingest(session, job, "default", [(step, step, key, value) for step, value in values.items()])


def bands(api: Api, jobs: Sequence[str], key: str = "loss", **query: Any) -> dict[str, Any]:
    answer = api.get("/v1/metrics:bands", params={"ids": ",".join(jobs), "key": key, **query})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


class TestBands:
    def test_seeds_become_mean_and_spread(self, api: Api, add_job: AddJob) -> None:
        jobs = [add_job(spec=spec_of(seed=seed)) for seed in range(3)]
        report(api, jobs[0], {0: 1.0, 10: 2.0, 20: 3.0})
        report(api, jobs[1], {0: 3.0, 10: math.nan, 20: 5.0})
        report(api, jobs[2], {0: 8.0})
        (band,) = bands(api, jobs)["bands"]
        assert band["exact"]
        assert band["step_min"] == [0, 10, 20]
        assert band["n"] == [3, 1, 2]
        assert band["nonfinite"] == [0, 1, 0]
        assert band["mean"] == [4.0, 2.0, 4.0]
        assert band["std"] == pytest.approx([statistics.pstdev([1, 3, 8]), 0.0, 1.0])
        assert (band["low"], band["high"]) == ([1.0, 2.0, 3.0], [8.0, 2.0, 5.0])

    def test_long_series_keep_every_spike_and_join_the_same_steps(self, api: Api, add_job: AddJob) -> None:
        jobs, rng = [add_job(spec=spec_of(seed=seed)) for seed in range(2)], random.Random(0)
        ends = (5000, 4000)
        values = [{step: rng.gauss(0, 1) for step in range(end)} for end in ends]
        values[1][1234] = 99.0
        for job, readings in zip(jobs, values, strict=True):
            report(api, job, readings)
        (band,) = bands(api, jobs, max_points=50)["bands"]
        assert not band["exact"]
        assert len(band["mean"]) <= 50
        assert (max(band["high"]), band["n"][0], band["n"][-1]) == (99.0, 2, 1)
        for row, (first, last) in enumerate(zip(band["step_min"], band["step_max"], strict=True)):
            parts = [[v for step, v in one.items() if first <= step <= last] for one in values]
            means = [statistics.fmean(part) for part in parts if part]
            assert band["mean"][row] == pytest.approx(statistics.fmean(means))
            assert band["std"][row] == pytest.approx(statistics.pstdev(means), abs=1e-12)
            assert band["low"][row] == min(min(part) for part in parts if part)

    def test_a_window_shows_more_detail(self, api: Api, add_job: AddJob) -> None:
        job = add_job(spec=spec_of())
        report(api, job, {step: float(step) for step in range(1000)})
        (band,) = bands(api, [job], max_points=20, step_from=100, step_to=109)["bands"]
        assert band["exact"]
        assert band["mean"] == [float(step) for step in range(100, 110)]

    def test_readings_of_different_probes_are_not_overlaid(self, api: Api, add_job: AddJob) -> None:
        jobs = [
            add_job(spec=spec_of(seed=n), results=results([60], digest=letter * 64)) for n, letter in enumerate("ab")
        ]
        for job in jobs:
            report(api, job, {0: 1.0}, "cmi")
        refused = bands(api, jobs, "cmi")
        assert (refused["comparable"], refused["bands"]) == ("different", [])
        assert "by different probes (aaaaaaaaaaaa, bbbbbbbbbbbb)" in refused["note"]
        assert bands(api, jobs[:1], "cmi")["comparable"] == "same"
        (curve,) = api.get("/v1/jobs:compare", params={"ids": jobs}).json()["curves"]
        assert (curve["key"], curve["comparable"]) == ("cmi", "different")

    def test_losses_of_different_methods_come_with_a_warning(self, api: Api, add_job: AddJob) -> None:
        jobs = [add_job(spec=spec_of()), add_job(spec=spec_of(method={"name": "dc", "iterations": 10}), method="dc")]
        for job in jobs:
            report(api, job, {0: 1.0})
        found = bands(api, jobs)
        assert (found["comparable"], len(found["bands"])) == ("unknown", 2)
        assert "not their levels" in found["note"]

    @pytest.mark.parametrize(
        ("other", "recipes", "same"),
        [
            ({}, 1, True),
            ({"repeats": 7}, 1, True),
            ({"epochs": 20}, 2, False),
            ({"protocol": "dm"}, 2, False),
            ({"during": {"at": [0], "epochs": 7}}, 1, False),
        ],
    )
    def test_accuracies_of_two_recipes_have_no_line_of_real_images(
        self, api: Api, add_job: AddJob, other: dict[str, Any], recipes: int, same: bool
    ) -> None:
        scored = {"during": {"at": [0]}}
        jobs = [
            add_job(spec=spec_of(evaluation=evaluation), method=f"m{n}")
            for n, evaluation in enumerate((scored, scored | other))
        ]
        for job, of_real in zip(jobs, (50.0, 60.0), strict=True):
            report(api, job, {0: 70.0}, "accuracy/validation")
            report(api, job, {0: of_real}, "accuracy/random")
        found = api.get("/v1/jobs:compare", params={"ids": jobs}).json()
        (curve,) = found["curves"]
        assert found["recipes"] == recipes
        assert (curve["comparable"], curve["random"]) == (("same", 55.0) if same else ("unknown", None))
        page = api.get(f"/compare?ids={','.join(jobs)}").text
        assert ("by 2 recipes" in page) == (recipes == 2)
