from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from app.artifacts import downloads
from app.artifacts.service import Output, publish
from app.core.storage import CHUNK, RemoteStore, key_of

if TYPE_CHECKING:
    from tests.app.conftest import Api

DATA = bytes(range(256)) * 4
DIGEST = hashlib.sha256(DATA).hexdigest()
PNG = b"\x89PNG\r\n\x1a\n" + b"picture"
MISSING = "art_01m7wfazz0fpcr59g52gcd7d4a"


@pytest.fixture
def job(add_job: Callable[..., str]) -> str:
    return add_job(status="running", fence=1, attempt=1)


@pytest.fixture
def put(api: Api, job: str, tmp_path: Path) -> Callable[..., str]:
    """Publishes bytes as an artifact of the job and returns the path of its content."""

    def put(data: bytes = DATA, kind: Any = "bundle", name: str = "bundle.zip", **options: Any) -> str:
        path = tmp_path / "file"
        path.write_bytes(data)
        media_type = options.pop("media_type", "application/zip")
        with api.database.write() as session:
            made = publish(session, api.state.store, job, 1, Output(kind, path, media_type, name=name, **options))
        return f"/v1/artifacts/{made}/content"

    return put


def damage(api: Api, digest: str, data: bytes) -> None:
    (api.settings.home / "artifacts" / key_of(digest)).write_bytes(data)


def test_a_row_of_a_kind_that_is_no_longer_made_stays_readable(api: Api, job: str, put: Callable[..., str]) -> None:
    content = put(kind="eval_report", name="report.json", media_type="application/json")
    (listed,) = api.get(f"/v1/jobs/{job}/artifacts").json()["data"]
    assert (listed["kind"], listed["links"]["content"]) == ("eval_report", content)
    assert api.get(content).content == DATA


class TestWhole:
    def test_bytes_and_headers(self, api: Api, put: Callable[..., str]) -> None:
        answer = api.get(put())
        assert (answer.status_code, answer.content) == (200, DATA)
        expected = {
            "ETag": f'"{DIGEST}"',
            "Repr-Digest": f"sha-256=:{base64.b64encode(hashlib.sha256(DATA).digest()).decode()}:",
            "Content-Type": "application/zip",
            "Content-Length": "1024",
            "Content-Disposition": 'attachment; filename="bundle.zip"',
            "Accept-Ranges": "bytes",
            "X-Content-Type-Options": "nosniff",
        }
        assert {name: answer.headers[name] for name in expected} == expected

    def test_head_has_the_headers_alone(self, api: Api, put: Callable[..., str]) -> None:
        path = put()
        head = api.request("HEAD", path)
        assert (head.status_code, head.content) == (200, b"")
        whole = api.get(path)
        skipped = {"x-request-id", "ratelimit"}  # What is left of the rate is one less.
        assert {k: v for k, v in head.headers.items() if k not in skipped} == {
            k: v for k, v in whole.headers.items() if k not in skipped
        }

    def test_empty_file(self, api: Api, put: Callable[..., str]) -> None:
        answer = api.get(put(b""))
        assert (answer.status_code, answer.content, answer.headers["Content-Length"]) == (200, b"", "0")

    def test_large_files_are_streamed(self, api: Api, put: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(downloads, "VERIFIED_BELOW", 100)
        data = os.urandom(2 * CHUNK + 5)
        path = put(data)
        assert api.get(path).content == data
        part = api.get(path, headers={"Range": f"bytes={CHUNK - 2}-{CHUNK + 1}"})
        assert (part.status_code, part.content) == (206, data[CHUNK - 2 : CHUNK + 2])


class TestRange:
    @pytest.mark.parametrize(
        ("header", "start", "end"),
        [
            ("bytes=0-0", 0, 1),
            ("bytes=10-19", 10, 20),
            ("bytes=1000-", 1000, 1024),
            ("bytes=1000-99999", 1000, 1024),
            ("bytes=-24", 1000, 1024),
            ("bytes=-99999", 0, 1024),
            ("BYTES=5-6", 5, 7),
        ],
    )
    def test_part(self, api: Api, put: Callable[..., str], header: str, start: int, end: int) -> None:
        answer = api.get(put(), headers={"Range": header})
        assert (answer.status_code, answer.content) == (206, DATA[start:end])
        assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/1024"
        assert answer.headers["Content-Length"] == str(end - start)
        assert answer.headers["ETag"] == f'"{DIGEST}"'

    @pytest.mark.parametrize(
        "header", ["bytes=0-1,4-5", "items=0-1", "bytes=5-2", "bytes=-", "bytes=a-b", "bytes", "bytes=٣-٤", ""]
    )
    def test_what_is_no_single_range_is_ignored(self, api: Api, put: Callable[..., str], header: str) -> None:
        answer = api.get(put(), headers={"Range": header.encode()})
        assert (answer.status_code, answer.content) == (200, DATA)

    @pytest.mark.parametrize("header", ["bytes=1024-", "bytes=5000-6000", "bytes=-0"])
    def test_out_of_bounds(self, api: Api, put: Callable[..., str], header: str) -> None:
        answer = api.get(put(), headers={"Range": header})
        assert answer.status_code == 416
        assert answer.headers["Content-Range"] == "bytes */1024"
        problem = answer.json()
        assert problem["code"] == "range_not_satisfiable"
        assert "1024 bytes" in problem["detail"]

    def test_empty_file_has_no_ranges(self, api: Api, put: Callable[..., str]) -> None:
        assert api.get(put(b""), headers={"Range": "bytes=0-"}).status_code == 416

    @pytest.mark.parametrize(
        ("if_range", "status"),
        [(f'"{DIGEST}"', 206), ('"other"', 200), (f'W/"{DIGEST}"', 200), ("Wed, 21 Oct 2026 07:28:00 GMT", 200)],
    )
    def test_if_range(self, api: Api, put: Callable[..., str], if_range: str, status: int) -> None:
        answer = api.get(put(), headers={"Range": "bytes=0-9", "If-Range": if_range})
        assert (answer.status_code, len(answer.content)) == (status, 10 if status == 206 else 1024)

    def test_a_broken_download_goes_on(self, api: Api, put: Callable[..., str]) -> None:
        path = put()
        first = api.get(path, headers={"Range": "bytes=0-99"})
        headers = {"Range": "bytes=100-", "If-Range": first.headers["ETag"]}
        assert first.content + api.get(path, headers=headers).content == DATA


class TestUnchanged:
    @pytest.mark.parametrize("tag", [f'"{DIGEST}"', f'W/"{DIGEST}"', f'"x", "{DIGEST}"', "*"])
    def test_nothing_is_sent_again(self, api: Api, put: Callable[..., str], tag: str) -> None:
        answer = api.get(put(), headers={"If-None-Match": tag})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["ETag"] == f'"{DIGEST}"'

    def test_other_content_is(self, api: Api, put: Callable[..., str]) -> None:
        assert api.get(put(), headers={"If-None-Match": '"other"'}).status_code == 200


class TestDamage:
    @pytest.mark.parametrize("header", [{}, {"Range": "bytes=0-9"}])
    def test_a_flipped_bit_is_found_before_the_first_byte(
        self, api: Api, put: Callable[..., str], header: dict[str, str]
    ) -> None:
        path = put()
        damage(api, DIGEST, DATA[:-1] + b"x")
        answer = api.get(path, headers=header)
        assert answer.status_code == 500
        assert answer.json()["code"] == "checksum_mismatch"
        assert str(api.settings.home) not in answer.text

    def test_lost_content(self, api: Api, put: Callable[..., str]) -> None:
        path = put()
        api.state.store.delete(DIGEST)
        assert api.get(path).json()["code"] == "checksum_mismatch"

    def test_a_large_damaged_file_never_arrives_whole(
        self, api: Api, put: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(downloads, "VERIFIED_BELOW", 100)
        path = put()
        damage(api, DIGEST, DATA[:-1] + b"x")
        with pytest.raises(Exception, match=DIGEST):
            api.get(path)

    def test_a_part_of_a_large_file_is_checked_with_all_of_it(
        self, api: Api, put: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(downloads, "VERIFIED_BELOW", 100)
        path = put()
        for first, last in ((0, 0), (10, 500), (1000, 1023)):
            answer = api.get(path, headers={"Range": f"bytes={first}-{last}"})
            assert (answer.status_code, answer.content) == (206, DATA[first : last + 1])
        damage(api, DIGEST, DATA[:-1] + b"x")
        with pytest.raises(Exception, match=DIGEST):
            api.get(path, headers={"Range": "bytes=10-500"})

    def test_a_large_file_that_lost_its_length_is_refused(
        self, api: Api, put: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(downloads, "VERIFIED_BELOW", 100)
        path = put()
        damage(api, DIGEST, DATA[:-1])
        assert api.get(path).json()["code"] == "checksum_mismatch"


class TestList:
    def test_documents(self, api: Api, put: Callable[..., str], job: str) -> None:
        put(shape=[2, 3], dtype="float32")
        put(PNG, "snapshot", "0000000100.png", media_type="image/png", step=100)
        first, second = api.get(f"/v1/jobs/{job}/artifacts").json()["data"]
        assert (first["kind"], first["sha256"], first["size"], first["state"]) == ("bundle", DIGEST, 1024, "ready")
        assert (first["shape"], first["dtype"], first["attempt"]) == ([2, 3], "float32", 1)
        assert first["links"] == {"content": f"/v1/artifacts/{first['id']}/content", "job": f"/v1/jobs/{job}"}
        assert second["links"]["preview"] == f"/v1/artifacts/{second['id']}/preview.png"
        assert second["step"] == 100

    def test_only_some_kinds(self, api: Api, put: Callable[..., str], job: str) -> None:
        put()
        put(kind="log")
        listed = api.get(f"/v1/jobs/{job}/artifacts", params={"kind": ["log", "npz"]}).json()["data"]
        assert [artifact["kind"] for artifact in listed] == ["log"]
        assert api.get(f"/v1/jobs/{job}/artifacts", params={"kind": "pickle"}).status_code == 400


class TestShortcuts:
    def test_bundle(self, api: Api, put: Callable[..., str], job: str) -> None:
        path = f"/v1/jobs/{job}/bundle.zip"
        assert api.get(path).status_code == 404
        put()
        assert api.get(path).content == DATA
        assert api.get(path, headers={"Range": "bytes=0-9"}).content == DATA[:10]
        assert api.request("HEAD", path).headers["Content-Length"] == "1024"

    def test_newest_picture(self, api: Api, put: Callable[..., str], job: str) -> None:
        path = f"/v1/jobs/{job}/preview.png"
        assert api.get(path).status_code == 404
        put(PNG, "snapshot", "1.png", media_type="image/png", step=1)
        put(PNG + b"2", "snapshot", "2.png", media_type="image/png", step=2)
        assert api.get(path).content == PNG + b"2"
        put(PNG + b"final", "preview", "preview.png", media_type="image/png")
        answer = api.get(path)
        assert (answer.content, answer.headers["Content-Type"]) == (PNG + b"final", "image/png")
        assert answer.headers["Content-Disposition"].startswith("inline")

    def test_only_pictures_are_shown_in_the_browser(self, api: Api, put: Callable[..., str]) -> None:
        html = put(b"<script>", "preview", "x.png", media_type="text/html").replace("content", "preview.png")
        assert api.get(html).status_code == 404
        bundle = put().replace("content", "preview.png")
        assert api.get(bundle).status_code == 404

    def test_object_stores_can_be_asked_directly(
        self, api: Api, put: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = put()
        assert api.get(path, params={"redirect": True}).status_code == 200
        for name, value in (("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", "b"), ("DEFAULT_REGION", "us-east-1")):
            monkeypatch.setenv(f"AWS_{name}", value)
        monkeypatch.setattr(api.state, "store", RemoteStore("s3://bucket/prefix"))
        answer = api.get(path, params={"redirect": True})
        assert answer.status_code == 307
        assert f"/bucket/prefix/{key_of(DIGEST)}?" in answer.headers["Location"]


class TestAccess:
    @pytest.fixture
    def paths(self, put: Callable[..., str], job: str) -> list[str]:
        content = put(PNG, "preview", "preview.png", media_type="image/png")
        put()
        base = f"/v1/jobs/{job}"
        shortcuts = [f"{base}/artifacts", f"{base}/bundle.zip", f"{base}/preview.png"]
        return [content, content.replace("content", "preview.png"), *shortcuts]

    def test_own(self, api: Api, paths: list[str]) -> None:
        assert [api.get(path).status_code for path in paths] == [200] * 5

    def test_somebody_elses(self, rival: Api, paths: list[str]) -> None:
        assert [rival.get(path).status_code for path in paths] == [404] * 5
        assert rival.request("HEAD", paths[0]).status_code == 404
        assert rival.get(paths[0], headers={"If-None-Match": "*"}).status_code == 404

    def test_nobody(self, api: Api, paths: list[str]) -> None:
        assert [api.acting_as(None).get(path).status_code for path in paths] == [401] * 5

    @pytest.mark.parametrize("path", [f"/v1/artifacts/{MISSING}/content", f"/v1/artifacts/{MISSING}/preview.png"])
    def test_missing(self, api: Api, path: str) -> None:
        assert api.get(path).status_code == 404

    @pytest.mark.parametrize(
        "bad", ["art_x", "..%2f..%2fetc%2fpasswd", f"{MISSING}%00", f"{MISSING}#", "job_" + MISSING[4:]]
    )
    def test_what_is_no_identifier(self, api: Api, bad: str) -> None:
        assert api.get(f"/v1/artifacts/{bad}/content").status_code in (400, 404)
