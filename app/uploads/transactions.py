"""What routes and uploads do, each in one transaction."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy.orm import Session

from app.core.database import Database
from app.core.security import Principal
from app.core.settings import Settings
from app.core.storage import Blob
from app.queue import outbox
from app.uploads.service import UploadService

S = TypeVar("S", bound=UploadService[Any, Any])
D = TypeVar("D")


@dataclass(frozen=True)
class UploadTransactions(ABC, Generic[S, D]):
    """The uploads of one principal, a transaction at a time."""

    principal: Principal
    database: Database
    settings: Settings

    @abstractmethod
    def _service(self, session: Session) -> S:
        """What can be done in a transaction."""

    @contextmanager
    def read(self) -> Iterator[S]:
        """A transaction that changes nothing."""
        with self.database.read() as session:
            yield self._service(session)

    @contextmanager
    def write(self) -> Iterator[S]:
        """A transaction that ends with the block, all of it or nothing."""
        with self.database.write() as session:
            yield self._service(session)

    def get(self, identity: str) -> D:
        """One document, see :meth:`UploadService.get`."""
        with self.read() as uploads:
            found: D = uploads.get(identity)
        return found

    def begin(self, identity: str, start: int | None) -> tuple[int, int]:
        """Where an upload goes on, and its most bytes, see :meth:`UploadService.begin`."""
        with self.write() as uploads:
            return uploads.begin(identity, start)

    def add_part(self, identity: str, start: int, blob: Blob) -> None:
        """Record a stored part, see :meth:`UploadService.add_part`."""
        with self.write() as uploads:
            uploads.add_part(identity, start, blob)

    def discard(self, identity: str) -> None:
        """Forget an upload, see :meth:`UploadService.discard`."""
        with self.write() as uploads:
            uploads.discard(identity)

    def complete(self, identity: str, total: int, sha256: str | None) -> D:
        """Let a worker have an upload, see :meth:`UploadService.complete`, and wake one."""
        with self.write() as uploads:
            found: D = uploads.complete(identity, total, sha256)
        self.wake()
        return found

    def wake(self) -> None:
        """Ring the doorbells that are due."""
        outbox.publish_pending(self.database, self.settings, limit_s=self.settings.publish_limit_s)
