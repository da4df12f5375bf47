from __future__ import annotations

import io
import stat
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from ddclient import Client, ClientError, DownloadError, UnreachableError
from ddclient.bundle import unpack
from tests.ddclient.conftest import JOB_ID, FakeService, artifact_document, bundle_zip

CONTENT = "/v1/artifacts/art_1/content"


def offer(service: FakeService, content: bytes, *handlers: object, **fields: object) -> None:
    service.on("GET", f"/v1/jobs/{JOB_ID}/artifacts", {"data": [artifact_document(content, **fields)]})
    service.on("GET", CONTENT, *(handlers or (lambda request: ranged(request, content),)))


def ranged(request: httpx.Request, content: bytes) -> httpx.Response:
    wanted = request.headers.get("Range")
    if wanted is None:
        return httpx.Response(200, content=content)
    start = int(wanted.removeprefix("bytes=").rstrip("-"))
    return httpx.Response(206, content=content[start:])


def cut(content: bytes, at: int) -> Callable[[httpx.Request], httpx.Response]:
    def body() -> Iterator[bytes]:
        yield content[:at]
        raise httpx.ReadError("connection reset")

    return lambda request: httpx.Response(200, content=body())


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ddclient.bundle.time.sleep", lambda seconds: None)


def test_a_bundle_is_fetched_checked_and_unpacked(client: Client, service: FakeService, tmp_path: Path) -> None:
    offer(service, bundle_zip())
    bundle = client.download(JOB_ID, tmp_path / "out")
    assert bundle.images_file.read_bytes() == b"tensors" * 100
    assert bundle.manifest["schema_version"] == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "data",
        "distilled.safetensors",
        "manifest.json",
    ]


def test_a_broken_download_goes_on_where_it_stopped(client: Client, service: FakeService, tmp_path: Path) -> None:
    content = bundle_zip()
    offer(service, content, cut(content, 100), lambda request: ranged(request, content))
    client.download(JOB_ID, tmp_path)
    second = service.requests[-1]
    assert second.headers["Range"] == "bytes=100-"
    assert second.headers["If-Range"] == f'"{artifact_document(content)["sha256"]}"'


def test_a_service_that_ignores_the_range_starts_over(client: Client, service: FakeService, tmp_path: Path) -> None:
    content = bundle_zip()
    offer(service, content, cut(content, 100), httpx.Response(200, content=content))
    assert client.download(JOB_ID, tmp_path).images_file.is_file()


def test_an_interrupted_download_is_kept_for_the_next_call(
    client: Client, service: FakeService, tmp_path: Path
) -> None:
    content = bundle_zip()
    offer(service, content, cut(content, 100), httpx.ReadError("connection reset"))
    with pytest.raises(UnreachableError, match="connection reset"):
        client.download(JOB_ID, tmp_path)
    offer(service, content)
    client.download(JOB_ID, tmp_path)
    assert service.requests[-1].headers["Range"] == "bytes=100-"


def test_wrong_bytes_are_refused_and_not_kept(client: Client, service: FakeService, tmp_path: Path) -> None:
    offer(service, bundle_zip(), sha256="0" * 64)
    with pytest.raises(DownloadError, match="promised 0000"):
        client.download(JOB_ID, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_job_without_a_bundle_says_so(client: Client, service: FakeService, tmp_path: Path) -> None:
    service.on("GET", f"/v1/jobs/{JOB_ID}/artifacts", {"data": []})
    with pytest.raises(ClientError, match="no bundle"):
        client.download(JOB_ID, tmp_path)


def test_a_bundle_that_is_being_written_is_none_yet(client: Client, service: FakeService, tmp_path: Path) -> None:
    offer(service, bundle_zip(), state="writing", size=None, sha256=None)
    with pytest.raises(ClientError, match="no bundle"):
        client.download(JOB_ID, tmp_path)


def test_other_files_of_the_folder_are_left_alone(client: Client, service: FakeService, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "manifest.json").write_text("old")
    offer(service, bundle_zip())
    assert client.download(JOB_ID, tmp_path).manifest["schema_version"] == 1
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["../evil", "/evil", "data/../../evil", "..\\evil", "C:evil", "data/.."], ids=repr)
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    archive = tmp_path / "bundle.zip"
    archive.write_bytes(bundle_zip({name: b"evil"}))
    with pytest.raises(DownloadError, match="not a plain file inside the folder"):
        unpack(archive, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    assert not (tmp_path / "evil").exists()


def test_a_link_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "bundle.zip"
    with zipfile.ZipFile(archive, "w") as made:
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        made.writestr(link, "/etc/passwd")
    with pytest.raises(DownloadError, match="'link'"):
        unpack(archive, tmp_path / "out")


def test_an_archive_that_unpacks_to_absurd_size_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("zeros", bytes(10_000_000))
    archive = tmp_path / "bundle.zip"
    archive.write_bytes(buffer.getvalue())
    with pytest.raises(DownloadError, match="more than 200 times"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no zip", "not a zip file"),
        (bundle_zip(listed={"preview.png": "0" * 64}), "does not hold"),
        (bundle_zip(listed={"../secret": "0" * 64}), "does not hold"),
        (bundle_zip(listed={"distilled.safetensors": "0" * 64}), "distilled.safetensors is not the file"),
    ],
)
def test_a_damaged_bundle_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    archive = tmp_path / "bundle.zip"
    archive.write_bytes(content)
    with pytest.raises(DownloadError, match=message):
        unpack(archive, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("manifest", [None, "{", "[]", '{"files": [1]}', '{"files": {"a": "b"}}'])
def test_an_archive_without_a_usable_manifest_is_refused(tmp_path: Path, manifest: str | None) -> None:
    archive = tmp_path / "bundle.zip"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("a", "b")
        if manifest is not None:
            made.writestr("manifest.json", manifest)
    with pytest.raises(DownloadError, match=r"no manifest\.json"):
        unpack(archive, tmp_path / "out")
