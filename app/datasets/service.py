"""What can be done with users' own sets. Nothing here commits, and nothing here knows HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.core.errors import DatasetInUse, DatasetTooLarge, IllegalTransition, NotFound, UploadConflict
from app.core.ids import new_id
from app.core.pagination import Cursors, Page, Position
from app.core.security import Principal
from app.core.settings import Settings
from app.core.storage import Blob
from app.datasets import found as files_found
from app.datasets import repository as datasets
from app.datasets.documents import document, of_files
from app.datasets.quota import quota_of
from app.datasets.repository import DatasetRepository
from app.datasets.schemas import DatasetDocument, NewDataset
from app.keys import audit
from app.keys import repository as keys
from app.models.datasets import Dataset, DatasetFile
from app.models.jobs import Job
from app.models.states import TERMINAL, Kind, State
from app.queue.queueing import enqueue
from app.queue.states import VERBS, Actor, transition
from ddcore.spec.ingest import DatasetReport, IngestOptions

INGEST = "ingest"
"""What stands where a distillation has its method."""
_PRIORITY = 9
"""Somebody waits for a set before a job can be submitted at all."""
_JOBS_SHOWN = 5


@dataclass(frozen=True)
class DatasetService:
    """The sets of one principal, within one transaction."""

    session: Session
    principal: Principal
    settings: Settings

    @property
    def _sets(self) -> DatasetRepository:
        return DatasetRepository(self.session, self.principal)

    def get(self, dataset_id: str) -> DatasetDocument:
        """One set.

        Raises:
            NotFound: there is none of that id, or it is somebody else's.
        """
        return self._show([self._find(dataset_id)])[0]

    def page(self, cursors: Cursors, cursor: str | None, limit: int, name: str | None) -> Page[DatasetDocument]:
        """One page of the sets: the user's own, newest first, and after the last of them the others.

        Raises:
            InvalidCursor: the cursor does not belong to this list.
        """
        found = self._sets.page(cursors.decode(cursor) if cursor else None, limit + 1, name)
        shown = self._show(found[:limit])
        if len(found) > limit:
            last = found[limit - 1]
            return Page[DatasetDocument](data=shown, next_cursor=cursors.encode(Position(last.created_at, last.id)))
        others = of_files(self.settings.data_root, files_found.known(self.session), hidden=self._sets.ready_names())
        return Page[DatasetDocument](data=[*shown, *(one for one in others if name in (None, one.name))])

    def report(self, dataset_id: str) -> DatasetReport:
        """What was found in the images of a set.

        Raises:
            NotFound: there is no such set, or it has no report yet.
        """
        found = self._find(dataset_id, report=True)
        if found.report is None:
            raise NotFound(f"the set {dataset_id} has no report yet; it gets one when it is taken in")
        return DatasetReport.model_validate(found.report)

    def file(self, dataset_id: str, name: str) -> DatasetFile:
        """A file of a set.

        Raises:
            NotFound: there is no such set, or it has no such file.
        """
        self._find(dataset_id)
        found = self._sets.file(dataset_id, name)
        if found is None:
            there = ", ".join(file.name for file in self._sets.files(dataset_id)) or "none yet"
            raise NotFound(f"the set {dataset_id} has no file {name}; its files: {there}")
        return found

    def files(self, dataset_id: str) -> Sequence[DatasetFile]:
        """All files of a set, none where it is not ready.

        Raises:
            NotFound: there is no such set.
        """
        self._find(dataset_id)
        return self._sets.files(dataset_id)

    def announce(self, request: NewDataset) -> DatasetDocument:
        """Make room for an upload.

        Raises:
            DatasetTooLarge: the upload is known to be larger than there is room.
        """
        keys.tenant(self.session, self.principal, lock=True)
        room = self.room()
        if request.size is not None and request.size > room:
            raise self._too_large(request.size, room)
        made = self._sets.add(
            Dataset(
                id=new_id("set"),
                tenant_id=self.principal.tenant_id,
                name=request.name,
                file=request.file,
                options=request.options.model_dump(mode="json"),
                size=request.size,
                sha256=request.sha256,
            )
        )
        audit.record(self.session, self.principal, "dataset.announce", made.id, name=made.name)
        return self._show([made])[0]

    def begin(self, dataset_id: str, start: int | None) -> tuple[int, int]:
        """Where an upload may go on, and how many bytes the file may have.

        Args:
            dataset_id: the set.
            start: the first byte that will come; ``None`` for the whole file, whatever is there.

        Raises:
            NotFound: there is no such set.
            UploadConflict: the bytes are there already, or these do not come next.
        """
        found = self._find(dataset_id, lock=True)
        if found.job_id is not None:
            raise UploadConflict(
                f"all {found.received:,} bytes of {dataset_id} have come; to send other images, announce a new set",
                extra={"received": found.received},
            )
        if start is None:
            self._sets.forget_upload(dataset_id)
            return 0, self.room()
        if start != found.received:
            raise self._conflict(found.received)
        return start, self.room(found.received)

    def add_part(self, dataset_id: str, start: int, blob: Blob) -> None:
        """Record a piece of an upload that is in the store.

        Raises:
            NotFound: there is no such set.
            UploadConflict: somebody else has sent these bytes meanwhile.
            DatasetTooLarge: other uploads have taken the room.
        """
        # Locked, the quota is counted by one transaction at a time.
        keys.tenant(self.session, self.principal, lock=True)
        room = self.room(start)
        if start + blob.size > room:
            raise self._too_large(start + blob.size, room)
        if not self._sets.add_part(dataset_id, start, blob):
            raise self._conflict(self._find(dataset_id).received)

    def complete(self, dataset_id: str, total: int, sha256: str | None) -> DatasetDocument:
        """All bytes are there: let a worker take them in.

        Raises:
            NotFound: there is no such set.
            UploadConflict: bytes are missing, or another file was announced.
        """
        found = self._find(dataset_id, lock=True)
        if found.job_id is not None:
            return self._show([found])[0]
        if found.received != total:
            raise self._conflict(found.received)
        if found.size not in (None, total) or (sha256 and found.sha256 not in (None, sha256)):
            raise UploadConflict(
                f"{total:,} bytes with the SHA-256 {sha256 or '(not told)'} have come, but announced were "
                f"{found.size or total:,} bytes with {found.sha256 or '(not told)'}; send the whole file again, "
                "without Content-Range, or announce a new set",
                extra={"received": found.received},
            )
        self._sets.change(dataset_id, {"size": total, "sha256": found.sha256 or sha256})
        return self._ingest(found)

    def ingest(self, dataset_id: str, options: IngestOptions) -> DatasetDocument:
        """Take an upload in once more, with other options.

        Raises:
            NotFound: there is no such set.
            IllegalTransition: bytes are missing, it is being taken in, or it was.
        """
        found = self._find(dataset_id, lock=True)
        shown = self._show([found])[0]
        if "ingest" not in shown.actions:
            raise IllegalTransition(
                f"a set that is {shown.state} cannot be taken in again; to take its files in otherwise, upload them as "
                f"a new version of {found.name}",
                extra={"allowed": shown.actions},
            )
        self._sets.change(dataset_id, {"options": options.model_dump(mode="json")})
        audit.record(self.session, self.principal, "dataset.ingest", dataset_id, name=found.name)
        return self._ingest(self._find(dataset_id))

    def discard(self, dataset_id: str) -> None:
        """Forget what has come of an upload that cannot go on."""
        self._sets.forget_upload(dataset_id)

    def delete(self, dataset_id: str) -> None:
        """Delete a set; what is taking it in stops.

        Raises:
            NotFound: there is no such set.
            DatasetInUse: jobs that have not ended need it.
        """
        # The job's row first, as the worker that ends it takes them: two in the other order wait for each other.
        self._sets.lock_ingest(self._find(dataset_id))
        found = self._find(dataset_id, lock=True)
        users = self._sets.users(dataset_id, _JOBS_SHOWN + 1)
        if users:
            more = " and more" if len(users) > _JOBS_SHOWN else ""
            raise DatasetInUse(
                f"jobs that have not ended use {found.name}: {', '.join(users[:_JOBS_SHOWN])}{more}; wait for them, or "
                "cancel them",
                extra={"jobs": list(users[:_JOBS_SHOWN])},
            )
        job = self._sets.ingests([found]).get(found.job_id or "")
        if job is not None and job.status not in TERMINAL:
            to = VERBS["cancel"].get(State(job.status))
            if to is not None:
                transition(self.session, job.id, to, Actor.API, message="cancelled: its set was deleted")
        audit.record(self.session, self.principal, "dataset.delete", dataset_id, name=found.name, version=found.version)
        datasets.bury(self.session, dataset_id)

    def room(self, received: int = 0) -> int:
        """Bytes that an upload may have: what is left of the quota, at most what the service takes.

        Args:
            received: bytes of it that are there and counted already.
        """
        quota = quota_of(keys.tenant(self.session, self.principal), self.settings)
        return min(max(0, quota - self._sets.bytes_used() + received), int(self.settings.upload_limit_gb * 1e9))

    def _conflict(self, received: int) -> UploadConflict:
        """What an upload hears that goes on in the wrong place."""
        return UploadConflict(
            f"{received:,} bytes are there; go on with `Content-Range: bytes {received}-…/…`, or send the whole file "
            "without Content-Range",
            extra={"received": received},
        )

    def _too_large(self, size: int, room: int) -> DatasetTooLarge:
        return DatasetTooLarge(
            f"the upload has {size:,} bytes, and there is room for {room:,} (a single upload may have "
            f"{int(self.settings.upload_limit_gb * 1e9):,}); delete sets that you no longer need, or ask for more"
        )

    def _ingest(self, found: Dataset) -> DatasetDocument:
        job = Job(
            id=new_id("job"),
            tenant_id=found.tenant_id,
            kind=Kind.INGEST,
            dataset_id=found.id,
            name=f"taking in {found.name}",
            labels={},
            priority=_PRIORITY,
            spec={"dataset": found.name, "file": found.file, "options": found.options},
            dataset=found.name,
            method=INGEST,
            device_class="any",
            max_runtime_s=min(self.settings.ingest_runtime_s, self.settings.max_runtime_s),
            max_queue_s=self.settings.max_queue_s,
            status=State.QUEUED,
            max_attempts=self.settings.max_attempts,
            total_steps=0,
        )
        enqueue(self.session, job, {"dataset": found.name, "dataset_id": found.id})
        self._sets.change(found.id, {"job_id": job.id})
        return self.get(found.id)

    def _find(self, dataset_id: str, *, lock: bool = False, report: bool = False) -> Dataset:
        found = self._sets.get(dataset_id, lock=lock, report=report)
        if found is None:
            raise NotFound(f"you have no set {dataset_id}")
        return found

    def _show(self, found: Sequence[Dataset]) -> list[DatasetDocument]:
        jobs, kept = self._sets.ingests(found), self._sets.kept(found)
        return [document(one, jobs.get(one.job_id or ""), kept.get(one.id, 0)) for one in found]
