"""Reading logs: whole, from an offset, the last lines; on both databases, and both kinds of store."""

from __future__ import annotations

from typing import Any

import pytest

from app.artifacts import service as artifacts
from app.core.storage import RemoteStore
from app.logs import repository, service
from app.models.artifacts import Blob
from app.models.logs import LogPart
from tests.app.conftest import Api

BACKENDS = ("sqlite", "postgres")
LINES = [f"line {number}: ä\n".encode() for number in range(12)]
WHOLE = b"".join(LINES)


def write(api: Api, job_id: str, lines: list[bytes], size: int = 40) -> None:
    """Append line by line, in parts of a few lines, of which the large ones are moved to the store."""
    repository.PART, before = size, repository.PART
    try:
        for line in lines:
            with api.database.write() as session:
                repository.append(session, job_id, line)
            service.move_to_store(api.database, api.state.store, job_id)
    finally:
        repository.PART = before


@pytest.fixture
def job_id(api: Api, spec: dict[str, Any]) -> str:
    made: str = api.submit(spec)["id"]
    return made


@pytest.fixture
def written(api: Api, job_id: str, backend: str) -> str:
    """Both topologies: SQLite with a folder, PostgreSQL with an object store."""
    if backend == "postgres":
        api.state.store = RemoteStore("memory://")
    write(api, job_id, LINES[:11])
    with api.database.write() as session:
        repository.append(session, job_id, LINES[11])
    return f"/v1/jobs/{job_id}/log"


def test_a_log_is_read_whole_or_in_part(api: Api, written: str) -> None:
    assert api.count(LogPart) == 3
    whole = api.get(written)
    assert (whole.status_code, whole.content) == (200, WHOLE)
    assert whole.headers["content-type"] == "text/plain; charset=utf-8"
    assert whole.headers["log-length"] == str(len(WHOLE))
    for start, end in [(0, 1), (5, 60), (44, 45), (100, 120), (len(WHOLE) - 1, len(WHOLE))]:
        part = api.get(written, headers={"Range": f"bytes={start}-{end - 1}"})
        assert (part.status_code, part.content) == (206, WHOLE[start:end])
        assert part.headers["content-range"] == f"bytes {start}-{end - 1}/{len(WHOLE)}"
    head = api.request("HEAD", written)
    assert (head.content, head.headers["content-length"]) == (b"", str(len(WHOLE)))


def test_a_log_is_followed_by_its_length(api: Api, written: str) -> None:
    first = api.get(written)
    following = {"Range": f"bytes={len(first.content)}-", "If-None-Match": first.headers["etag"]}
    assert api.get(written, headers=following).status_code == 304
    beyond = api.get(written, headers={"Range": following["Range"]})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{len(WHOLE)}")
    write(api, written.split("/")[3], [b"more\n"])
    more = api.get(written, headers=following)
    assert (more.status_code, more.content) == (206, b"more\n")
    assert more.headers["log-length"] == str(len(WHOLE) + 5)


def test_the_last_lines(api: Api, written: str) -> None:
    for count in range(1, 12):
        answer = api.get(written, params={"tail": count})
        assert (answer.status_code, answer.content) == (200, b"".join(LINES[-count:]))
        assert answer.headers["log-length"] == str(len(WHOLE))
    assert api.get(written, params={"tail": 5000}).content == WHOLE
    both = api.get(written, params={"tail": 3}, headers={"Range": "bytes=0-1"})
    assert (both.status_code, both.json()["code"]) == (400, "invalid_parameter")
    assert api.get(written, params={"tail": 0}).status_code == 400


def test_a_job_that_has_said_nothing_has_an_empty_log(api: Api, job_id: str) -> None:
    answer = api.get(f"/v1/jobs/{job_id}/log")
    assert (answer.status_code, answer.content, answer.headers["log-length"]) == (200, b"", "0")
    assert api.get(f"/v1/jobs/{job_id}/log", params={"tail": 3}).content == b""


def test_a_damaged_part_is_no_text(api: Api, written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.state.store, "iter_range", lambda *_: iter([b"rotten"]))
    answer = api.get(written)
    assert (answer.status_code, answer.json()["code"]) == (500, "checksum_mismatch")
    assert api.get(written, params={"tail": 1}).content == LINES[-1]


def test_a_log_is_kept_with_its_job_and_goes_with_it(api: Api, written: str) -> None:
    job_id = written.split("/")[3]
    with api.database.write() as session:
        assert artifacts.collect(session, api.state.store, grace_s=-1) == 0
    assert api.get(written).content == WHOLE
    api.post(f"/v1/jobs/{job_id}:cancel")
    assert api.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert api.get(written).status_code == 404
    assert api.count(LogPart) == 0
    with api.database.write() as session:
        assert artifacts.collect(session, api.state.store, grace_s=-1) == 2
    assert api.count(Blob) == 0
