"""Where the bytes of artifacts live: content-addressed by SHA-256, in a local folder or an object store.

A key is built from a digest alone (``sha256/ab/cd/<digest>``), never from a name that a user gave, so no
request can reach a file outside the store. Equal contents are stored once.
"""

from __future__ import annotations

from app.core.storage.blobs import (
    CHUNK,
    ArtifactStore,
    Blob,
    BlobMissingError,
    ChecksumMismatchError,
    Incoming,
    StorageError,
    key_of,
)
from app.core.storage.local import LocalStore
from app.core.storage.opening import open_store, store_at
from app.core.storage.remote import RemoteStore
from app.core.storage.verified import fetch, iter_part_verified, iter_verified, read_verified

__all__ = [
    "CHUNK",
    "ArtifactStore",
    "Blob",
    "BlobMissingError",
    "ChecksumMismatchError",
    "Incoming",
    "LocalStore",
    "RemoteStore",
    "StorageError",
    "fetch",
    "iter_part_verified",
    "iter_verified",
    "key_of",
    "open_store",
    "read_verified",
    "store_at",
]
