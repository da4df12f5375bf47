"""What can be done with users' own sets. Nothing here commits, and nothing here knows HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.core.errors import DatasetInUse, IllegalTransition, NotFound
from app.core.ids import new_id
from app.core.pagination import Cursors, Page, Position
from app.datasets import found as files_found
from app.datasets import repository as datasets
from app.datasets.documents import document, of_files
from app.datasets.repository import DatasetRepository
from app.datasets.schemas import DatasetDocument, NewDataset
from app.keys import audit
from app.models.datasets import Dataset, DatasetFile
from app.models.jobs import Job
from app.models.states import TERMINAL, Kind, State
from app.queue.queueing import enqueue
from app.queue.states import VERBS, Actor, transition
from app.uploads.service import UploadService
from ddcore.spec.ingest import DatasetReport, IngestOptions

INGEST = "ingest"
"""What stands where a distillation has its method."""
_PRIORITY = 9
"""Somebody waits for a set before a job can be submitted at all."""
_JOBS_SHOWN = 5


@dataclass(frozen=True)
class DatasetService(UploadService[Dataset, DatasetDocument]):
    """The sets of one principal, within one transaction."""

    noun = "set"

    @property
    def _sets(self) -> DatasetRepository:
        return DatasetRepository(self.session, self.principal)

    @property
    def _uploads(self) -> DatasetRepository:
        return self._sets

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
        named = () if name is None else (Dataset.name == name,)
        found = self._sets.page(cursors.decode(cursor) if cursor else None, limit + 1, *named)
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
        self._find(dataset_id)
        found = self._sets.with_report(dataset_id)
        if found is None or found.report is None:
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
        self.check_room(request.size)
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
        return self._begin_work(self._find(dataset_id))

    def delete(self, dataset_id: str) -> None:
        """Delete a set; what is taking it in stops.

        Raises:
            NotFound: there is no such set.
            DatasetInUse: jobs that have not ended need it.
        """
        # The job's row first, as the worker that ends it takes them: two in the other order wait for each other.
        self._sets.lock_job(self._find(dataset_id))
        found = self._find(dataset_id, lock=True)
        users = self._sets.users(dataset_id, _JOBS_SHOWN + 1)
        if users:
            more = " and more" if len(users) > _JOBS_SHOWN else ""
            raise DatasetInUse(
                f"jobs that have not ended use {found.name}: {', '.join(users[:_JOBS_SHOWN])}{more}; wait for them, or "
                "cancel them",
                extra={"jobs": list(users[:_JOBS_SHOWN])},
            )
        job = self._sets.jobs([found]).get(found.job_id or "")
        if job is not None and job.status not in TERMINAL:
            to = VERBS["cancel"].get(State(job.status))
            if to is not None:
                transition(self.session, job.id, to, Actor.API, message="cancelled: its set was deleted")
        audit.record(self.session, self.principal, "dataset.delete", dataset_id, name=found.name, version=found.version)
        datasets.bury(self.session, dataset_id)

    def _begin_work(self, found: Dataset) -> DatasetDocument:
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

    def _show(self, found: Sequence[Dataset]) -> list[DatasetDocument]:
        jobs, kept = self._sets.jobs(found), self._sets.kept(found)
        return [document(one, jobs.get(one.job_id or ""), kept.get(one.id, 0)) for one in found]
