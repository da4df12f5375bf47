from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from app.metrics.repository import ingest

if TYPE_CHECKING:
    from tests.app.conftest import Api

MISSING = "job_01m7wfazz0fpcr59g52gcd7d4a"


@pytest.fixture
def job(api: Api, add_job: Callable[..., str]) -> str:
    job_id = add_job()
    with api.database.write() as session:
        readings = [(step, 1_700_000_000_000 + step, "loss", 100.0 - step) for step in range(0, 100, 10)]
        readings += [(50, 1_700_000_000_050, "cmi", math.nan), (60, 1_700_000_000_060, "cmi", 0.25)]
        ingest(session, job_id, "default", readings)
    return job_id


class TestList:
    def test_says_what_there_is(self, api: Api, job: str) -> None:
        answer = api.get(f"/v1/jobs/{job}/metrics")
        assert answer.status_code == 200
        assert answer.json()["data"] == [
            {
                "name": "cmi",
                "first_step": 50,
                "last_step": 60,
                "count": 1,
                "nonfinite": 1,
                "last": 0.25,
                "min": 0.25,
                "max": 0.25,
            },
            {
                "name": "loss",
                "first_step": 0,
                "last_step": 90,
                "count": 10,
                "nonfinite": 0,
                "last": 10.0,
                "min": 10.0,
                "max": 100.0,
            },
        ]

    def test_job_without_readings(self, api: Api, add_job: Callable[..., str]) -> None:
        assert api.get(f"/v1/jobs/{add_job()}/metrics").json()["data"] == []


class TestQuery:
    def test_few_readings_come_as_they_are(self, api: Api, job: str) -> None:
        body = api.get(f"/v1/jobs/{job}/metrics:query", params={"key": "loss"}).json()
        (series,) = body["series"]
        assert (series["exact"], series["level"], series["width"]) == (True, 0, 1)
        assert series["step_min"] == series["step_max"] == list(range(0, 100, 10))
        assert series["mean"] == series["min"] == series["max"] == series["last"]
        assert series["mean"] == [100.0 - step for step in range(0, 100, 10)]

    def test_many_are_joined(self, api: Api, job: str) -> None:
        body = api.get(f"/v1/jobs/{job}/metrics:query", params={"key": "loss", "max_points": 3}).json()
        (series,) = body["series"]
        assert not series["exact"]
        assert series["n"] == [5, 5]
        assert series["mean"] == [80.0, 30.0]
        assert series["min"] == [60.0, 10.0]
        assert series["max"] == [100.0, 50.0]
        assert series["last"] == [60.0, 10.0]

    def test_all_metrics_by_default_in_the_order_of_their_names(self, api: Api, job: str) -> None:
        body = api.get(f"/v1/jobs/{job}/metrics:query").json()
        assert [series["key"] for series in body["series"]] == ["cmi", "loss"]

    def test_metrics_come_in_the_order_asked(self, api: Api, job: str) -> None:
        body = api.get(f"/v1/jobs/{job}/metrics:query", params={"key": ["loss", "cmi", "loss", "los"]}).json()
        assert [series["key"] for series in body["series"]] == ["loss", "cmi"]
        assert body["unknown"] == ["los"]

    def test_nonfinite_readings_are_counted(self, api: Api, job: str) -> None:
        (series,) = api.get(f"/v1/jobs/{job}/metrics:query", params={"key": "cmi"}).json()["series"]
        assert (series["n"], series["nonfinite"], series["mean"]) == ([0, 1], [1, 0], [None, 0.25])

    def test_range_of_steps(self, api: Api, job: str) -> None:
        asked = {"key": "loss", "step_from": 25, "step_to": 50}
        (series,) = api.get(f"/v1/jobs/{job}/metrics:query", params=asked).json()["series"]
        assert series["step_min"] == [30, 40, 50]

    @pytest.mark.parametrize(("agg", "columns"), [("mean", {"mean"}), ("last", {"last"})])
    def test_columns_follow_the_aggregate(self, api: Api, job: str, agg: str, columns: set[str]) -> None:
        (series,) = api.get(f"/v1/jobs/{job}/metrics:query", params={"key": "loss", "agg": agg}).json()["series"]
        assert series.keys() & {"min", "max", "mean", "last", "value"} == columns

    def test_raw_readings_come_page_by_page(self, api: Api, job: str) -> None:
        steps: list[int] = []
        asked: dict[str, Any] = {"key": "loss", "agg": "raw", "max_points": 4, "step_from": 0}
        while asked["step_from"] is not None:
            (series,) = api.get(f"/v1/jobs/{job}/metrics:query", params=asked).json()["series"]
            assert len(series["step"]) <= 4
            steps += series["step"]
            asked["step_from"] = series.get("next_step")
        assert steps == list(range(0, 100, 10))
        assert series["wall_time"][-1] == "2023-11-14T22:13:20.090Z"

    def test_raw_readings_name_what_is_not_finite(self, api: Api, job: str) -> None:
        (series,) = api.get(f"/v1/jobs/{job}/metrics:query", params={"key": "cmi", "agg": "raw"}).json()["series"]
        assert (series["value"], series["nonfinite"]) == ([None, 0.25], ["nan", None])

    def test_unchanged_readings_are_not_sent_again(self, api: Api, job: str) -> None:
        path = f"/v1/jobs/{job}/metrics:query"
        tag = api.get(path).headers["ETag"]
        again = api.get(path, headers={"If-None-Match": f'"other", {tag}'})
        assert (again.status_code, again.content) == (304, b"")
        with api.database.write() as session:
            ingest(session, job, "default", [(100, 0, "loss", 1.0)])
        assert api.get(path, headers={"If-None-Match": tag}).status_code == 200

    @pytest.mark.parametrize(
        ("asked", "named"),
        [
            ({"max_points": 1}, "max_points"),
            ({"max_points": 5001}, "max_points"),
            ({"agg": "median"}, "agg"),
            ({"step_from": -1}, "step_from"),
            ({"step_from": 9, "step_to": 3}, "step_from"),
            ({"key": [f"k{i}" for i in range(17)]}, "key"),
            ({"key": ""}, "key"),
            ({"keys": "loss"}, "did you mean `key`"),
        ],
    )
    def test_bad_questions_are_named(self, api: Api, job: str, asked: dict[str, Any], named: str) -> None:
        answer = api.get(f"/v1/jobs/{job}/metrics:query", params=asked)
        assert answer.status_code == 400
        assert named in answer.json()["detail"]


class TestCompare:
    def test_one_metric_of_several_jobs(self, api: Api, job: str, add_job: Callable[..., str]) -> None:
        other = add_job()
        with api.database.write() as session:
            ingest(session, other, "default", [(1, 0, "loss", 5.0)])
        body = api.get("/v1/metrics:compare", params={"job": [other, job], "key": "loss"}).json()
        assert [(series["job_id"], len(series["mean"])) for series in body["series"]] == [(other, 1), (job, 10)]

    def test_at_most_twenty_jobs(self, api: Api, job: str) -> None:
        assert api.get("/v1/metrics:compare", params={"job": [job] * 21, "key": "loss"}).status_code == 400

    def test_somebody_elses_job_hides_the_rest(self, rival: Api, job: str) -> None:
        assert rival.get("/v1/metrics:compare", params={"job": [job], "key": "loss"}).status_code == 404


@pytest.mark.parametrize("path", ["metrics", "metrics:query"])
class TestAccess:
    def test_unknown_job(self, api: Api, path: str) -> None:
        assert api.get(f"/v1/jobs/{MISSING}/{path}").status_code == 404

    def test_somebody_elses_job(self, rival: Api, job: str, path: str) -> None:
        assert rival.get(f"/v1/jobs/{job}/{path}").status_code == 404

    def test_no_key(self, api: Api, job: str, path: str) -> None:
        assert api.acting_as(None).get(f"/v1/jobs/{job}/{path}").status_code == 401
