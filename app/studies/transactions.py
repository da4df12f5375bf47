"""What routes and pages do with studies, each in one transaction."""

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
from app.core.turns import give_way
from app.jobs import idempotency
from app.keys.principals import JobReader, JobWriter
from app.queue import outbox
from app.studies.planning import Plan
from app.studies.schemas import StudyDocument
from app.studies.service import StudyService


@dataclass(frozen=True)
class StudyTransactions:
    """The studies of one principal, a transaction at a time."""

    principal: Principal
    database: Database
    settings: Settings

    @contextmanager
    def read(self) -> Iterator[StudyService]:
        """A transaction that changes nothing."""
        with self.database.read() as session:
            yield StudyService(session, self.principal, self.settings)

    @contextmanager
    def write(self) -> Iterator[StudyService]:
        """A transaction that ends with the block, all of it or nothing."""
        with self.database.write() as session:
            yield StudyService(session, self.principal, self.settings)

    def get(self, study_id: str) -> StudyDocument:
        """One study.

        Raises:
            NotFound: there is no such study.
        """
        with self.read() as studies:
            return studies.get(study_id)

    def act(self, verb: str, study_id: str) -> StudyDocument:
        """Do something with a study, see :meth:`StudyService.act`, and wake workers for jobs that are queued then."""
        with self.write() as studies:
            document = studies.act(verb, study_id)
        self.wake()
        return document

    def create(
        self, wanted: Callable[[StudyService], Plan], key: str | None, digest: str
    ) -> idempotency.Answer | StudyDocument:
        """Make a study, or repeat what was answered when its key was used first.

        Args:
            wanted: what it comes to; not asked for a key that was used, for what is repeated is not judged again.
            key: of the request, if it has one.
            digest: of the request, see :func:`idempotency.request_digest`.

        Raises:
            IdempotencyMismatch: the key was used with another request.
            Invalid: it cannot be a study.
            QuotaExceeded: there are as many unfinished jobs as there may be.
        """
        with self.read() as studies:
            first = None if key is None else idempotency.find(studies.session, self.principal, key, digest)
            if first is not None:
                return first
            plan = wanted(studies)
        give_way()
        with self.write() as studies:
            if key is not None:
                first = idempotency.begin(studies.session, self.principal, key, digest, self.settings.idempotency_s)
                if first is not None:
                    return first
            document = studies.create(plan)
            if key is not None:
                idempotency.finish(studies.session, self.principal, key, idempotency.remembered(document))
        self.wake()
        return document

    def wake(self) -> None:
        """Ring the doorbells that are due."""
        give_way()
        outbox.publish_pending(self.database, self.settings, limit_s=self.settings.publish_limit_s)


async def _reader(principal: JobReader, database: DatabaseDep, settings: SettingsDep) -> StudyTransactions:
    return StudyTransactions(principal, database, settings)


async def _writer(principal: JobWriter, database: DatabaseDep, settings: SettingsDep) -> StudyTransactions:
    return StudyTransactions(principal, database, settings)


StudiesToRead = Annotated[StudyTransactions, Depends(_reader)]
StudiesToWrite = Annotated[StudyTransactions, Depends(_writer)]
