from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.core.storage import (
    CHUNK,
    ArtifactStore,
    Blob,
    BlobMissingError,
    ChecksumMismatchError,
    LocalStore,
    StorageError,
    fetch,
    iter_verified,
    key_of,
    read_verified,
    store_at,
)

ABSENT = "0" * 64


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    return store_at(str(tmp_path / "blobs") if request.param == "folder" else "memory://")


def put(store: ArtifactStore, data: bytes) -> Blob:
    return store.put_stream(iter([data[:3], data[3:]]))


class TestEveryStore:
    def test_stream_is_filed_under_its_digest(self, store: ArtifactStore) -> None:
        blob = put(store, b"hello world")
        assert blob == Blob(hashlib.sha256(b"hello world").hexdigest(), 11)
        assert store.head(blob.sha256) == blob
        assert b"".join(store.iter_range(blob.sha256)) == b"hello world"

    def test_file_and_stream_agree(self, store: ArtifactStore, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"hello world")
        assert store.put_file(tmp_path / "a") == put(store, b"hello world")

    @pytest.mark.parametrize(
        ("start", "end", "expected"),
        [(0, None, b"hello world"), (6, None, b"world"), (2, 5, b"llo"), (0, 1, b"h"), (10, 99, b"d"), (4, 4, b"")],
    )
    def test_ranges(self, store: ArtifactStore, start: int, end: int | None, expected: bytes) -> None:
        blob = put(store, b"hello world")
        assert b"".join(store.iter_range(blob.sha256, start, end)) == expected

    def test_large_blob(self, store: ArtifactStore) -> None:
        data = os.urandom(3 * CHUNK + 17)
        blob = put(store, data)
        assert b"".join(store.iter_range(blob.sha256)) == data

    def test_empty_blob(self, store: ArtifactStore) -> None:
        blob = store.put_stream(iter([]))
        assert blob.size == 0
        assert b"".join(store.iter_range(blob.sha256)) == b""
        assert b"".join(iter_verified(store, blob)) == b""

    def test_absent_blob(self, store: ArtifactStore) -> None:
        assert store.head(ABSENT) is None
        assert not store.exists(ABSENT)
        with pytest.raises(BlobMissingError, match=ABSENT):
            next(iter(store.iter_range(ABSENT)))
        store.delete(ABSENT)

    def test_delete(self, store: ArtifactStore) -> None:
        blob = put(store, b"hello world")
        store.delete(blob.sha256)
        assert not store.exists(blob.sha256)

    @pytest.mark.parametrize("bad", ["", "../" * 20, "a" * 63, "A" * 64, "a" * 65, "a" * 63 + "/", "a" * 64 + "\n"])
    def test_only_digests_are_keys(self, store: ArtifactStore, bad: str) -> None:
        with pytest.raises(ValueError, match="SHA-256"):
            store.head(bad)

    def test_fetch_writes_the_whole_file(self, store: ArtifactStore, tmp_path: Path) -> None:
        blob = put(store, b"hello world")
        fetch(store, blob, tmp_path / "out" / "copy")
        assert (tmp_path / "out" / "copy").read_bytes() == b"hello world"
        assert [p.name for p in (tmp_path / "out").iterdir()] == ["copy"]


class TestLocalStore:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        return tmp_path / "blobs"

    @pytest.fixture
    def local(self, root: Path) -> LocalStore:
        return LocalStore(root)

    def test_equal_contents_are_stored_once(self, local: LocalStore, root: Path) -> None:
        put(local, b"hello world")
        put(local, b"hello world")
        assert len([p for p in root.rglob("*") if p.is_file()]) == 1

    def test_reading_goes_chunk_by_chunk(self, local: LocalStore) -> None:
        blob = put(local, bytes(3 * CHUNK + 17))
        assert [len(chunk) for chunk in local.iter_range(blob.sha256)] == [CHUNK, CHUNK, CHUNK, 17]

    def test_a_failing_stream_leaves_nothing(self, local: LocalStore, root: Path) -> None:
        def broken() -> Iterator[bytes]:
            yield b"half"
            raise ConnectionError("gone")

        with pytest.raises(ConnectionError):
            local.put_stream(broken())
        assert [p for p in root.rglob("*") if p.is_file()] == []

    def test_rot_is_found_before_the_end(self, local: LocalStore, root: Path, tmp_path: Path) -> None:
        blob = put(local, bytes(2 * CHUNK))
        path = root / key_of(blob.sha256)
        path.write_bytes(bytes(2 * CHUNK - 1) + b"x")
        with pytest.raises(ChecksumMismatchError):
            read_verified(local, blob)
        received: list[bytes] = []
        with pytest.raises(ChecksumMismatchError):
            received.extend(iter_verified(local, blob))
        assert [len(chunk) for chunk in received] == [CHUNK]
        with pytest.raises(ChecksumMismatchError):
            fetch(local, blob, tmp_path / "copy")
        assert not (tmp_path / "copy").exists()

    def test_storing_again_heals_rot(self, local: LocalStore, root: Path) -> None:
        blob = put(local, b"hello world")
        (root / key_of(blob.sha256)).write_bytes(b"hello w0rld")
        put(local, b"hello world")
        assert read_verified(local, blob) == b"hello world"

    @pytest.mark.parametrize("level", [0, 1, 2, 3])
    def test_links_are_not_followed(self, local: LocalStore, root: Path, tmp_path: Path, level: int) -> None:
        blob = put(local, b"hello world")
        parts = key_of(blob.sha256).split("/")
        place = root.joinpath(*parts[: level + 1])
        elsewhere = tmp_path / "elsewhere"
        place.rename(elsewhere)
        place.symlink_to(elsewhere)
        with pytest.raises(StorageError):
            next(iter(local.iter_range(blob.sha256)))


class TestStoreAt:
    def test_file_url(self, tmp_path: Path) -> None:
        blob = put(store_at(f"file://{tmp_path}/with%20space"), b"x")
        assert (tmp_path / "with space" / key_of(blob.sha256)).read_bytes() == b"x"

    def test_unknown_scheme_is_refused(self) -> None:
        with pytest.raises(ValueError, match="'ftp'"):
            store_at("ftp://host/x")

    def test_object_store_signs_urls(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in (("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", "b"), ("DEFAULT_REGION", "us-east-1")):
            monkeypatch.setenv(f"AWS_{name}", value)
        url = store_at("s3://bucket/prefix").sign_url(ABSENT, 60)
        assert url is not None
        assert f"/bucket/prefix/{key_of(ABSENT)}?" in url
        assert "X-Amz-Expires=60" in url

    def test_folder_signs_nothing(self, tmp_path: Path) -> None:
        assert store_at(str(tmp_path)).sign_url(ABSENT, 60) is None
