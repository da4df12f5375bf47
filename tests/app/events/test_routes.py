from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from app.events import repository as events

if TYPE_CHECKING:
    from tests.app.conftest import Api

MISSING = "job_01m7wfazz0fpcr59g52gcd7d4a"


@pytest.fixture
def job(api: Api, add_job: Callable[..., str]) -> str:
    job_id = add_job(status="succeeded")
    with api.database.write() as session:
        for seq in range(1, 8):
            level: Any = ("info", "warning", "error")[seq % 3]
            events.append(session, job_id, f"job.{level}", level, f"event {seq}\nof seven", {"n": seq})
    return job_id


def messages(text: str) -> list[dict[str, str]]:
    """The messages of a stream, fields by name; comments and the reconnection time are left out."""
    blocks = [block.split("\n") for block in text.split("\n\n") if block]
    found = [dict(line.split(": ", 1) for line in block if not line.startswith(":")) for block in blocks]
    return [fields for fields in found if "data" in fields]


class TestList:
    def seqs(self, api: Api, job: str, **asked: Any) -> list[int]:
        return [event["seq"] for event in api.get(f"/v1/jobs/{job}/events", params=asked).json()["data"]]

    def test_in_order(self, api: Api, job: str) -> None:
        body = api.get(f"/v1/jobs/{job}/events").json()
        assert [event["seq"] for event in body["data"]] == [1, 2, 3, 4, 5, 6, 7]
        assert body["next_after_seq"] is None
        first = body["data"][0]
        assert first["at"].endswith("Z")
        assert {k: first[k] for k in ("object", "job_id", "type", "level", "message", "data", "attempt")} == {
            "object": "event",
            "job_id": job,
            "type": "job.warning",
            "level": "warning",
            "message": "event 1\nof seven",
            "data": {"n": 1},
            "attempt": 0,
        }

    def test_filters(self, api: Api, job: str) -> None:
        assert self.seqs(api, job, after_seq=5) == [6, 7]
        assert self.seqs(api, job, level=["error", "info"]) == [2, 3, 5, 6]
        assert self.seqs(api, job, type="job.error", after_seq=2) == [5]
        assert self.seqs(api, job, type="job.nothing") == []

    def test_page_by_page(self, api: Api, job: str) -> None:
        seen: list[int] = []
        after: int | None = 0
        while after is not None:
            body = api.get(f"/v1/jobs/{job}/events", params={"after_seq": after, "limit": 3}).json()
            seen += [event["seq"] for event in body["data"]]
            after = body["next_after_seq"]
        assert seen == [1, 2, 3, 4, 5, 6, 7]

    @pytest.mark.parametrize(
        "asked", [{"limit": 0}, {"limit": 1001}, {"after_seq": -1}, {"level": "fatal"}, {"levels": "info"}]
    )
    def test_bad_questions(self, api: Api, job: str, asked: dict[str, Any]) -> None:
        assert api.get(f"/v1/jobs/{job}/events", params=asked).status_code == 400


class TestStream:
    def test_everything_then_the_end(self, api: Api, job: str) -> None:
        answer = api.get(f"/v1/jobs/{job}/events:stream")
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        assert answer.headers["Cache-Control"] == "no-cache"
        *found, last = messages(answer.text)
        assert [fields["id"] for fields in found] == ["1", "2", "3", "4", "5", "6", "7"]
        assert json.loads(found[0]["data"])["message"] == "event 1\nof seven"
        assert last == {"event": "end", "data": '{"status": "succeeded"}'}
        assert answer.text.startswith("retry: 1000\n\n")

    @pytest.mark.parametrize(
        "options", [{"headers": {"Last-Event-ID": "5"}}, {"params": {"last_event_id": "5"}}], ids=["header", "query"]
    )
    def test_from_the_last_event_on(self, api: Api, job: str, options: dict[str, Any]) -> None:
        found = messages(api.get(f"/v1/jobs/{job}/events:stream", **options).text)
        assert [fields.get("id") for fields in found] == ["6", "7", None]

    def test_the_header_of_a_reconnection_outranks_the_address(self, api: Api, job: str) -> None:
        answer = api.get(f"/v1/jobs/{job}/events:stream", params={"last_event_id": "1"}, headers={"Last-Event-ID": "7"})
        assert [fields.get("id") for fields in messages(answer.text)] == [None]

    @pytest.mark.parametrize("bad", ["x", "-1", "1.5", "9" * 19, "٣"])
    def test_bad_last_event(self, api: Api, job: str, bad: str) -> None:
        answer = api.get(f"/v1/jobs/{job}/events:stream", params={"last_event_id": bad})
        assert answer.status_code == 400
        assert "Last-Event-ID" in answer.json()["detail"]


def test_streams_are_described_message_by_message(api: Api) -> None:
    paths = api.get("/openapi.json").json()["paths"]
    for path in ("/v1/events:stream", "/v1/jobs/{job_id}/events:stream"):
        content = paths[path]["get"]["responses"]["200"]["content"]
        assert set(content) == {"text/event-stream"}
        assert set(content["text/event-stream"]["itemSchema"]["properties"]) == {"data", "event", "id", "retry"}


@pytest.mark.parametrize("path", ["events", "events:stream"])
class TestAccess:
    def test_unknown_job(self, api: Api, path: str) -> None:
        assert api.get(f"/v1/jobs/{MISSING}/{path}").status_code == 404

    def test_somebody_elses_job(self, rival: Api, job: str, path: str) -> None:
        assert rival.get(f"/v1/jobs/{job}/{path}").status_code == 404

    def test_no_key(self, api: Api, job: str, path: str) -> None:
        assert api.acting_as(None).get(f"/v1/jobs/{job}/{path}").status_code == 401


def test_following_all_jobs_needs_a_key(api: Api) -> None:
    assert api.acting_as(None).get("/v1/events:stream").status_code == 401
