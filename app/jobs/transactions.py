"""What routes and pages do with jobs, each in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends

from app.core.database import Database
from app.core.dependencies import DatabaseDep, SettingsDep
from app.core.errors import QuotaExceeded
from app.core.security import Principal
from app.core.settings import Settings
from app.core.turns import give_way
from app.jobs import idempotency
from app.jobs.admission import Admission, Admitted
from app.jobs.extensions import Longer
from app.jobs.lookup import JobLookup
from app.jobs.reading import SubmissionReader
from app.jobs.schemas import JobDocument, Validation
from app.jobs.submission import Submission
from app.jobs.submitting import Submitter
from app.jobs.verbs import JobVerbs
from app.keys.principals import JobReader, JobWriter
from app.models.states import State
from app.queue import outbox

Action = Callable[[JobVerbs], JobDocument]
Wanted = Callable[[SubmissionReader], Submission | Longer]
"""What a job is to be made of, such as ``lambda reader: reader.read(body)``."""


@dataclass(frozen=True)
class JobTransactions:
    """The jobs of one principal, a transaction at a time."""

    principal: Principal
    database: Database
    settings: Settings

    @contextmanager
    def read(self) -> Iterator[JobLookup]:
        """A transaction that changes nothing."""
        with self.database.read() as session:
            yield JobLookup(session, self.principal)

    @contextmanager
    def write(self) -> Iterator[JobVerbs]:
        """A transaction that ends with the block, all of it or nothing."""
        with self.database.write() as session:
            yield JobVerbs(session, self.principal, self.settings)

    def get(self, job_id: str) -> JobDocument:
        """One job.

        Raises:
            NotFound: there is no such job.
        """
        with self.read() as lookup:
            return lookup.get(job_id)

    def validate(self, body: Mapping[str, Any]) -> Validation:
        """Read a submission, and say what it would become; see :meth:`Admission.validate`.

        Raises:
            Invalid: it cannot be made, or does not fit what it may take.
            QuotaExceeded: the tenant would have more work unfinished than it may have.
        """
        with self._judging() as (reader, admission):
            return admission.validate(reader.read(body))

    def foresee(self, body: Mapping[str, Any]) -> tuple[Validation, QuotaExceeded | None]:
        """The same where the quota has no room for it; see :meth:`Admission.foresee`.

        Raises:
            Invalid: it cannot be made, or does not fit what it may take.
        """
        with self._judging() as (reader, admission):
            return admission.foresee(reader.read(body))

    def act(self, action: Action) -> JobDocument:
        """Do something with a job, and wake a worker where it is queued then."""
        with self.write() as verbs:
            document = action(verbs)
        if document.status is State.QUEUED:
            self.wake()
        return document

    def submit(self, wanted: Wanted) -> JobDocument:
        """Make a job and wake a worker.

        Raises:
            Invalid: it cannot be made, or does not fit what it may take.
            QuotaExceeded: there are as many unfinished ones as there may be.
        """
        admitted = self._admitted(wanted)
        give_way()
        with self.database.write() as session:
            document = Submitter(session, self.principal, self.settings).submit(admitted)
        self.wake()
        return document

    def create(
        self,
        wanted: Wanted,
        key: str | None,
        digest: str,
        parent_id: str | None = None,
    ) -> idempotency.Answer | JobDocument:
        """Make a job, or repeat what was answered when its key was used first.

        Args:
            wanted: what it is made of.
            key: of the request, if it has one.
            digest: of the request, see :func:`idempotency.request_digest`.
            parent_id: the job that it is a copy of.

        Returns:
            The first answer to that key, or the new job.

        Raises:
            IdempotencyMismatch: the key was used with another request.
            Invalid: it cannot be made, or does not fit what it may take.
            QuotaExceeded: there are as many unfinished ones as there may be.
        """
        first = None if key is None else self._answered(key, digest)
        if first is not None:
            return first
        admitted = self._admitted(wanted)
        give_way()
        with self.database.write() as session:
            if key is not None:
                first = idempotency.begin(session, self.principal, key, digest, self.settings.idempotency_s)
                if first is not None:
                    return first
            document = Submitter(session, self.principal, self.settings).submit(admitted, parent_id)
            if key is not None:
                idempotency.finish(session, self.principal, key, idempotency.remembered(document))
        self.wake()
        return document

    def _answered(self, key: str, digest: str) -> idempotency.Answer | None:
        """The answer to a key that was used: what is repeated is not judged again."""
        with self.database.read() as session:
            return idempotency.find(session, self.principal, key, digest)

    def _admitted(self, wanted: Wanted) -> Admitted:
        """What was found to fit, without holding up those who write."""
        with self._judging() as (reader, admission):
            return admission.admit(wanted(reader))

    @contextmanager
    def _judging(self) -> Iterator[tuple[SubmissionReader, Admission]]:
        """A transaction in which a submission is read and judged."""
        with self.database.read() as session:
            reader = SubmissionReader(session, self.principal, self.settings)
            yield reader, Admission(session, self.principal, self.settings)

    def wake(self) -> None:
        """Ring the doorbells that are due."""
        give_way()
        outbox.publish_pending(self.database, self.settings, limit_s=self.settings.publish_limit_s)


async def _reader(principal: JobReader, database: DatabaseDep, settings: SettingsDep) -> JobTransactions:
    return JobTransactions(principal, database, settings)


async def _writer(principal: JobWriter, database: DatabaseDep, settings: SettingsDep) -> JobTransactions:
    return JobTransactions(principal, database, settings)


JobsToRead = Annotated[JobTransactions, Depends(_reader)]
JobsToWrite = Annotated[JobTransactions, Depends(_writer)]
