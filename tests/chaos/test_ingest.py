"""Uploads and ingests that are killed at every moment end with one set of the right content, or none, and no file left.

Every death happens on both topologies: the embedded one, and PostgreSQL with Redis.
"""

from __future__ import annotations

import io
import socket
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from sqlalchemy import select

from app.models.datasets import Dataset, DatasetFile
from ddcore.data.ingest.intake import take_in
from ddcore.spec.ingest import IngestOptions
from tests.chaos.expectations import expect_no_engine
from tests.chaos.harness import (
    Cluster,
    Server,
    cluster,
    eventually,
    files_below,
    postgres_database,
    redis_broker,
)

SIDE_BY_SIDE = 3
DEATHS = {
    "claim.after:killgroup": 2,
    "spawn.before:killgroup": 2,
    "ingest.1.progress:kill9": 2,
    "finish.before:killgroup": 2,
    "finish.stored:killgroup": 2,
    "finish.after:killgroup": 1,
    "ingest.1.progress:enospc": 2,
    "ingest.1.progress:abort": 2,
}
"""Where the worker or its process dies, or finds the disk full, and the attempts that the ingest then takes."""
TOPOLOGIES = [
    pytest.param("embedded"),
    pytest.param("production", marks=[pytest.mark.postgres, pytest.mark.redis]),
]


def pictures() -> bytes:
    """A zip of two classes."""
    rng = np.random.default_rng(0)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in ("cat", "dog"):
            for number in range(10):
                picture = io.BytesIO()
                Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(picture, "PNG")
                archive.writestr(f"{name}/{number}.png", picture.getvalue())
    return packed.getvalue()


@pytest.fixture(scope="module")
def content_id(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Identity of what an undisturbed ingest makes of the pictures."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "photos.zip").write_bytes(pictures())
    return take_in(folder / "photos.zip", folder / "shelf", name="photos", options=IngestOptions()).report.id


def assert_one_set(made: Cluster, set_id: str, content_id: str) -> None:
    """There is this set with its content, and nothing beside it."""
    found = made.dataset(set_id)
    assert (found.state, found.version, found.content_id) == ("ready", 1, content_id)
    with made.database.read() as session:
        assert session.scalars(select(Dataset.id)).all() == [set_id]
        assert len(session.scalars(select(DatasetFile.name)).all()) == 6
    assert made.files_left() == []
    made.assert_invariants()


def die(stack: ExitStack, folder: Path, fault: str, urls: tuple[str, str] | None, content_id: str) -> None:
    database = broker = None
    if urls is not None:
        database = stack.enter_context(postgres_database(urls[0]))
        broker = urls[1]
    # A disk that is full is waited for ten times as long as anything else.
    with cluster(folder / "home", database, broker, DD_BACKOFF_S="0.01") as made:
        set_id = made.upload(pictures())
        first = made.worker(fault)
        if "killgroup" in fault:
            first.process.wait(60)
            expect_no_engine(made)
            made.survivor()
        found = made.await_set(set_id, "ready", "failed")
        assert found.job is not None
        assert found.job.attempt == DEATHS[fault], made.story(found.job.id)
        # The attempt that a test waits for is over in the database a moment before its folder is gone.
        eventually(lambda: not files_below(made.home / "runs"))
        assert_one_set(made, set_id, content_id)


@pytest.fixture(scope="module", params=TOPOLOGIES)
def deaths(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, content_id: str
) -> Iterator[dict[str, Future[None]]]:
    """Every death in a cluster of its own, several side by side because each mostly waits."""
    urls = None
    if request.param == "production":
        urls = (request.getfixturevalue("postgres_url"), request.getfixturevalue("redis_url"))
    with ExitStack() as stack, ThreadPoolExecutor(1 if urls else SIDE_BY_SIDE) as pool:
        if urls:
            stack.enter_context(redis_broker(urls[1]))
        yield {
            fault: pool.submit(die, stack, tmp_path_factory.mktemp("death"), fault, urls, content_id)
            for fault in DEATHS
        }


@pytest.mark.parametrize("fault", DEATHS)
def test_an_ingest_is_killed(deaths: dict[str, Future[None]], fault: str) -> None:
    deaths[fault].result()


@pytest.mark.parametrize(
    "topology", ["embedded", pytest.param("production", marks=[pytest.mark.postgres, pytest.mark.redis])]
)
def test_the_api_is_killed_in_an_upload(request: pytest.FixtureRequest, topology: str, content_id: str) -> None:
    """What was not yet a part is gone, file and all; the client asks how far it came and goes on."""
    made: Cluster = request.getfixturevalue(topology)
    server, data = Server(made), pictures()
    announced = server.http.post("/v1/datasets", json={"name": "photos", "file": "photos.zip"})
    path = f"/v1/datasets/{announced.json()['id']}"
    first = len(data) // 3
    sent = server.http.put(
        f"{path}/content", content=data[:first], headers={"Content-Range": f"bytes 0-{first - 1}/{len(data)}"}
    )
    assert sent.status_code == 200

    flowing, ended = threading.Event(), threading.Event()

    def slowly() -> Iterator[bytes]:
        yield data[first : first + 1000]
        flowing.set()
        ended.wait(60)
        yield data[first + 1000 :]

    def send() -> Any:
        headers = {"Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"}
        return server.http.put(f"{path}/content", content=slowly(), headers=headers, timeout=60)

    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(send)
        assert flowing.wait(60)
        eventually(lambda: any((made.home / "artifacts" / "incoming").iterdir()))
        server.process.kill()
        ended.set()
        with pytest.raises(httpx.HTTPError):
            sending.result()
    server.start()
    received = server.http.get(path).json()["upload"]["received"]
    assert received == first
    rest = server.http.put(
        f"{path}/content",
        content=data[first:],
        headers={"Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"},
    )
    assert (rest.status_code, rest.json()["state"]) == (202, "queued")
    made.worker()
    give_up_at = time.monotonic() + 60
    while (found := server.http.get(path).json())["state"] != "ready":
        assert time.monotonic() < give_up_at, found
        time.sleep(0.1)
    assert (found["content_id"], found["version"]) == (content_id, 1)
    eventually(lambda: not files_below(made.home / "runs"))
    assert made.files_left() == []


def test_a_content_length_that_is_wrong(embedded: Cluster) -> None:
    """Too long, and the client goes: it can go on. Too short: what follows it is no request, and is refused."""
    server = Server(embedded)
    announced = server.http.post("/v1/datasets", json={"name": "photos", "file": "photos.zip"})
    path = f"/v1/datasets/{announced.json()['id']}"

    def put(length: int, body: bytes, span: str, *, leave: bool) -> bytes:
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
            head = (
                f"PUT {path}/content HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n"
                f"Content-Range: bytes {span}/100\r\n\r\n"
            )
            connection.sendall(head.encode() + body)
            if leave:
                connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(1 << 16), b""))

    assert put(50, b"x" * 20, "0-49", leave=True) == b""
    # The server may give up bytes that it had not handed on yet when the client went; it says how many it has.
    come = server.http.get(path).json()["upload"]["received"]
    assert come in (0, 20)
    answer = put(10, b"x" * 10 + b"no request\r\n\r\n", f"{come}-{come + 9}", leave=False)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 400" in answer
    assert server.http.get(path).json()["upload"]["received"] == come + 10
    for length, status in (("-1", 400), ("many", 400)):
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
            connection.sendall(
                f"PUT {path}/content HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n\r\n".encode()
            )
            assert connection.recv(1 << 16).startswith(f"HTTP/1.1 {status}".encode())


def test_an_ingest_is_paused_and_goes_on(embedded: Cluster, content_id: str) -> None:
    set_id = embedded.upload(pictures(), ring=False)
    job = embedded.dataset(set_id).job
    assert job is not None
    embedded.pause(job.id)
    assert embedded.dataset(set_id).state == "paused"
    embedded.resume(job.id)
    embedded.worker()
    embedded.await_set(set_id, "ready")
    eventually(lambda: not files_below(embedded.home / "runs"))
    assert_one_set(embedded, set_id, content_id)


def test_a_set_is_deleted_while_it_is_taken_in(embedded: Cluster) -> None:
    set_id = embedded.upload(pictures())
    embedded.worker("ingest.1.progress:hang")
    eventually(lambda: embedded.dataset(set_id).state == "ingesting")
    job = embedded.dataset(set_id).job
    assert job is not None
    with embedded.sets() as sets:
        sets.delete(set_id)
    embedded.wait(job.id, "cancelled")
    eventually(lambda: not files_below(embedded.home / "runs"))
    assert embedded.files_left() == []
    assert files_below(embedded.home / "artifacts" / "sha256") == []
    with embedded.database.read() as session:
        assert session.scalars(select(DatasetFile.name)).all() == []
