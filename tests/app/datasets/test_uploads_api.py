"""Sending the bytes of a set: in one go, in pieces, cut, twice at once, too many, on a full disk."""

from __future__ import annotations

import base64
import errno
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select, update

from app.artifacts import service as artifacts
from app.core.storage import LocalStore
from app.datasets import ingests
from app.main import create_app
from app.models.artifacts import Blob
from app.models.datasets import Dataset, DatasetPart
from app.models.jobs import Job
from app.models.keys import Tenant
from app.uploads import receiving
from tests.app.datasets.conftest import Sets, images_zip

if TYPE_CHECKING:
    from tests.app.conftest import Api

BACKENDS = ("sqlite", "postgres")


def digest_header(data: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


def content(api: Api, set_id: str) -> bytes:
    """What is stored of an upload."""
    with api.database.read() as session:
        parts = session.scalars(
            select(DatasetPart).where(DatasetPart.owner_id == set_id).order_by(DatasetPart.start)
        ).all()
    starts = [part.start for part in parts]
    assert starts == [sum(part.size for part in parts[:index]) for index in range(len(parts))]
    return b"".join(b"".join(api.state.store.iter_range(part.sha256)) for part in parts)


def incoming(api: Api) -> list[Path]:
    return list((api.settings.home / "artifacts" / "incoming").glob("*"))


class TestWhole:
    def test_a_file_is_stored_and_queued(self, sets: Sets) -> None:
        data = images_zip()
        set_id = sets.announce(size=len(data), sha256=hashlib.sha256(data).hexdigest())
        assert sets.get(set_id)["state"] == "receiving"
        answer = sets.put(set_id, data, repr_digest=digest_header(data))
        document = answer.json()
        assert (answer.status_code, document["state"], document["upload"]["received"]) == (202, "queued", len(data))
        assert content(sets.api, set_id) == data
        job = sets.job(set_id)
        assert (job.kind, job.dataset_id, job.status, job.device_class) == ("ingest", set_id, "queued", "any")
        assert job.spec["file"] == "photos.zip"

    def test_parts_are_cut_from_one_request(self, sets: Sets, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(receiving, "PART", 3000)
        monkeypatch.setattr(receiving, "_PIECE", 1000)
        data = images_zip(20)
        set_id = sets.announce()
        assert sets.put(set_id, data).status_code == 202
        assert content(sets.api, set_id) == data
        assert sets.api.count(DatasetPart) == -(-len(data) // 3000)

    def test_sent_once_more_it_starts_over(self, sets: Sets) -> None:
        set_id = sets.announce()
        assert sets.put(set_id, b"abc", content_range="bytes 0-2/9").status_code == 200
        assert sets.put(set_id, b"whole file").status_code == 202
        assert content(sets.api, set_id) == b"whole file"

    def test_nothing_is_no_file(self, sets: Sets) -> None:
        answer = sets.put(sets.announce(), b"")
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_parameter")
        assert "empty" in answer.json()["detail"]


class TestPieces:
    def test_they_follow_each_other(self, sets: Sets) -> None:
        data = images_zip()
        set_id, middle = sets.announce(), len(data) // 2
        first = sets.put(set_id, data[:middle], content_range=f"bytes 0-{middle - 1}/*")
        assert (first.status_code, first.json()["state"]) == (200, "receiving")
        assert first.json()["upload"]["received"] == middle
        last = sets.put(set_id, data[middle:], content_range=f"bytes {middle}-{len(data) - 1}/{len(data)}")
        assert (last.status_code, last.json()["state"]) == (202, "queued")
        assert content(sets.api, set_id) == data

    @pytest.mark.parametrize("start", [0, 2, 4])
    def test_a_gap_or_a_repetition_is_refused_with_the_place(self, sets: Sets, start: int) -> None:
        set_id = sets.announce()
        sets.put(set_id, b"abc", content_range="bytes 0-2/9")
        answer = sets.put(set_id, b"x", content_range=f"bytes {start}-{start}/9")
        assert (answer.status_code, answer.json()["code"], answer.json()["received"]) == (409, "upload_conflict", 3)
        assert content(sets.api, set_id) == b"abc"

    def test_all_there_but_not_said(self, sets: Sets) -> None:
        """A client that died between its last piece and the answer says how long the file is."""
        set_id = sets.announce()
        sets.put(set_id, b"abc", content_range="bytes 0-2/*")
        short = sets.put(set_id, b"", content_range="bytes */4")
        assert (short.status_code, short.json()["received"]) == (409, 3)
        assert sets.put(set_id, b"", content_range="bytes */3").status_code == 202
        assert sets.put(set_id, b"", content_range="bytes */3").status_code == 409

    def test_fewer_bytes_than_promised_are_kept_and_told(self, sets: Sets) -> None:
        set_id = sets.announce()
        answer = sets.put(set_id, b"abc", content_range="bytes 0-5/6")
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_parameter")
        assert sets.get(set_id)["upload"]["received"] == 3

    def test_more_bytes_than_promised_are_refused(self, sets: Sets) -> None:
        set_id = sets.announce()
        answer = sets.put(set_id, b"abcdef", content_range="bytes 0-2/6")
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_parameter")
        assert sets.get(set_id)["upload"]["received"] == 0
        assert not incoming(sets.api)

    @pytest.mark.parametrize(
        "header", ["bytes", "bytes 3-1/9", "bytes 0-9/9", "items 0-1/2", "bytes */*", "bytes -1-2/3", "bytes 0-1"]
    )
    def test_a_range_that_means_nothing(self, sets: Sets, header: str) -> None:
        answer = sets.put(sets.announce(), b"abc", content_range=header)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_parameter")
        assert "Content-Range" in answer.json()["detail"]


class TestCut:
    def put_and_vanish(self, api: Api, set_id: str, chunks: list[bytes]) -> None:
        """A client that is gone in the middle of its request."""
        app: Any = api.client._transport.app  # type: ignore[attr-defined] # the application under test
        messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
        messages.append({"type": "http.disconnect"})
        headers = [(b"host", b"test"), (b"authorization", api.headers["Authorization"].encode())]
        scope = {
            "type": "http", "method": "PUT", "path": f"/v1/datasets/{set_id}/content", "query_string": b"",
            "headers": headers, "client": ("127.0.0.1", 5000), "server": ("test", 80), "scheme": "http",
            "http_version": "1.1", "root_path": "", "raw_path": b"", "asgi": {"version": "3.0"},
        }  # fmt: skip

        async def receive() -> Any:
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        async def send(_message: Any) -> None:
            pass

        api.portal.call(app, scope, receive, send)

    def test_what_came_is_kept_and_the_rest_follows(self, sets: Sets) -> None:
        data = images_zip()
        set_id = sets.announce()
        self.put_and_vanish(sets.api, set_id, [data[:500], data[500:700]])
        assert sets.get(set_id)["upload"]["received"] == 700
        assert not incoming(sets.api)
        rest = sets.put(set_id, data[700:], content_range=f"bytes 700-{len(data) - 1}/{len(data)}")
        assert rest.status_code == 202
        assert content(sets.api, set_id) == data


class TestDigest:
    def test_another_digest_keeps_nothing(self, sets: Sets) -> None:
        set_id = sets.announce()
        answer = sets.put(set_id, b"abc", repr_digest=digest_header(b"xyz"))
        assert (answer.status_code, answer.json()["code"], answer.json()["received"]) == (409, "upload_conflict", 0)
        document = sets.get(set_id)
        assert (document["state"], document["upload"]["received"]) == ("receiving", 0)

    def test_another_file_than_announced(self, sets: Sets) -> None:
        for announced in ({"size": 4}, {"sha256": hashlib.sha256(b"xyz").hexdigest()}):
            set_id = sets.announce(**announced)
            answer = sets.put(set_id, b"abc")
            assert (answer.status_code, answer.json()["code"]) == (409, "upload_conflict")
            assert sets.get(set_id)["state"] == "receiving"

    @pytest.mark.parametrize("header", ["sha-256=abc", "md5=:AAAA:", "sha-256=:AAAA:", "sha-256=:!!!:"])
    def test_one_that_cannot_be_read(self, sets: Sets, header: str) -> None:
        answer = sets.put(sets.announce(), b"abc", repr_digest=header)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_parameter")
        assert "Repr-Digest" in answer.json()["detail"]


class TestTwoAtOnce:
    def test_the_second_hears_where_the_first_is(self, sets: Sets, monkeypatch: pytest.MonkeyPatch) -> None:
        """Another client stores the same bytes while these are under way."""
        set_id, before = sets.announce(), receiving.Receiver._write

        def write(self: receiving.Receiver[Any], coming: Any, piece: bytes) -> None:
            before(self, coming, piece)
            if piece == b"second":
                monkeypatch.setattr(receiving.Receiver, "_write", before)
                with sets.api.state.store.incoming() as other:
                    other.write(b"first")
                    self._transactions.add_part(set_id, 0, other.keep())

        monkeypatch.setattr(receiving.Receiver, "_write", write)
        answer = sets.put(set_id, b"second", content_range="bytes 0-5/6")
        assert (answer.status_code, answer.json()["code"], answer.json()["received"]) == (409, "upload_conflict", 5)
        assert content(sets.api, set_id) == b"first"

    def test_after_the_last_byte_nothing_may_come(self, sets: Sets) -> None:
        set_id = sets.uploaded()
        answer = sets.put(set_id, b"other")
        assert (answer.status_code, answer.json()["code"]) == (409, "upload_conflict")
        assert "announce a new set" in answer.json()["detail"]


class TestRoom:
    def limit(self, api: Api, bytes_: int) -> None:
        with api.database.write() as session:
            session.execute(update(Tenant).values(max_dataset_bytes=bytes_))

    def test_an_announced_size_is_refused_at_once(self, sets: Sets) -> None:
        self.limit(sets.api, 1000)
        answer = sets.api.post("/v1/datasets", json={"name": "photos", "file": "a.zip", "size": 1001})
        assert (answer.status_code, answer.json()["code"]) == (413, "dataset_too_large")
        assert "1,001" in answer.json()["detail"]
        assert sets.api.count(Dataset) == 0

    def test_an_unannounced_one_while_it_comes(self, sets: Sets) -> None:
        self.limit(sets.api, 1000)
        set_id = sets.announce()
        assert sets.put(set_id, b"x" * 600, content_range="bytes 0-599/*").status_code == 200
        answer = sets.put(set_id, b"x" * 401, content_range="bytes 600-1000/*")
        assert (answer.status_code, answer.json()["code"]) == (413, "dataset_too_large")
        assert (sets.get(set_id)["upload"]["received"], sets.api.count(DatasetPart)) == (0, 0)
        assert sets.put(set_id, b"x" * 1000).status_code == 202

    def test_other_sets_count(self, sets: Sets) -> None:
        set_id = sets.ready()
        used = sets.get(set_id)["bytes"]
        self.limit(sets.api, used + 10)
        assert sets.put(sets.announce("more"), b"x" * 11).status_code == 413
        assert sets.api.delete(f"/v1/datasets/{set_id}").status_code == 204
        assert sets.put(sets.announce("more"), b"x" * 11).status_code == 202

    def test_uploads_at_once_share_it(self, sets: Sets, monkeypatch: pytest.MonkeyPatch) -> None:
        """The second one has begun before the first one was counted."""
        self.limit(sets.api, 1000)
        first, second = sets.announce("a"), sets.announce("b")
        before = receiving.Receiver._write

        def write(self: receiving.Receiver[Any], coming: Any, piece: bytes) -> None:
            before(self, coming, piece)
            if self._identity == first:
                monkeypatch.setattr(receiving.Receiver, "_write", before)
                with sets.api.state.store.incoming() as other:
                    other.write(b"y" * 600)
                    self._transactions.add_part(second, 0, other.keep())

        monkeypatch.setattr(receiving.Receiver, "_write", write)
        answer = sets.put(first, b"x" * 600)
        assert (answer.status_code, answer.json()["code"]) == (413, "dataset_too_large")
        assert [sets.get(one)["upload"]["received"] for one in (first, second)] == [0, 600]

    def test_other_tenants_do_not(self, sets: Sets, rival: Api) -> None:
        sets.ready()
        with sets.api.database.write() as session:
            session.execute(update(Tenant).where(Tenant.id == "rival").values(max_dataset_bytes=100))
        set_id = rival.post("/v1/datasets", json={"name": "mine", "file": "a.zip"}).json()["id"]
        assert rival.request("PUT", f"/v1/datasets/{set_id}/content", content=b"x" * 100).status_code == 202

    def test_a_large_body_passes_here_alone(self, sets: Sets) -> None:
        """The limit of JSON bodies does not stop uploads, and still stops everything else."""
        data = b"x" * (sets.api.settings.body_limit + 1)
        assert sets.put(sets.announce(), data).status_code == 202
        assert sets.api.post("/v1/datasets", content=data).status_code == 413
        assert sets.api.request("PUT", "/v1/datasets", content=data).status_code in (405, 413)


class TestFullDisk:
    @pytest.mark.parametrize("method", ["write", "keep"])
    def test_nothing_is_left(self, sets: Sets, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
        set_id = sets.announce()
        assert sets.put(set_id, b"abc", content_range="bytes 0-2/9").status_code == 200
        from app.core.storage import local

        def full(*_: Any) -> Any:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(local._LocalIncoming, method, full)
        answer = sets.put(set_id, b"defghi", content_range="bytes 3-8/9")
        monkeypatch.undo()
        assert (answer.status_code, answer.json()["code"]) == (507, "no_space")
        assert "/" not in answer.json()["detail"]
        assert not incoming(sets.api)
        assert (sets.get(set_id)["upload"]["received"], sets.api.count(DatasetPart)) == (0, 0)
        with sets.api.database.write() as session:
            artifacts.collect(session, sets.api.state.store, grace_s=-1)
        assert sets.api.count(Blob) == 0
        assert not [path for path in (sets.api.settings.home / "artifacts").rglob("*") if path.is_file()]


class TestLeftovers:
    def test_a_killed_writers_file_goes_and_a_living_ones_stays(self, tmp_path: Path, backend: str) -> None:
        store = LocalStore(tmp_path)
        with store.incoming() as coming:
            coming.write(b"alive")
            (tmp_path / "incoming" / ".dead").write_bytes(b"dead")
            assert store.remove_abandoned(age_s=60) == 0
            assert store.remove_abandoned(age_s=-1) == 1
            blob = coming.keep()
        assert store.head(blob.sha256) == blob

    def test_uploads_that_nobody_goes_on_with_expire(self, sets: Sets) -> None:
        begun, waiting, failed, ready = sets.announce("a"), sets.uploaded("b"), sets.uploaded("c"), sets.ready("d")
        sets.fail(failed)
        with sets.api.database.write() as session:
            assert ingests.expire_uploads(session, 60) == 0
            session.execute(update(Dataset).values(updated_at=Dataset.updated_at))
        with sets.api.database.write() as session:
            assert ingests.expire_uploads(session, -1) == 2
        gone = [sets.api.get(f"/v1/datasets/{one}").status_code for one in (begun, waiting, failed, ready)]
        assert gone == [404, 200, 404, 200]

    def test_content_stays_as_long_as_something_points_to_it(self, sets: Sets) -> None:
        set_id = sets.uploaded()
        data = content(sets.api, set_id)
        with sets.api.database.write() as session:
            assert artifacts.collect(session, sets.api.state.store, grace_s=-1) == 0
        sets.complete(set_id)
        with sets.api.database.write() as session:
            assert artifacts.collect(session, sets.api.state.store, grace_s=-1) == 1
        assert data
        assert sets.api.get(f"/v1/datasets/{set_id}/files/train-images.npy").status_code == 200
        sets.api.delete(f"/v1/datasets/{set_id}")
        with sets.api.database.write() as session:
            assert artifacts.collect(session, sets.api.state.store, grace_s=-1) == 5
        assert sets.api.count(Blob) == 0


def test_the_application_can_be_made_twice(sets: Sets) -> None:
    """Uploads need nothing of their own process: another one goes on."""
    set_id = sets.announce()
    sets.put(set_id, b"abc", content_range="bytes 0-2/6")
    other = create_app(sets.api.settings)
    sets.api.client._transport.app = other  # type: ignore[attr-defined]
    assert sets.put(set_id, b"def", content_range="bytes 3-5/6").status_code == 202
    other.state.database.dispose()
    with sets.api.database.read() as session:
        assert session.scalars(select(Job.kind)).all() == ["ingest"]
