"""How often somebody may ask, in memory, in Redis and where Redis has gone."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from app.core.errors import RateLimited
from app.core.rates import STATE, Rates, Streams
from app.core.settings import Settings

if TYPE_CHECKING:
    from tests.app.conftest import Api

JOB = {"dataset": "digits", "ipc": 1, "method": {"name": "dm", "iterations": 10}}

pytestmark = pytest.mark.usefixtures("whole_window")


def rates(tmp_path: Path, **fields: Any) -> Rates:
    return Rates(Settings(home=tmp_path, **fields))


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
def broker(request: pytest.FixtureRequest, redis_url: str) -> str:
    return redis_url if request.param == "redis" else "filesystem://"


def test_as_many_as_allowed_pass_and_the_next_is_told_how_long_to_wait(tmp_path: Path, broker: str) -> None:
    """Two processes of one service count together where there is a Redis."""
    who, other = uuid.uuid4().hex, uuid.uuid4().hex
    one = rates(tmp_path, rate_requests=4, broker_url=broker)
    two = rates(tmp_path, rate_requests=4, broker_url=broker) if broker.startswith("redis") else one
    state: dict[str, Any] = {}
    for process in (one, two, one, two):
        process.asked(who, "GET", "/v1/jobs", state)
    assert state[STATE]["RateLimit-Policy"] == '"requests";q=4;w=60'
    assert state[STATE]["RateLimit"].startswith('"requests";r=0;t=')
    with pytest.raises(RateLimited, match=r"more than 4 requests a minute; wait \d+ s.*DD_RATE_REQUESTS") as caught:
        two.asked(who, "GET", "/v1/jobs", state)
    assert 1 <= int(caught.value.headers["Retry-After"]) <= 60
    one.asked(other, "GET", "/v1/jobs", state)


def test_submissions_and_uploads_have_rates_of_their_own(tmp_path: Path) -> None:
    counting = rates(tmp_path, rate_submissions=2, rate_uploads=1, rate_requests=0)
    for path in ("/v1/jobs", "/v1/jobs/job_1:clone"):
        counting.asked("key", "POST", path, {})
    for path in ("/v1/jobs", "/v1/studies", "/v1/jobs/job_1:extend", "/v1/datasets/ds_1:ingest", "/jobs/new"):
        with pytest.raises(RateLimited, match="submissions"):
            counting.asked("key", "POST", path, {})
    for method, path in (("GET", "/v1/jobs"), ("POST", "/v1/jobs/job_1:cancel"), ("POST", "/v1/jobs:validate")):
        counting.asked("key", method, path, {})
    counting.asked("key", "PUT", "/v1/datasets/ds_1/content", {})
    with pytest.raises(RateLimited, match="uploads"):
        counting.asked("key", "PUT", "/v1/datasets/ds_2/content", {})


def test_where_redis_does_not_answer_each_process_counts_by_itself(tmp_path: Path) -> None:
    counting = rates(tmp_path, rate_failures=3, broker_url="redis://127.0.0.1:1/0")
    before = time.monotonic()
    for _ in range(3):
        counting.failed("10.0.0.1")
    with pytest.raises(RateLimited, match="more than 3 failures a minute"):
        counting.failed("10.0.0.1")
    counting.failed("10.0.0.2")
    assert time.monotonic() - before < 60


def test_zero_is_no_limit(tmp_path: Path) -> None:
    counting, state = rates(tmp_path, rate_requests=0), dict[str, Any]()
    for _ in range(50):
        counting.asked("key", "GET", "/v1/jobs", state)
    assert state == {}


def test_streams_are_counted_while_they_are_open() -> None:
    streams = Streams(2)
    refused = pytest.raises(RateLimited, match=r"2 event streams are open with this key.*/v1/events:stream")
    with streams.one("a"), streams.one("a"), streams.one("b"), refused, streams.one("a"):
        pass
    with streams.one("a"), streams.one("a"):
        pass
    unlimited = Streams(0)
    with unlimited.one("a"), unlimited.one("a"):
        pass


class TestHttp:
    def test_answers_say_what_is_left(self, api: Api) -> None:
        answer = api.get("/v1/me")
        assert answer.headers["RateLimit-Policy"] == f'"requests";q={api.settings.rate_requests};w=60'
        assert answer.headers["RateLimit"].startswith('"requests";r=')
        submitted = api.post("/v1/jobs", json=JOB)
        assert submitted.headers["RateLimit-Policy"].startswith('"submissions";')
        assert "RateLimit" not in api.get("/healthz").headers

    def test_wrong_keys_in_a_row_are_turned_away_and_right_ones_are_not(self, api: Api) -> None:
        api.state.rates = Rates(api.settings.model_copy(update={"rate_failures": 5}))
        wrong = api.acting_as("dd_local_aaaaaaaa_" + "b" * 43 + "_00000000")
        statuses = [wrong.get("/v1/me").status_code for _ in range(8)]
        assert statuses == [401] * 5 + [429] * 3
        refused = wrong.get("/v1/me")
        assert refused.json()["code"] == "rate_limited"
        assert int(refused.headers["Retry-After"]) >= 1
        assert refused.headers["RateLimit-Policy"] == '"failures";q=5;w=60'
        assert api.get("/v1/me").status_code == 200
        assert api.acting_as(None).get("/login", params={"token": "x"}).status_code == 429

    def test_a_flood_of_submissions_is_turned_away_and_others_are_served(self, api: Api, rival: Api) -> None:
        api.state.rates = Rates(api.settings.model_copy(update={"rate_submissions": 3}))
        statuses = [api.post("/v1/jobs", json=JOB).status_code for _ in range(5)]
        assert statuses == [201] * 3 + [429] * 2
        assert rival.post("/v1/jobs", json=JOB).status_code == 201
        assert api.get("/v1/jobs").status_code == 200

    def test_streams_beyond_the_limit_are_refused(self, api: Api) -> None:
        api.state.streams = Streams(1)
        job = api.submit(JOB)
        me = api.get("/v1/me").json()["key_id"]
        with api.state.streams.one(me):
            refused = api.get(f"/v1/jobs/{job['id']}/events:stream")
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        api.force(job["id"], status="cancelled")
        assert api.get(f"/v1/jobs/{job['id']}/events:stream").status_code == 200
        assert api.get(f"/v1/jobs/{job['id']}/events:stream").status_code == 200, "the first one has ended"
