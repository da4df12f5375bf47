"""Reading blobs whose bytes are checked against their digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from app.core.storage.blobs import ArtifactStore, Blob, ChecksumMismatchError
from app.core.storage.files import new_file, sync


def read_verified(store: ArtifactStore, blob: Blob) -> bytes:
    """All bytes of a blob, checked against its digest before the first is handed out.

    Raises:
        ChecksumMismatchError: if the stored bytes have changed.
        BlobMissingError: if they are gone.
    """
    data = b"".join(store.iter_range(blob.sha256))
    if hashlib.sha256(data).hexdigest() != blob.sha256:
        raise ChecksumMismatchError(f"stored bytes of sha256:{blob.sha256} have changed")
    return data


def iter_verified(store: ArtifactStore, blob: Blob) -> Iterator[bytes]:
    """Chunks of a blob; the last one is held back until the digest is known to be right.

    Raises:
        ChecksumMismatchError: instead of yielding the last chunk, so that a reader never gets a full-length wrong file.
    """
    digest, held = hashlib.sha256(), b""
    for chunk in store.iter_range(blob.sha256):
        if held:
            yield held
        digest.update(chunk)
        held = chunk
    if digest.hexdigest() != blob.sha256:
        raise ChecksumMismatchError(f"stored bytes of sha256:{blob.sha256} have changed")
    yield held


def iter_part_verified(store: ArtifactStore, blob: Blob, start: int, end: int) -> Iterator[bytes]:
    """Chunks of bytes ``start`` to ``end`` of a blob, all of which is read to check it.

    The last of them is held back until the digest is known to be right, as by :func:`iter_verified`.

    Raises:
        ChecksumMismatchError: instead of yielding the last chunk.
    """
    digest, held, place = hashlib.sha256(), b"", 0
    for chunk in store.iter_range(blob.sha256):
        digest.update(chunk)
        part = chunk[max(0, start - place) : max(0, end - place)]
        place += len(chunk)
        if part:
            if held:
                yield held
            held = part
    if digest.hexdigest() != blob.sha256:
        raise ChecksumMismatchError(f"stored bytes of sha256:{blob.sha256} have changed")
    yield held


def fetch(store: ArtifactStore, blob: Blob, target: Path) -> None:
    """Copy a blob into a file, which appears only complete and verified.

    Raises:
        ChecksumMismatchError: if the stored bytes have changed; ``target`` is left as it was.
    """
    with new_file(target.parent) as (temporary, handle):
        for chunk in iter_verified(store, blob):
            handle.write(chunk)
        sync(handle)
        temporary.replace(target)
