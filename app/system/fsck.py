"""``python -m app.system.fsck``: hold what the database says of the store against the store.

It needs what only the service's operator has: the database and the store, as the API is given them. It changes nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Literal, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import migrate
from app.artifacts.repository import READY
from app.core.database import Database
from app.core.programs import ending_plainly
from app.core.settings import Settings
from app.core.storage import (
    ArtifactStore,
    Blob,
    BlobMissingError,
    ChecksumMismatchError,
    LocalStore,
    iter_verified,
    open_store,
)
from app.models.artifacts import Artifact
from app.models.artifacts import Blob as BlobRow
from app.models.datasets import Dataset, DatasetFile, DatasetPart
from app.models.jobs import Job
from app.models.logs import LogPart
from app.models.scores import ScorePart

_AT_ONCE = 1000
DAMAGED = 3
"""Exit status where something is damaged or missing."""


class Fault(NamedTuple):
    """Something that is not as it should be.

    Attributes:
        kind: bytes that are not those of their digest; a row without bytes; bytes without a row.
        sha256: of the content.
        of: what needs it, such as ``job_… bundle``.
        remedy: what to do.
    """

    kind: Literal["damaged", "missing", "unused"]
    sha256: str
    of: tuple[str, ...]
    remedy: str


def check(database: Database, store: ArtifactStore) -> Iterator[Fault]:
    """Read every content that the database knows, and list files of a local store that it does not know.

    Raises:
        StorageError: the store cannot be reached.
    """
    known: set[str] = set()
    after = ""
    while True:
        with database.read() as session:
            rows = session.execute(
                select(BlobRow.sha256, BlobRow.size)
                .where(BlobRow.sha256 > after)
                .order_by(BlobRow.sha256)
                .limit(_AT_ONCE)
            ).all()
        if not rows:
            break
        for sha256, size in rows:
            known.add(sha256)
            kind = _fault_of(store, Blob(sha256, size))
            if kind is not None:
                with database.read() as session:
                    needed_by = tuple(_needed_by(session, sha256))
                yield Fault(kind, sha256, needed_by, _remedy(needed_by))
        after = rows[-1][0]
    if isinstance(store, LocalStore):
        for sha256 in store.digests():
            if sha256 not in known:
                remedy = "nothing: it is being stored now, or was left by a writer that died, and does no harm"
                yield Fault("unused", sha256, (), remedy)


def _fault_of(store: ArtifactStore, blob: Blob) -> Literal["damaged", "missing"] | None:
    try:
        for _ in iter_verified(store, blob):
            pass
    except BlobMissingError:
        return "missing"
    except ChecksumMismatchError:
        return "damaged"
    return None


def _needed_by(session: Session, sha256: str) -> Iterator[str]:
    artifacts = (
        select(Artifact.job_id, Artifact.kind)
        .join(Job, Job.id == Artifact.job_id)
        .where(Artifact.sha256 == sha256, Artifact.state == READY, Job.deleted_at.is_(None))
    )
    for job_id, kind in session.execute(artifacts):
        yield f"{job_id} {kind}"
    files = select(Dataset.id, DatasetFile.name).join(Dataset, Dataset.id == DatasetFile.dataset_id)
    for dataset_id, name in session.execute(files.where(DatasetFile.sha256 == sha256)):
        yield f"{dataset_id} {name}"
    for part in (DatasetPart, ScorePart):
        for owner in session.scalars(select(part.owner_id).where(part.sha256 == sha256)):
            yield f"{owner} upload"
    for job_id in session.scalars(select(LogPart.job_id).where(LogPart.sha256 == sha256)):
        yield f"{job_id} log"


def _remedy(needed_by: tuple[str, ...]) -> str:
    if not needed_by:
        return "nothing: no job and no set needs it any more"
    if any(of.startswith("set_") for of in needed_by):
        return "upload the images of the set again, or restore the file from a backup"
    if any(of.startswith("score_") for of in needed_by):
        return "delete the score and send its file again"
    if all(of.endswith(" checkpoint") for of in needed_by):
        return "nothing: the job goes on from an earlier checkpoint, or from its start"
    jobs = sorted({of.partition(" ")[0] for of in needed_by if of.startswith("job_")})
    again = " and ".join(f"`ddctl rerun {job}`" for job in jobs)
    return f"restore the file from a backup, or make the result again, with the same specification and seed: {again}"


def main(arguments: list[str] | None = None) -> int:
    """Check, print every fault, and return 0 where there is none, 3 where content is damaged or missing."""
    parser = argparse.ArgumentParser(prog="python -m app.system.fsck", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print each fault as JSON")
    as_json: bool = parser.parse_args(arguments).json
    with ending_plainly(migrate.SchemaError):
        return _report(Settings(), as_json=as_json)


def _report(settings: Settings, *, as_json: bool) -> int:
    database, bad = Database(settings), 0
    try:
        migrate.check(database)
        for fault in check(database, open_store(settings)):
            bad += fault.kind != "unused"
            of = ", ".join(fault.of) or "nothing"
            text = f"{fault.kind} {fault.sha256}, needed by {of}: {fault.remedy}"
            sys.stdout.write(f"{json.dumps(fault._asdict()) if as_json else text}\n")
    finally:
        database.dispose()
    sys.stderr.write(f"{bad} contents are damaged or missing\n" if bad else "everything that is needed is there\n")
    return DAMAGED if bad else 0


if __name__ == "__main__":
    sys.exit(main())
