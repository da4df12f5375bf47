"""Images sent by the client that awaits; what is sent it shares with the other one (``test_uploads.py``)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from ddclient import AsyncClient, BadInputError, DatasetFailedError, ProblemError
from ddclient.packing import PlainFile
from ddcore.spec import SpecError
from tests.ddclient.conftest import job_document
from tests.ddclient.datasets_service import AsyncDatasetsService, DatasetsService
from tests.ddclient.study_documents import study_document

CONTENT = bytes(number * number % 251 for number in range(3500))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ddclient.uploads.PIECE", 1000)
    monkeypatch.setattr("ddclient.uploads._CHUNK", 100)
    monkeypatch.setattr("ddclient.handle.FIRST_PAUSE_S", 0.0)


@pytest.fixture
def service() -> DatasetsService:
    return DatasetsService()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "photos.npz"
    path.write_bytes(CONTENT)
    return path


def run(service: DatasetsService, act: Callable[[AsyncClient], Awaitable[Any]]) -> Any:
    async def connected() -> Any:
        async with AsyncClient("http://service.test", "dd_key", transport=AsyncDatasetsService(service)) as client:
            return await act(client)

    return asyncio.run(connected())


def starts(service: DatasetsService) -> list[str]:
    return [headers["Content-Range"].split()[1].partition("-")[0] for headers in service.puts()]


def assert_arrived(service: DatasetsService) -> None:
    ((identity, found),) = service.sets.items()
    assert bytes(service.bytes[identity]) == CONTENT
    assert found["digest"] == f"sha-256=:{base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()}:"


def test_images_are_sent_in_pieces_and_waited_for(service: DatasetsService, file: Path) -> None:
    told: list[Any] = []
    dataset = run(service, lambda client: client.datasets.add(file, size=16, progress=lambda *what: told.append(what)))
    assert (dataset.reference, repr(dataset)) == ("photos@1", "<AsyncDataset photos@1 ready>")
    assert starts(service) == ["0", "1000", "2000", "3000"]
    assert_arrived(service)
    assert service.sets[dataset.id]["options"]["size"] == 16
    sending = [done for what, done, total in told if what == "sending" and total == len(CONTENT)]
    assert (sending, sending[0], sending[-1], told[-1][0]) == (sorted(sending), 100, len(CONTENT), "ready")


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (550, ["0", "1000", "1550", "2550"]),
        ("lost", ["0", "1000", "2000", "3000"]),
        (httpx.Response(503, headers={"Retry-After": "0"}, json={}), ["0", "1000", "1000", "2000", "3000"]),
    ],
    ids=["cut", "not confirmed", "away"],
)  # fmt: skip
def test_an_upload_goes_on_behind_what_was_stored(
    service: DatasetsService, file: Path, fault: Any, expected: list[str]
) -> None:
    service.faults.extend([None, fault])
    run(service, lambda client: client.datasets.add(file))
    assert starts(service) == expected
    assert_arrived(service)


def test_an_upload_that_was_cut_for_good_goes_on_in_another_call(service: DatasetsService, file: Path) -> None:
    refusal = httpx.Response(507, json={"title": "Full", "code": "out_of_room", "detail": "there is no room"})
    service.faults.extend([None, None, refusal])
    with pytest.raises(ProblemError, match="there is no room"):
        run(service, lambda client: client.datasets.add(file))
    run(service, lambda client: client.datasets.add(file))
    assert starts(service) == ["0", "1000", "2000", "2000", "3000"]
    assert_arrived(service)


def test_files_are_read_beside_the_loop(service: DatasetsService, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readers: set[int] = set()
    read = PlainFile.read

    def watched(self: PlainFile, start: int, size: int) -> bytes:
        readers.add(threading.get_ident())
        return read(self, start, size)

    monkeypatch.setattr(PlainFile, "read", watched)
    run(service, lambda client: client.datasets.add(file))
    assert readers
    assert threading.get_ident() not in readers


def test_a_job_on_a_path_sends_its_images_first(service: DatasetsService, file: Path) -> None:
    service.others["POST", "/v1/jobs"] = job_document("queued")
    run(service, lambda client: client.submit({"dataset": file, "ipc": 1, "method": "dm"}, ingest={"size": 16}))
    assert b'"dataset":"photos@1"' in service.requests[-1].content.replace(b": ", b":")
    assert_arrived(service)
    with pytest.raises(BadInputError, match="`ingest` says how images are taken in"):
        run(service, lambda client: client.submit({"dataset": "digits", "ipc": 1}, ingest={"size": 16}))


def test_the_images_of_a_study_are_sent_first(service: DatasetsService, file: Path) -> None:
    service.others["POST", "/v1/studies"] = study_document()
    base = {"dataset": file, "ipc": 1, "method": "auto"}
    run(service, lambda client: client.submit_study({"base": base}, ingest={"size": 16}))
    assert json.loads(service.requests[-1].content)["base"]["dataset"] == "photos@1"
    assert_arrived(service)


def test_arrays_need_a_name_and_options_a_range(service: DatasetsService) -> None:
    images = (np.zeros((4, 8, 8), np.uint8), np.arange(4))
    with pytest.raises(BadInputError, match="`name` is missing"):
        run(service, lambda client: client.datasets.add(images))
    with pytest.raises(SpecError, match="size"):
        run(service, lambda client: client.datasets.add(images, name="mine", size=0))
    assert service.requests == []
    assert run(service, lambda client: client.datasets.add(images, name="mine")).name == "mine"


def test_a_set_that_could_not_be_taken_in_is_taken_in_again_found_and_removed(
    service: DatasetsService, file: Path
) -> None:
    service.outcome = {"state": "failed", "error": {"code": "bad_data", "message": "no image can be read"}}

    async def act(client: AsyncClient) -> list[str]:
        with pytest.raises(DatasetFailedError, match="no image can be read"):
            await client.datasets.add(file)
        service.outcome = {"state": "ready", "version": 1, "error": None}
        (failed,) = [one async for one in client.datasets.list("photos")]
        again = await failed.ingest(size=32)
        assert service.sets[again.id]["options"]["size"] == 32
        found = [(await client.datasets.get(reference)).id for reference in ("photos", "photos@1", again.id)]
        with pytest.raises(BadInputError, match="the service has no set photos@2"):
            await client.datasets.get("photos@2")
        await client.datasets.remove("photos")
        return found

    assert len(set(run(service, act))) == 1
    assert service.sets == {}
