"""The store that a URL names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from app.core.storage.blobs import ArtifactStore
from app.core.storage.local import LocalStore
from app.core.storage.remote import RemoteStore

if TYPE_CHECKING:
    from app.core.settings import Settings


def open_store(settings: Settings) -> ArtifactStore:
    """The store that the settings name."""
    return store_at(settings.storage_url)


def store_at(url: str) -> ArtifactStore:
    """The store at a folder (a path or ``file://``), ``s3://bucket/prefix`` or ``memory://``.

    Raises:
        ValueError: for a scheme that is none of these.
    """
    parts = urlsplit(url)
    if not parts.scheme:
        return LocalStore(Path(url))
    if parts.scheme == "file":
        return LocalStore(Path(unquote(parts.path)))
    if parts.scheme in ("s3", "memory"):
        return RemoteStore(url)
    raise ValueError(f"storage URL {url!r}: scheme {parts.scheme!r} is not one of file, s3, memory")
