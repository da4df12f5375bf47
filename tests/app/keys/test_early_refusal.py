"""Whoever asks on after a refusal waits for the next one, and costs nobody anything."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event

from app.core import rates
from app.core.errors import RateLimited
from app.core.rates import Rates
from app.core.security import make_key

if TYPE_CHECKING:
    from tests.app.conftest import Api

WRONG = "dd_local_aaaaaaaa_" + "b" * 43 + "_00000000"
JOB = {"dataset": "digits", "ipc": 1, "method": {"name": "dm", "iterations": 10}}

pytestmark = pytest.mark.usefixtures("whole_window")


@pytest.fixture
def limited(api: Api) -> Api:
    """At most three requests, two submissions and two wrong keys a minute."""
    few = {"rate_requests": 3, "rate_submissions": 2, "rate_failures": 2}
    api.state.rates = Rates(api.settings.model_copy(update=few))
    return api


@pytest.fixture
def statements(api: Api) -> Iterator[list[str]]:
    """What the database is asked."""
    asked: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        asked.append(statement)

    event.listen(api.database.engine, "before_cursor_execute", note)
    yield asked
    event.remove(api.database.engine, "before_cursor_execute", note)


def test_wrong_keys_are_refused_without_being_looked_at(limited: Api, statements: list[str]) -> None:
    stranger = limited.acting_as(WRONG)
    assert [stranger.get("/v1/me").status_code for _ in range(3)] == [401, 401, 429]
    began = time.monotonic()
    # Its body is not even read: it would be refused as none.
    refused = stranger.post("/v1/jobs", content=b"{", headers={"Content-Type": "application/json"})
    assert time.monotonic() - began >= rates.PAUSE_S
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert refused.headers["RateLimit-Policy"] == '"failures";q=2;w=60'
    assert int(refused.headers["Retry-After"]) >= 1
    assert statements == []


def test_a_right_key_is_served_whatever_its_address_has_tried(limited: Api) -> None:
    stranger = limited.acting_as(WRONG)
    assert [stranger.get("/v1/me").status_code for _ in range(3)] == [401, 401, 429]
    assert limited.get("/v1/me").status_code == 200
    assert limited.acting_as(None).get("/healthz").status_code == 200


def test_a_well_formed_key_that_nobody_has_is_looked_up_and_counted(limited: Api, statements: list[str]) -> None:
    strangers = [limited.acting_as(make_key("local").text) for _ in range(4)]
    began = time.monotonic()
    assert [stranger.get("/v1/me").status_code for stranger in strangers] == [401, 401, 429, 429]
    assert time.monotonic() - began >= 2 * rates.PAUSE_S
    assert len([statement for statement in statements if "FROM api_keys" in statement]) == 4


def test_of_keys_that_nobody_has_an_address_has_one_looked_up_at_a_time(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_key, running, most = api.state.keyring.by_key, 0, 0

    def counted(text: str) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.01)
        try:
            return by_key(text)
        finally:
            running -= 1

    monkeypatch.setattr(api.state.keyring, "by_key", counted)

    async def together() -> list[int]:
        headers = [{"Authorization": f"Bearer {make_key('local').text}"} for _ in range(6)]
        asked = [api.client.get("/v1/me", headers=each) for each in headers]
        return [answer.status_code for answer in await asyncio.gather(*asked)]

    assert api.portal.call(together) == [401] * 6
    assert most == 1


def test_a_key_beyond_its_rate_is_refused_without_its_body_being_read(limited: Api, statements: list[str]) -> None:
    assert [limited.get("/v1/me").status_code for _ in range(4)] == [200, 200, 200, 429]
    statements.clear()
    began = time.monotonic()
    refused = limited.post("/v1/jobs", content=b"{", headers={"Content-Type": "application/json"})
    assert time.monotonic() - began >= rates.PAUSE_S
    assert (refused.status_code, refused.headers["RateLimit-Policy"]) == (429, '"requests";q=3;w=60')
    assert statements == []


def test_of_a_rate_of_submissions_reading_is_free(limited: Api) -> None:
    assert [limited.post("/v1/jobs", json=JOB).status_code for _ in range(3)] == [201, 201, 429]
    limited.state.rates._requests = rates.Rate("requests", 0, "DD_RATE_REQUESTS")
    assert limited.get("/v1/jobs").status_code == 200
    assert limited.post("/v1/jobs", json=JOB).status_code == 429


def test_it_is_counted_again_a_moment_later(limited: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "REFUSED_S", 0.1)
    assert [limited.get("/v1/me").status_code for _ in range(4)] == [200, 200, 200, 429]
    limited.state.rates._own.storage.reset()
    time.sleep(0.2)
    assert limited.get("/v1/me").status_code == 200


def test_only_so_many_refusals_are_remembered(limited: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "REFUSED", 10)
    counting: Rates = limited.state.rates
    for number in range(25):
        for _ in range(2):
            counting.failed(f"10.0.0.{number}")
        with pytest.raises(RateLimited):
            counting.failed(f"10.0.0.{number}")
    assert len(counting._refused) <= 10
    assert counting.refused_for_failures("10.0.0.24") is not None
