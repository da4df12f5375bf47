"""What routes and pages do with jobs, each in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends

from app.core.database import Database
from app.core.dependencies import DatabaseDep, SettingsDep
from app.core.security import Principal
from app.core.settings import Settings
from app.jobs import idempotency
from app.jobs.extensions import Longer
from app.jobs.schemas import JobDocument
from app.jobs.service import Admitted, JobService
from app.jobs.submission import Submission
from app.keys.principals import JobReader, JobWriter
from app.models.states import State
from app.queue import outbox

Action = Callable[[JobService], JobDocument]
Wanted = Callable[[JobService], Submission | Longer]
"""What a job is to be made of, such as ``lambda jobs: jobs.read(body)``."""


@dataclass(frozen=True)
class JobTransactions:
    """The jobs of one principal, a transaction at a time."""

    principal: Principal
    database: Database
    settings: Settings

    @contextmanager
    def read(self) -> Iterator[JobService]:
        """A transaction that changes nothing."""
        with self.database.read() as session:
            yield JobService(session, self.principal, self.settings)

    @contextmanager
    def write(self) -> Iterator[JobService]:
        """A transaction that ends with the block, all of it or nothing."""
        with self.database.write() as session:
            yield JobService(session, self.principal, self.settings)

    def get(self, job_id: str) -> JobDocument:
        """One job.

        Raises:
            NotFound: there is no such job.
        """
        with self.read() as jobs:
            return jobs.get(job_id)

    def act(self, action: Action) -> JobDocument:
        """Do something with a job, and wake a worker where it is queued then."""
        with self.write() as jobs:
            document = action(jobs)
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
        return self.act(lambda jobs: jobs.submit(admitted))

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
        with self.database.write() as session:
            if key is not None:
                first = idempotency.begin(session, self.principal, key, digest, self.settings.idempotency_s)
                if first is not None:
                    return first
            document = JobService(session, self.principal, self.settings).submit(admitted, parent_id)
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
        with self.read() as jobs:
            return jobs.admit(wanted(jobs))

    def wake(self) -> None:
        """Ring the doorbells that are due."""
        outbox.publish_pending(self.database, self.settings, limit_s=self.settings.publish_limit_s)


def _reader(principal: JobReader, database: DatabaseDep, settings: SettingsDep) -> JobTransactions:
    return JobTransactions(principal, database, settings)


def _writer(principal: JobWriter, database: DatabaseDep, settings: SettingsDep) -> JobTransactions:
    return JobTransactions(principal, database, settings)


JobsToRead = Annotated[JobTransactions, Depends(_reader)]
JobsToWrite = Annotated[JobTransactions, Depends(_writer)]
