from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

import httpx
import pytest

from ddclient import Client, ProblemError, UnreachableError
from ddclient.sse import Message, messages
from tests.ddclient.conftest import JOB_ID, FakeService

PATH = f"/v1/jobs/{JOB_ID}/events:stream"
END = b"event: end\ndata: {}\n\n"


def event(seq: int) -> bytes:
    document = {"seq": seq, "job_id": JOB_ID, "type": "job.log", "message": f"number {seq}"}
    return f"id: {seq}\nevent: job.log\ndata: {json.dumps(document)}\n\n".encode()


def stream(*parts: bytes, breaks: bool = False) -> httpx.Response:
    def body() -> Iterator[bytes]:
        yield from parts
        if breaks:
            raise httpx.ReadError("connection reset")

    return httpx.Response(200, headers={"Content-Type": "text/event-stream"}, content=body())


def read(client: Client, after: int = 0) -> list[int]:
    return [event.seq for event in client.events(JOB_ID, after=after)]


def test_events_arrive_in_order_until_the_end(client: Client, service: FakeService) -> None:
    service.on("GET", PATH, stream(b": ping\n\n", event(1), event(2), END))
    assert read(client) == [1, 2]


@pytest.mark.parametrize("breaks", [True, False], ids=["reset", "closed"])
def test_a_broken_stream_goes_on_after_the_last_event(client: Client, service: FakeService, breaks: bool) -> None:
    half = event(3)[:20]
    service.on("GET", PATH, stream(event(1), event(2), half, breaks=breaks), stream(event(3), END))
    assert read(client) == [1, 2, 3]
    assert [request.headers.get("Last-Event-ID") for request in service.requests] == [None, "2"]


def test_an_event_that_comes_twice_is_given_once(client: Client, service: FakeService) -> None:
    service.on("GET", PATH, stream(event(1), event(2), breaks=True), stream(event(2), event(3), END))
    assert read(client) == [1, 2, 3]


def test_following_can_begin_in_the_middle(client: Client, service: FakeService) -> None:
    service.on("GET", PATH, stream(event(8), END))
    assert read(client, after=7) == [8]
    assert service.requests[0].headers["Last-Event-ID"] == "7"


def test_a_restarting_service_is_waited_for(client: Client, service: FakeService) -> None:
    service.on("GET", PATH, httpx.ConnectError("refused"), httpx.Response(503), stream(event(1), END))
    assert read(client) == [1]


def test_a_job_that_is_not_there_is_refused_at_once(client: Client, service: FakeService) -> None:
    with pytest.raises(ProblemError, match="Not found"):
        read(client)
    assert len(service.requests) == 1


def test_a_rate_limit_is_waited_for_and_a_quota_is_not(
    client: Client, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("ddclient.events.time.sleep", slept.append)
    limited = httpx.Response(429, json={"code": "rate_limited"}, headers={"Retry-After": "7"})
    service.on("GET", PATH, limited, stream(event(1), END), httpx.Response(429, json={"code": "quota_exceeded"}))
    assert (read(client), slept) == ([1], [7.0])
    with pytest.raises(ProblemError):
        read(client)
    assert slept == [7.0]


def test_too_many_streams_are_told_as_such_in_the_end(
    client: Client, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ddclient.events.PATIENCE_S", -1.0)
    detail = "20 event streams are open with this key"
    service.on("GET", PATH, httpx.Response(429, json={"code": "rate_limited", "detail": detail}))
    with pytest.raises(ProblemError, match=detail):
        read(client)


def test_patience_ends(client: Client, service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ddclient.events.PATIENCE_S", 0.0)
    service.on("GET", PATH, httpx.ConnectError("refused"))
    with pytest.raises(UnreachableError, match="refused"):
        read(client)


def test_existing_events_are_read_page_by_page(
    client: Client, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ddclient.calls.PAGE", 2)

    def page(request: httpx.Request) -> httpx.Response:
        after = int(request.url.params["after_seq"])
        rows = [{"seq": n, "job_id": JOB_ID, "type": "job.log"} for n in range(after + 1, min(after + 3, 4))]
        return httpx.Response(200, json={"data": rows})

    service.on("GET", f"/v1/jobs/{JOB_ID}/events", page)
    assert [e.seq for e in client.events(JOB_ID, follow=False)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["data: a", "data: b", ""], [Message("message", "a\nb", "")]),
        (["data:a", ""], [Message("message", "a", "")]),
        ([": comment", "", "event: x", ""], []),
        (["id: 4", "data: a", "", "data: b", ""], [Message("message", "a", "4"), Message("message", "b", "4")]),
        (["id: 4\0", "data: a", ""], [Message("message", "a", "")]),
        (["data: cut off"], []),
        (["retry: 10", "data", ""], [Message("message", "", "")]),
    ],
)
def test_messages_follow_the_standard(lines: Iterable[str], expected: list[Message]) -> None:
    assert list(messages(lines)) == expected
