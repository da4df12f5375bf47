"""The client that awaits: the same calls over connections that wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import pytest

from ddclient import AsyncClient, BadInputError, JobFailedError, ProblemError, UnreachableError
from tests.ddclient.conftest import JOB_ID, FakeService, artifact_document, bundle_zip, job_document

PATH = f"/v1/jobs/{JOB_ID}"


def run(service: FakeService, act: Callable[[AsyncClient], Awaitable[Any]]) -> Any:
    async def connected() -> Any:
        async with AsyncClient("http://service.test", "dd_key", transport=httpx.MockTransport(service)) as client:
            return await act(client)

    return asyncio.run(connected())


def test_a_job_is_submitted_waited_for_and_read(service: FakeService) -> None:
    service.on("POST", "/v1/jobs", httpx.Response(503, json={"title": "Away"}), job_document("queued"))
    service.on("GET", PATH, job_document(version=2), job_document("succeeded", version=3))
    service.on("GET", f"{PATH}/metrics", {"data": [{"name": "loss"}]})
    series = {"key": "loss", "step_min": [1], "step_max": [4], "n": [4], "last": [0.5], "nonfinite": [0]}
    service.on("GET", f"{PATH}/metrics:query", {"series": [series]})
    service.on("GET", f"{PATH}/log", httpx.Response(200, content=b"line\n", headers={"Log-Length": "5"}))
    service.on("GET", "/v1/jobs", {"data": [job_document()], "next_cursor": "c"}, {"data": [job_document()]})
    seen: list[str] = []

    async def act(client: AsyncClient) -> tuple[Any, ...]:
        job = await client.submit({"dataset": "digits", "ipc": 1, "method": "dm"}, name="mine")
        await job.wait(on_change=lambda document: seen.append(document.status))
        listed = [one.id async for one in client.jobs(status=["queued", "running"])]
        return job.status, (await job.metrics())["loss"][0].last, await client.log(job.id), listed

    assert run(service, act) == ("succeeded", 0.5, "line\n", [JOB_ID] * 2)
    assert seen == ["running", "succeeded"]
    first, again = service.requests[:2]
    assert first.headers["Idempotency-Key"] == again.headers["Idempotency-Key"]
    assert first.headers["Authorization"] == "Bearer dd_key"


def test_errors_are_those_of_the_other_client(service: FakeService) -> None:
    def failing(error: type[Exception], act: Callable[[AsyncClient], Coroutine[Any, Any, Any]]) -> Exception:
        with pytest.raises(error) as caught:
            run(service, act)
        return caught.value

    refused = failing(ProblemError, lambda client: client.pause(JOB_ID))
    assert str(refused) == "Not found"
    service.on("GET", PATH, httpx.ConnectError("refused"))
    assert "start a service with `ddctl up`" in str(failing(UnreachableError, lambda client: client.job(JOB_ID)))
    service.on("GET", PATH, job_document("failed", error={"code": "diverged", "message": "NaN"}))

    async def wait(client: AsyncClient) -> None:
        await (await client.job(JOB_ID)).wait()

    assert "failed: NaN" in str(failing(JobFailedError, wait))
    images = failing(BadInputError, lambda client: client.submit({"dataset": "./photos", "ipc": 1}))
    assert "there is no folder or file photos" in str(images)


def test_events_go_on_after_a_break(service: FakeService) -> None:
    def message(seq: int) -> str:
        return f'id: {seq}\ndata: {{"seq": {seq}, "job_id": "{JOB_ID}", "type": "job.log"}}\n\n'

    broken = httpx.Response(200, text=message(1) + message(2) + "id: 3\n")
    rest = httpx.Response(200, text=message(2) + message(3) + "event: end\ndata: {}\n\n")
    service.on("GET", f"{PATH}/events:stream", broken, rest)

    async def act(client: AsyncClient) -> list[int]:
        return [event.seq async for event in client.events(JOB_ID)]

    assert run(service, act) == [1, 2, 3]
    assert [request.headers.get("Last-Event-ID") for request in service.requests] == [None, "2"]


def test_a_broken_download_goes_on_where_it_stopped(
    service: FakeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bundle_zip()

    async def cut() -> AsyncIterator[bytes]:
        yield content[:100]
        raise httpx.ReadError("connection reset")

    service.on("GET", f"{PATH}/artifacts", {"data": [artifact_document(content)]})
    service.on(
        "GET", "/v1/artifacts/art_1/content",
        lambda request: httpx.Response(200, content=cut()), lambda request: httpx.Response(206, content=content[100:]),
    )  # fmt: skip
    monkeypatch.setattr("ddclient.bundle.Landing.broke", lambda landing, error: 0.0)
    bundle = run(service, lambda client: client.download(JOB_ID, tmp_path / "out"))
    assert bundle.manifest["schema_version"] == 1
    assert service.requests[-1].headers["Range"] == "bytes=100-"
