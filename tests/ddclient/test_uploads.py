"""Uploads over connections that break, and what the client does with a set afterwards."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ddclient import BadInputError, Client, DatasetFailedError, ProblemError, UnreachableError
from ddclient.errors import Exit
from ddcore.spec import SpecError
from tests.ddclient.conftest import job_document
from tests.ddclient.datasets_service import DatasetsService

PIECE, SIZE = 1000, 3500
CONTENT = bytes(number * number % 251 for number in range(SIZE))


@pytest.fixture
def service() -> DatasetsService:
    return DatasetsService()


@pytest.fixture
def client(service: DatasetsService, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setattr("ddclient.uploads.PIECE", PIECE)
    monkeypatch.setattr("ddclient.uploads._CHUNK", 100)
    monkeypatch.setattr("ddclient.handle.FIRST_PAUSE_S", 0.0)
    with Client("http://service.test", "dd_key", transport=service) as made:
        yield made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "photos.npz"
    path.write_bytes(CONTENT)
    return path


def digest(content: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


def spans(service: DatasetsService) -> list[str]:
    return [headers["Content-Range"].removeprefix("bytes ").removesuffix(f"/{SIZE}") for headers in service.puts()]


def assert_arrived(service: DatasetsService) -> None:
    ((identity, found),) = service.sets.items()
    assert bytes(service.bytes[identity]) == CONTENT
    assert found["digest"] == digest(CONTENT)


def test_each_piece_is_a_request_and_the_last_has_the_digest(
    client: Client, service: DatasetsService, file: Path
) -> None:
    told: list[Any] = []
    dataset = client.datasets.add(file, size=16, fit="pad", progress=lambda *what: told.append(what))
    assert (dataset.reference, dataset.state) == ("photos@1", "ready")
    assert spans(service) == ["0-999", "1000-1999", "2000-2999", "3000-3499"]
    assert ["Repr-Digest" in headers for headers in service.puts()] == [False, False, False, True]
    assert_arrived(service)
    assert {"size": 16, "fit": "pad", "seed": 0}.items() <= service.sets[dataset.id]["options"].items()
    sending = [done for what, done, total in told if what == "sending" and total == SIZE]
    assert sending == sorted(sending)
    assert (sending[0], sending[-1], told[-1][0]) == (100, SIZE, "ready")


@pytest.mark.parametrize("stored", [0, 1, 100, 550, 999])
def test_a_cut_in_the_middle_of_a_piece_goes_on_behind_what_was_stored(
    client: Client, service: DatasetsService, file: Path, stored: int
) -> None:
    service.faults.extend([None, stored])
    client.datasets.add(file)
    went_on = 1000 + stored
    assert spans(service)[:3] == ["0-999", "1000-1999", f"{went_on}-{min(went_on + PIECE, SIZE) - 1}"]
    assert_arrived(service)


@pytest.mark.parametrize("piece", range(4))
def test_what_was_stored_but_not_confirmed_is_not_sent_again(
    client: Client, service: DatasetsService, file: Path, piece: int
) -> None:
    service.faults.extend([None] * piece + ["lost"])
    assert client.datasets.add(file).state == "ready"
    assert len(spans(service)) == 4
    assert_arrived(service)


def test_bytes_that_are_all_there_are_completed_without_any(
    client: Client, service: DatasetsService, file: Path
) -> None:
    service.faults.extend([None, None, None, 500])
    client.datasets.add(file)
    assert spans(service)[-2:] == ["3000-3499", "*"]
    assert_arrived(service)


def test_a_conflict_goes_on_where_the_service_is(client: Client, service: DatasetsService, file: Path) -> None:
    """As where a request that was given up for lost arrives late."""

    def arrive(_what: str, done: int, _total: int | None) -> None:
        ((stored, found),) = zip(service.bytes.values(), service.sets.values(), strict=True)
        if done == len(stored) == 2000:
            stored += CONTENT[2000:2300]
            found["upload"]["received"] = 2300

    client.datasets.add(file, progress=arrive)
    assert spans(service) == ["0-999", "1000-1999", "2000-2999", "2300-3299", "3300-3499"]
    assert_arrived(service)


def test_a_conflict_that_leads_nowhere_is_told(client: Client, service: DatasetsService, file: Path) -> None:
    service.faults.extend([httpx.Response(409, json={"title": "Another file", "code": "upload_conflict"})] * 9)
    with pytest.raises(ProblemError, match="Another file"):
        client.datasets.add(file)
    assert len(service.puts()) == 1


def test_a_service_that_is_overloaded_is_asked_again(client: Client, service: DatasetsService, file: Path) -> None:
    service.faults.extend([httpx.Response(503, json={}), httpx.Response(429, json={}), None, httpx.Response(502)])
    client.datasets.add(file)
    assert_arrived(service)


def test_a_connection_that_never_holds_is_given_up(client: Client, service: DatasetsService, file: Path) -> None:
    service.faults.extend([0] * 9)
    with pytest.raises(UnreachableError, match="connection reset by peer"):
        client.datasets.add(file)
    assert len(service.puts()) == 4


def test_a_refusal_is_not_repeated(client: Client, service: DatasetsService, file: Path) -> None:
    service.faults.append(httpx.Response(413, json={"title": "Too large", "code": "dataset_too_large"}))
    with pytest.raises(ProblemError, match="Too large") as caught:
        client.datasets.add(file)
    assert (len(service.puts()), caught.value.exit_code) == (1, Exit.BAD_INPUT)


def test_the_same_call_goes_on_with_an_upload_that_was_left(
    client: Client, service: DatasetsService, file: Path
) -> None:
    service.faults.extend([None, *[150] * 4])
    with pytest.raises(UnreachableError):
        client.datasets.add(file, size=16)
    assert client.datasets.add(file, size=16).state == "ready"
    assert_arrived(service)
    assert spans(service)[-2:] == ["1600-2599", "2600-3499"]


@pytest.mark.parametrize("other", [{"size": 8}, {"name": "pets"}])
def test_another_call_begins_anew(client: Client, service: DatasetsService, file: Path, other: dict[str, Any]) -> None:
    service.faults.extend([None, *[150] * 4])
    with pytest.raises(UnreachableError):
        client.datasets.add(file, name="photos", size=16)
    again: dict[str, Any] = {"name": "photos", "size": 16} | other
    client.datasets.add(file, **again)
    assert len(service.sets) == 2


def test_a_file_that_changes_meanwhile_is_named_and_nothing_is_completed(
    client: Client, service: DatasetsService, file: Path
) -> None:
    def change(_what: str, done: int, _total: int | None) -> None:
        if done == 1500:
            file.write_bytes(CONTENT[::-1])
            os.utime(file, (1, 1))

    with pytest.raises(BadInputError, match=r"photos\.npz changed while it was being sent"):
        client.datasets.add(file, progress=change)
    assert [found["state"] for found in service.sets.values()] == ["receiving"]


def test_a_folder_arrives_as_a_tar_of_it(client: Client, service: DatasetsService, tmp_path: Path) -> None:
    for name in ("photos/cats/1.png", "photos/.DS_Store", "others/dogs/2.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode() * 100)
    service.faults.extend([700, None, 30])
    one = client.datasets.add(tmp_path / "photos")
    two = client.datasets.add(tmp_path / "photos", test=tmp_path / "others", name="both")
    for dataset, names in ((one, ["cats/1.png"]), (two, ["train/cats/1.png", "test/dogs/2.png"])):
        with tarfile.open(fileobj=io.BytesIO(bytes(service.bytes[dataset.id]))) as tar:
            assert tar.getnames() == names
            assert (tar.extractfile(names[0]) or io.BytesIO()).read() == b"photos/cats/1.png" * 100
    assert [found["upload"]["file"] for found in service.sets.values()] == ["photos.tar"] * 2


def test_waiting_can_be_left_to_others(client: Client, service: DatasetsService, file: Path) -> None:
    assert client.datasets.add(file, wait=False).state == "queued"


@pytest.mark.parametrize(("state", "status"), [("failed", Exit.FAILED), ("cancelled", Exit.CANCELLED)])
def test_a_failure_has_the_message_of_the_service(
    client: Client, service: DatasetsService, file: Path, state: str, status: Exit
) -> None:
    service.outcome = {"state": state, "error": {"code": "data_error", "message": "images must agree in size"}}
    with pytest.raises(
        DatasetFailedError, match=f"photos .*{state if state == 'cancelled' else 'could not'}.*size"
    ) as e:
        client.datasets.add(file)
    assert (e.value.exit_code, e.value.dataset_id) == (status, next(iter(service.sets)))
    assert e.value.as_dict()["dataset_id"] == e.value.dataset_id
    service.outcome = {"state": "ready", "version": 3}
    assert client.datasets.ingest(e.value.dataset_id, size=(8, 9)).reference == "photos@3"
    assert service.sets[e.value.dataset_id]["options"]["size"] == [8, 9]
    assert len(service.puts()) == 4


def test_waiting_can_be_given_up(client: Client, service: DatasetsService, file: Path) -> None:
    service.outcome = {}
    dataset = client.datasets.add(file, wait=False)
    with pytest.raises(TimeoutError, match="photos is still queued after 0 seconds"):
        dataset.wait(timeout=0)


def test_an_option_that_is_none_is_named_before_anything_is_sent(
    client: Client, service: DatasetsService, file: Path
) -> None:
    with pytest.raises(SpecError, match="did you mean `size`"):
        client.datasets.add(file, sizes=3)
    with pytest.raises(SpecError, match="size"):
        client.datasets.add(file, size=0)
    with pytest.raises(BadInputError, match=r"there is no folder or file .*nowhere"):
        client.datasets.add(file.parent / "nowhere")
    assert service.requests == []


def listed(service: DatasetsService, *sets: tuple[str, str, int | None, str]) -> None:
    """Put sets there, the oldest first: identifier, name, version and state."""
    for identity, name, version, state in sets:
        reference = name if version is None else f"{name}@{version}"
        service.sets[identity] = {"id": identity, "name": name, "reference": reference, "version": version,
                                  "state": state, "content_id": f"ds_{identity}"}  # fmt: skip


def test_a_set_is_found_by_whatever_names_it(client: Client, service: DatasetsService) -> None:
    listed(service, ("set_a", "photos", 1, "ready"), ("set_b", "photos", 2, "ready"))
    listed(service, ("set_c", "photos", None, "failed"), ("set_d", "pets", None, "failed"))
    listed(service, ("set_e", "pets", None, "queued"))
    names = {"photos": "set_b", "photos@1": "set_a", "set_c": "set_c", "ds_set_a": "set_a", "pets": "set_e"}
    assert {name: client.datasets.get(name).id for name in names} == names
    for wrong in ("photos@9", "photo", "ds_x"):
        with pytest.raises(BadInputError, match=f"no set {wrong}"):
            client.datasets.get(wrong)
    assert [one.reference for one in client.datasets.list("photos")] == ["photos", "photos@2", "photos@1"]


def test_a_name_of_several_sets_removes_none(client: Client, service: DatasetsService) -> None:
    listed(service, ("set_a", "photos", 1, "ready"), ("set_b", "photos", None, "failed"), ("set_c", "pets", 1, "ready"))
    with pytest.raises(BadInputError, match=r"several sets photos: set_b \(failed\), photos@1; say which"):
        client.datasets.remove("photos")
    client.datasets.remove("pets")
    client.datasets.remove("photos@1")
    assert list(service.sets) == ["set_b"]


def test_a_built_in_set_is_not_ones_own(client: Client, service: DatasetsService) -> None:
    service.sets["x"] = {"id": None, "name": "digits", "reference": "digits", "state": "ready", "builtin": True}
    for act in (client.datasets.report, client.datasets.remove, client.datasets.ingest):
        with pytest.raises(BadInputError, match="digits is built in"):
            act("digits")


def test_a_path_is_sent_before_the_job_is_submitted(
    client: Client, service: DatasetsService, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    service.others["POST", "/v1/jobs"] = job_document("queued")
    client.distill("./photos.npz", ipc=2, ingest={"size": 16})
    client.submit({"dataset": file.relative_to(file.parent), "ipc": 2, "method": "dm"})
    jobs = [request.read() for request in service.requests if request.url.path == "/v1/jobs"]
    assert [b'"dataset":"photos@1"' in body for body in jobs] == [True, True]
    assert [found["options"]["size"] for found in service.sets.values()] == [16, None]


def test_a_word_is_a_name_whatever_lies_here(
    client: Client, service: DatasetsService, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    service.others["POST", "/v1/jobs"] = job_document("queued")
    client.distill("photos.npz", ipc=2)
    assert [request.url.path for request in service.requests] == ["/v1/jobs"]
    with pytest.raises(BadInputError, match=r"`ingest` says .*'photos.npz', which is no path"):
        client.distill("photos.npz", ingest={"size": 16})


def test_taking_in_can_be_stopped(client: Client, service: DatasetsService, file: Path) -> None:
    service.outcome = {"state": "ingesting"}
    service.others["POST", "/v1/jobs/job_1:cancel"] = {}
    dataset = client.datasets.add(file, wait=False)
    dataset.refresh()
    service.outcome = {}
    dataset.cancel()
    assert [r.url.path for r in service.requests if r.method == "POST"][-1] == "/v1/jobs/job_1:cancel"
    service.sets[dataset.id]["state"] = "cancelled"
    dataset.cancel()
    assert sum(r.url.path.endswith(":cancel") for r in service.requests) == 1


def test_a_set_that_is_not_complete_cannot_be_waited_for(client: Client, service: DatasetsService) -> None:
    service.sets["set_a"] = {"id": "set_a", "name": "half", "reference": "half", "state": "receiving"}
    with pytest.raises(BadInputError, match=r"half is not complete; send it with `datasets\.add`"):
        client.datasets.get("set_a").wait()
