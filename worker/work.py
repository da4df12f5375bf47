"""What is special about each kind of job: what its child process needs, and what becomes of what that leaves behind."""

from __future__ import annotations

import hashlib
import shutil
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy.orm import Session

from app.artifacts import repository as artifacts
from app.artifacts.service import PARENT_BUNDLE, content_of
from app.core.database import Database
from app.core.ids import new_id
from app.core.settings import Settings
from app.core.storage import ArtifactStore, Blob, BlobMissingError, ChecksumMismatchError, fetch, iter_verified
from app.costs import repository as costs
from app.datasets import ingests
from app.queue import endings
from app.queue.leases import Claim
from app.queue.retries import Failure
from app.uploads.repository import StoredFile
from ddcore.machine.cache import note_use
from ddcore.machine.space import free, is_full
from ddcore.spec import parse
from ddcore.spec.local_sets import report_in
from worker import results
from worker.protocol import PARENT, SAMPLES, SHELF, UPLOAD, Done, Finish, TakenIn
from worker.run_folder import RunFolder

Proceed = Callable[[], None]
"""Called now and then while something takes long; raises where the job should not go on."""
Ending = Callable[[Session], bool]
"""Records what came of a job in the transaction that ends it; ``False`` where it is no longer the caller's."""


class UnfitError(Exception):
    """The job cannot be done, or not now."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Work(Protocol):
    """One job, by its kind."""

    @property
    def module(self) -> str:
        """What its child process runs."""
        ...

    def spec(self) -> Mapping[str, Any]:
        """What the child process is told, as ``spec.json``.

        Raises:
            UnfitError: what it needs is gone.
        """
        ...

    def fetch(self, folder: RunFolder, proceed: Proceed) -> None:
        """Bring here what the child process needs.

        Raises:
            UnfitError: it is gone, damaged or too large.
        """
        ...

    def collect(self, folder: RunFolder, done: Finish, *, cancelled: bool) -> Ending:
        """Store what the child process left.

        Args:
            folder: where it is.
            done: the last frame.
            cancelled: whether it was asked to end early.

        Returns:
            What then makes it visible, in the transaction that ends the job.

        Raises:
            UnfitError: it left too little, or too much.
        """
        ...

    def afterwards(self, folder: RunFolder) -> None:
        """Whatever is useful once the job has succeeded; it must not fail it."""
        ...


class Base:
    """What every kind of work knows."""

    def __init__(self, claimed: Claim, settings: Settings, database: Database, store: ArtifactStore) -> None:
        self._claim, self._settings, self._database, self._store = claimed, settings, database, store
        self._begun = time.monotonic()


class OwnSet(Base):
    """The user's own set that a job is on, where it is on one."""

    @property
    def named(self) -> str:
        """What the engine calls the dataset of the job: its content, or the name that it has.

        Raises:
            UnfitError: it was deleted.
        """
        return str(self._claim.spec["dataset"]) if self._found is None else self._found.content_id

    def fetch(self, proceed: Proceed) -> None:
        """Bring it into the cache, where the engine finds it by its content, unless it is there.

        Raises:
            UnfitError: it was deleted or is damaged, or the disk is full.
        """
        found = self._found
        if found is None:
            return
        shelf = self._settings.cache_dir / "datasets"
        needed = {name: blob for name, blob in found.files.items() if name != SAMPLES}
        entry = shelf / found.content_id
        if _is_whole(entry, needed):
            note_use(entry)
            return
        shutil.rmtree(entry, ignore_errors=True)
        writing = shelf / new_id(".writing")
        with _space_or_unfit("the set", sum(blob.size for blob in needed.values()), shelf):
            writing.mkdir(parents=True)
            try:
                for name, blob in needed.items():
                    proceed()
                    fetch(self._store, blob, writing / name)
                _settle(writing, entry)
            except (BlobMissingError, ChecksumMismatchError) as error:
                message = f"the stored images of {self._claim.spec['dataset']} are damaged; upload them again"
                raise UnfitError(Failure("dataset_damaged", message, retryable=False)) from error
            finally:
                shutil.rmtree(writing, ignore_errors=True)

    @cached_property
    def _found(self) -> ingests.StoredFiles | None:
        if self._claim.dataset_id is None:
            return None
        with self._database.read() as session:
            found = ingests.files_of(session, self._claim.dataset_id)
        if found is None:
            message = f"the set {self._claim.spec['dataset']} was deleted; name another"
            raise UnfitError(Failure("dataset_deleted", message, retryable=False))
        return found


class Distillation(Base):
    """A set is distilled; a user's own is brought into the cache first, where the engine finds it by its content."""

    @property
    def module(self) -> str:
        """The engine."""
        return self._settings.engine_module

    def spec(self) -> Mapping[str, Any]:
        """The specification, with the set's content for its name."""
        return {**self._claim.spec, "dataset": self._own_set.named}

    def fetch(self, folder: RunFolder, proceed: Proceed) -> None:
        """Bring here the bundle that the job extends; and the user's own set into the cache, unless it is there."""
        if self._claim.spec.get("extends") is not None:
            self._fetch_parent(folder)
        self._own_set.fetch(proceed)

    def _fetch_parent(self, folder: RunFolder) -> None:
        extended = self._claim.spec["extends"]
        with self._database.read() as session:
            found = artifacts.latest(session, self._claim.tenant_id, self._claim.job_id, PARENT_BUNDLE)
            blob = None if found is None else content_of(found)
        if blob is None:
            message = f"the bundle of {extended} that this job extends is gone; submit it again on another job"
            raise UnfitError(Failure("parent_deleted", message, retryable=False))
        packed = folder.path / f"{PARENT}.zip"
        with _space_or_unfit("the bundle that the job extends", blob.size, folder.path):
            try:
                fetch(self._store, blob, packed)
                with zipfile.ZipFile(packed) as archive:
                    archive.extractall(folder.parent)
            except (BlobMissingError, ChecksumMismatchError, zipfile.BadZipFile) as error:
                message = f"the stored bundle of {extended} that this job extends is damaged; run that job again"
                raise UnfitError(Failure("parent_damaged", message, retryable=False)) from error
        packed.unlink()

    def collect(self, folder: RunFolder, done: Finish, *, cancelled: bool) -> Ending:
        """Store the bundle's files."""
        if not isinstance(done, Done):
            raise UnfitError(Failure("incomplete_bundle", "the engine took a set in instead", retryable=False))
        try:
            files = results.bundle_files(folder)
        except FileNotFoundError as error:
            missing = Path(error.filename or str(error)).name
            raise UnfitError(Failure("incomplete_bundle", f"the engine left no {missing}", retryable=True)) from error
        stored = results.upload(self._store, [*files, *results.audit_files(folder)])

        def end(session: Session) -> bool:
            results.publish(session, self._store, self._claim, stored)
            if done.finalized and cancelled:
                return endings.cancel(session, self._claim, done.results)
            results.compare_with_random(session, self._claim, done.results)
            values = {"results": done.results.model_dump(mode="json"), "step": done.steps}
            if done.usage is not None and self._claim.attempt == 1:
                costs.record(session, parse(self.spec()), done.usage, time.monotonic() - self._begun)
            return endings.succeed(session, self._claim, f"finished after {done.steps} steps", values)

        return end

    def afterwards(self, folder: RunFolder) -> None:
        """Nothing."""

    @cached_property
    def _own_set(self) -> OwnSet:
        return OwnSet(self._claim, self._settings, self._database, self._store)


class Ingest(Base):
    """A user's own images are taken in as a set."""

    @property
    def module(self) -> str:
        """The ingest process."""
        return "worker.ingest_main"

    def spec(self) -> Mapping[str, Any]:
        """What to take in, how, and within which limits."""
        limits = {
            "memory_bytes": int(self._settings.ingest_memory_gb * 1e9),
            "file_bytes": self._upload().room,
            "unpacked_bytes": int(self._settings.upload_limit_gb * 1e9),
        }
        return {**self._claim.spec, "limits": limits}

    def fetch(self, folder: RunFolder, proceed: Proceed) -> None:
        """Put the upload together from its parts, and check that it is what was sent."""
        put_together(self._store, self._upload().content, folder, proceed)

    def collect(self, folder: RunFolder, done: Finish, *, cancelled: bool) -> Ending:  # noqa: ARG002 - as all kinds
        """Store the set's files, and the picture of its samples."""
        entry = folder.path / SHELF / (done.identity if isinstance(done, TakenIn) else "")
        report = report_in(entry)
        if not isinstance(done, TakenIn) or report is None:
            raise UnfitError(Failure("incomplete_set", "the process left no set", retryable=True))
        files = [*sorted(entry.iterdir()), entry.parent / SAMPLES]
        size, room = sum(path.stat().st_size for path in files), self._upload().room
        if size > room:
            message = (
                f"the set has {size:,} bytes, and {room:,} are left of your quota; take it in at a smaller `size`, or "
                "delete sets that you no longer need"
            )
            raise UnfitError(Failure("quota_exceeded", message, retryable=False))
        stored = {path.name: self._store.put_file(path) for path in files}

        def end(session: Session) -> bool:
            made = ingests.complete(session, self._dataset_id, self._claim.job_id, report, stored)
            if made is None:
                gone = Failure("dataset_deleted", "its set was deleted, or is taken in otherwise", retryable=False)
                return endings.fail(session, self._claim, gone, 0.0) is not None
            message = f"taken in as {made.name}@{made.version}, {report.id}"
            return endings.succeed(session, self._claim, message, {})

        return end

    def afterwards(self, folder: RunFolder) -> None:
        """Keep the set in the cache, where the first job on this machine then finds it."""
        shelf = self._settings.cache_dir / "datasets"
        shelf.mkdir(parents=True, exist_ok=True)
        for entry in (folder.path / SHELF).glob("ds_*"):
            _settle(entry, shelf / entry.name)

    @property
    def _dataset_id(self) -> str:
        if self._claim.dataset_id is None:
            raise LookupError(f"{self._claim.job_id} takes in no set")
        return self._claim.dataset_id

    def _upload(self) -> ingests.StoredUpload:
        with self._database.read() as session:
            found = ingests.upload_of(session, self._settings, self._dataset_id)
        if found is None or not found.content.parts:
            raise UnfitError(Failure("dataset_deleted", "its upload was deleted; send it again", retryable=False))
        return found


def put_together(store: ArtifactStore, upload: StoredFile, folder: RunFolder, proceed: Proceed) -> None:
    """Put an upload together from its parts in a run folder, and check that it is what was sent.

    Raises:
        UnfitError: it is not, a part is damaged, or the disk is full.
    """
    target = folder.path / UPLOAD / upload.file
    with _space_or_unfit("the upload", sum(part.size for part in upload.parts), folder.path):
        target.parent.mkdir(mode=0o700)
        digest = hashlib.sha256()
        with target.open("wb") as file:
            for chunk in _bytes(store, upload.parts):
                proceed()
                digest.update(chunk)
                file.write(chunk)
    if upload.sha256 not in (None, digest.hexdigest()):
        message = (
            f"the SHA-256 of what was sent is {digest.hexdigest()}, not {upload.sha256} as was announced; announce and "
            "send the file again"
        )
        raise UnfitError(Failure("digest_mismatch", message, retryable=False))


def _bytes(store: ArtifactStore, parts: Iterable[Blob]) -> Iterator[bytes]:
    for blob in parts:
        try:
            yield from iter_verified(store, blob)
        except (BlobMissingError, ChecksumMismatchError) as error:
            message = "a stored part of the upload is damaged; announce and send the file again"
            raise UnfitError(Failure("upload_damaged", message, retryable=False)) from error


def _is_whole(entry: Path, files: Mapping[str, Blob]) -> bool:
    """Whether a folder holds files with these names and sizes."""
    try:
        return all((entry / name).stat().st_size == blob.size for name, blob in files.items())
    except OSError:
        return False


def _settle(made: Path, entry: Path) -> None:
    """Move a set to its place; where another process was faster, its own is as good."""
    try:
        made.rename(entry)
    except OSError:
        if not entry.is_dir():
            raise


@contextmanager
def _space_or_unfit(what: str, size: int, folder: Path) -> Iterator[None]:
    """A full disk is no fault of the job: it is tried again later."""
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        message = f"the worker's disk has {free(folder):,} bytes free, too few for {what}, which needs {size:,}"
        raise UnfitError(Failure("no_space", message, retryable=True)) from error
