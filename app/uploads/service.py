"""What can be done with an upload, whatever it is for. Nothing here commits, and nothing here knows HTTP."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from sqlalchemy.orm import Session

from app.core.errors import DatasetTooLarge, NotFound, UploadConflict
from app.core.security import Principal
from app.core.settings import Settings
from app.core.storage import Blob
from app.keys import repository as keys
from app.uploads.quota import bytes_used, quota_of
from app.uploads.repository import Row, UploadRepository

D = TypeVar("D")


@dataclass(frozen=True)
class UploadService(ABC, Generic[Row, D]):
    """Uploads of one kind, of one principal, within one transaction."""

    session: Session
    principal: Principal
    settings: Settings

    noun: ClassVar[str]
    """What an upload becomes, for people."""

    @property
    @abstractmethod
    def _uploads(self) -> UploadRepository[Row]:
        """Their rows."""

    @abstractmethod
    def get(self, identity: str) -> D:
        """One of them as a document.

        Raises:
            NotFound: there is none of that id, or it is somebody else's.
        """

    @abstractmethod
    def _begin_work(self, found: Row) -> D:
        """Let a worker have an upload of which no byte is missing."""

    def check_room(self, size: int | None) -> None:
        """Refuse an upload that is larger than there is room; locked, the quota is counted by one at a time.

        Raises:
            DatasetTooLarge: with the numbers.
        """
        keys.tenant(self.session, self.principal, lock=True)
        room = self.room()
        if size is not None and size > room:
            raise self._too_large(size, room)

    def begin(self, identity: str, start: int | None) -> tuple[int, int]:
        """Where an upload may go on, and how many bytes the file may have.

        Args:
            identity: of what it is for.
            start: the first byte that will come; ``None`` for the whole file, whatever is there.

        Raises:
            NotFound: there is nothing of that id.
            UploadConflict: the bytes are there already, or these do not come next.
        """
        found = self._find(identity, lock=True)
        if found.job_id is not None:
            raise UploadConflict(
                f"all {found.received:,} bytes of {identity} have come; to send another file, announce a new "
                f"{self.noun}",
                extra={"received": found.received},
            )
        if start is None:
            self._uploads.forget_upload(identity)
            return 0, self.room()
        if start != found.received:
            raise self._conflict(found.received)
        return start, self.room(found.received)

    def add_part(self, identity: str, start: int, blob: Blob) -> None:
        """Record a piece of an upload that is in the store.

        Raises:
            NotFound: there is nothing of that id.
            UploadConflict: somebody else has sent these bytes meanwhile.
            DatasetTooLarge: other uploads have taken the room.
        """
        self.check_room(None)
        room = self.room(start)
        if start + blob.size > room:
            raise self._too_large(start + blob.size, room)
        if not self._uploads.add_part(identity, start, blob):
            raise self._conflict(self._find(identity).received)

    def complete(self, identity: str, total: int, sha256: str | None) -> D:
        """All bytes are there: let a worker have them.

        Raises:
            NotFound: there is nothing of that id.
            UploadConflict: bytes are missing, or another file was announced.
        """
        found = self._find(identity, lock=True)
        if found.job_id is not None:
            return self.get(identity)
        if found.received != total:
            raise self._conflict(found.received)
        if found.size not in (None, total) or (sha256 and found.sha256 not in (None, sha256)):
            raise UploadConflict(
                f"{total:,} bytes with the SHA-256 {sha256 or '(not told)'} have come, but announced were "
                f"{found.size or total:,} bytes with {found.sha256 or '(not told)'}; send the whole file again, "
                f"without Content-Range, or announce a new {self.noun}",
                extra={"received": found.received},
            )
        self._uploads.change(identity, {"size": total, "sha256": found.sha256 or sha256})
        return self._begin_work(found)

    def discard(self, identity: str) -> None:
        """Forget what has come of an upload that cannot go on."""
        self._uploads.forget_upload(identity)

    def room(self, received: int = 0) -> int:
        """Bytes that an upload may have: what is left of the quota, at most what the service takes.

        Args:
            received: bytes of it that are there and counted already.
        """
        quota = quota_of(keys.tenant(self.session, self.principal), self.settings)
        left = max(0, quota - bytes_used(self.session, self.principal.tenant_id) + received)
        return min(left, int(self.settings.upload_limit_gb * 1e9))

    def _find(self, identity: str, *, lock: bool = False) -> Row:
        found = self._uploads.get(identity, lock=lock)
        if found is None:
            raise NotFound(f"you have no {self.noun} {identity}")
        return found

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
