"""What workers and routes do with artifacts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sqlalchemy.orm import Session

from app.artifacts import repository
from app.core.ids import new_id
from app.core.storage import ArtifactStore, Blob
from app.models.artifacts import Artifact

Kind = Literal[
    "bundle",
    "synthetic_images",
    "manifest",
    "preview",
    "snapshot",
    "checkpoint",
    "log",
    "npz",
    "image_folder",
    "audit",
    "neighbours",
    "parent_bundle",
    "nearest",
]

PARENT_BUNDLE: Kind = "parent_bundle"
"""The bundle that a job extends: its own hold on it, so that it stays when the job that made it is deleted."""

GRACE_S = 900.0
"""Content stays this long after the last artifact that points to it."""


class StaleFenceError(Exception):
    """Another worker holds the job by now; whatever this one does must not be seen."""


@dataclass(frozen=True)
class Output:
    """A file to publish.

    Attributes:
        kind: what the file is.
        path: the file.
        media_type: such as ``image/png``.
        shape: of the tensor that it holds.
        dtype: element type of that tensor.
        step: steps done when it was made, where it belongs to one moment of the run.
        attempt: the attempt that made it; by default the job's current one.
        name: file name to offer for its download; by default the file's own.
        data: further facts.
        blob: its content, where that is in the store already.
    """

    kind: Kind
    path: Path
    media_type: str
    shape: Sequence[int] | None = None
    dtype: str | None = None
    step: int | None = None
    attempt: int | None = None
    name: str | None = None
    data: dict[str, Any] | None = None
    blob: Blob | None = None


def publish(session: Session, store: ArtifactStore, job_id: str, fence: int, output: Output) -> str:
    """Make a file visible as an artifact of a job, if the caller still holds the job.

    The content is in the store before the row exists, and the row appears with the caller's transaction.
    A file of the same kind, name and step takes the place of the earlier one.

    Args:
        session: a ``write()`` session.
        store: where contents live.
        job_id: the job.
        fence: the caller's fencing token.
        output: the file. It is copied now; to keep the transaction short, copy it before with ``store.put_file`` and
            give the result as ``output.blob``.

    Returns:
        The artifact's identifier.

    Raises:
        LookupError: there is no such job.
        StaleFenceError: ``fence`` is no longer the job's.
        StorageError: the store cannot take the file.
    """
    stored = store.put_file(output.path) if output.blob is None else output.blob
    held = repository.holder(session, job_id)
    if held is None:
        raise LookupError(f"no job {job_id}")
    tenant, current, current_attempt = held
    if current != fence:
        raise StaleFenceError(f"job {job_id} is held under fence {current}, not {fence}")
    artifact = Artifact(
        id=new_id("art"),
        tenant_id=tenant,
        job_id=job_id,
        attempt=current_attempt if output.attempt is None else output.attempt,
        fence=fence,
        kind=output.kind,
        name=safe_name(output.name or output.path.name),
        media_type=output.media_type,
        sha256=stored.sha256,
        size=stored.size,
        shape=None if output.shape is None else list(output.shape),
        dtype=output.dtype,
        step=output.step,
        data=output.data,
        state=repository.READY,
    )
    repository.add(session, artifact, stored.size)
    return artifact.id


def collect(session: Session, store: ArtifactStore, *, grace_s: float = GRACE_S, limit: int = 1000) -> int:
    """Delete content that no visible artifact points to.

    Content goes before its row does: were the transaction to fail in between, the row would only lead the
    next round to it again.

    Args:
        session: a ``write()`` session.
        store: where contents live.
        grace_s: how long content must have been unused, in seconds.
        limit: how many to delete at most.

    Returns:
        How many were deleted.
    """
    digests = repository.unused(session, grace_s, limit)
    for digest in digests:
        store.delete(digest)
        repository.forget(session, digest)
    return len(digests)


def content_of(artifact: Artifact) -> Blob:
    """The content that a finished artifact points to."""
    if artifact.sha256 is None or artifact.size is None:
        raise LookupError(f"artifact {artifact.id} has no content")
    return Blob(artifact.sha256, artifact.size)


def safe_name(name: str) -> str:
    """A file name that is safe in a header and on any file system.

    >>> safe_name("../a b/ü.png")
    'a_b_.png'
    >>> safe_name("...")
    'file'
    """
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip("._-")
    return cleaned[-150:] or "file"
