from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from tests.app.compare.jobs import results, spec_of
from tests.app.conftest import Api

AddJob = Callable[..., str]


class TestDocument:
    def test_seeds_are_put_together(self, api: Api, add_job: AddJob) -> None:
        start = datetime(2026, 1, 1, tzinfo=UTC)
        ended = {"status": "succeeded", "started_at": start, "runtime_s": 180.0}
        jobs = [
            add_job(spec=spec_of(seed=1), results=results([60, 62], random=[50], herding=[55], full=[90]), **ended),
            add_job(spec=spec_of(regularizers={"cmi": 2000}), results=results([70, 72]), **ended),
            add_job(spec=spec_of(seed=2), results=results([64, 66], random=[52], herding=[51]), **ended),
            add_job(spec=spec_of(seed=3), status="running", started_at=start),
        ]
        found = api.get("/v1/jobs:compare", params={"ids": jobs}).json()
        assert [one["id"] for one in found["jobs"]] == jobs
        assert [one["label"] for one in found["kinds"]] == ["dm", "dm + cmi 2000"]
        plain, cmi = found["kinds"]
        assert (plain["seeds"], plain["job_ids"]) == ([1, 2, 3], [jobs[0], jobs[2], jobs[3]])
        assert plain["accuracy"] == {"mean": 63.0, "std": 2.0, "n": 2, "over": "seeds"}
        assert plain["best_coreset"] == {"mean": 53.5, "std": pytest.approx(1.5), "n": 2, "over": "seeds"}
        assert cmi["accuracy"] == {"mean": 71.0, "std": 1.0, "n": 2, "over": "networks"}
        assert [one["best_coreset"] and one["best_coreset"]["name"] for one in found["jobs"]] == [
            "herding", None, "random", None,
        ]  # fmt: skip
        assert [one["minutes"] for one in found["jobs"]] == [3.0, 3.0, 3.0, None]
        differing = {one["path"]: one["values"] for one in found["differences"]}
        assert differing["regularizers.cmi"] == {jobs[1]: "2000"}
        assert list(differing["seed"].values()) == [1, 0, 2, 3]

    def test_table(self, api: Api, add_job: AddJob) -> None:
        jobs = [
            add_job(spec=spec_of(), name='a "name", with commas', results=results([60, 62])),
            add_job(
                spec=spec_of(evaluation={"epochs": 5}),
                results={**results([60]), "teacher": {"bytes": 2048}, "labels": {"epochs": 3, "bytes": 512}},
            ),
        ]
        answer = api.get("/v1/jobs:compare.csv", params={"ids": ",".join(jobs)})
        assert answer.headers["content-type"].startswith("text/csv")
        first, second = csv.DictReader(io.StringIO(answer.text))
        assert (first["id"], first["name"]) == (jobs[0], 'a "name", with commas')
        assert (first["accuracy"], first["accuracy_std"], second["accuracy"]) == ("61.0", "1.0", "60.0")
        assert (first["teacher_bytes"], second["teacher_bytes"]) == ("", "2048")
        assert (first["label_bytes"], second["label_bytes"]) == ("", "512")
        assert (first["evaluation.epochs"], second["evaluation.epochs"]) == ("300", "5")


class TestRefusals:
    @pytest.mark.parametrize(
        ("ids", "words"),
        [
            (",", "names 0 jobs, but may name 1 to 50"),
            (",".join(f"job_0{n:025d}" for n in range(500)), "names 500 jobs, but may name 1 to 50; compare fewer"),
            ("job_1,sausage", "no identifier of a job"),
        ],
    )
    def test_what_cannot_be_jobs(self, api: Api, ids: str, words: str) -> None:
        answer = api.get("/v1/jobs:compare", params={"ids": ids})
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_parameter")
        assert words in answer.json()["detail"]

    def test_a_job_is_named_once(self, api: Api, add_job: AddJob) -> None:
        job = add_job()
        detail = api.get("/v1/jobs:compare", params={"ids": f"{job},{job}"}).json()["detail"]
        assert detail == f"`ids` names {job} more than once; name each job once"

    def test_jobs_of_others_and_deleted_ones_do_not_exist(self, api: Api, rival: Api, add_job: AddJob) -> None:
        mine, gone = add_job(), add_job(status="failed")
        assert api.delete(f"/v1/jobs/{gone}").status_code == 204
        for who, ids, missing in ((api, [mine, gone], gone), (rival, [mine], mine)):
            for path in ("/v1/jobs:compare", "/v1/jobs:compare.csv", "/v1/metrics:bands?key=loss"):
                answer = who.get(path, params={"ids": ids} | ({"key": "loss"} if "bands" in path else {}))
                assert answer.status_code == 404, path
                assert answer.json()["detail"] == f"you have no job {missing}; leave it out"

    def test_jobs_that_take_images_in_have_nothing_to_compare(self, api: Api, add_job: AddJob) -> None:
        job = add_job(kind="ingest")
        answer = api.get("/v1/jobs:compare", params={"ids": job})
        assert answer.status_code == 400
        assert "only jobs that distil" in answer.json()["detail"]
