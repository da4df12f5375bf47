"""What workers and routes do with logs."""

from __future__ import annotations

from collections.abc import Iterator

from app.core.database import Database
from app.core.storage import ArtifactStore, BlobMissingError, ChecksumMismatchError, read_verified
from app.logs import repository


class LogGoneError(Exception):
    """The log was deleted while it was read."""


def move_to_store(database: Database, store: ArtifactStore, job_id: str) -> None:
    """Move the parts that are large enough out of the database; what fails is tried again by the next call.

    Raises:
        StorageError: the store cannot take them.
    """
    with database.read() as session:
        waiting = repository.large(session, job_id)
    for start, data in waiting:
        blob = store.put_stream([data])
        with database.write() as session:
            repository.settle(session, job_id, start, blob)


class LogReader:
    """A job's log, of which a part at a time is in memory.

    Args:
        database: where the parts are listed.
        store: where most of them are.
        job_id: the job.
    """

    def __init__(self, database: Database, store: ArtifactStore, job_id: str) -> None:
        self._database, self._store, self._job_id = database, store, job_id

    def length(self) -> int:
        """Bytes so far; what is there never changes, it only becomes more."""
        with self._database.read() as session:
            return repository.length(session, self._job_id)

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """Chunks of the bytes ``start`` (inclusive) to ``end`` (exclusive), which must be there.

        Raises:
            ChecksumMismatchError, BlobMissingError: a stored part is damaged or gone.
            StorageError: the store cannot be reached.
            LogGoneError: the job was deleted meanwhile.
        """
        with self._database.read() as session:
            places = repository.places(session, self._job_id, start, end)
        for place in places:
            yield self._content(place)[max(start - place.start, 0) : end - place.start]

    def last_lines(self, count: int, end: int) -> int:
        """First byte of the last ``count`` lines before the byte ``end``.

        Raises:
            ChecksumMismatchError, BlobMissingError, StorageError, LogGoneError: as :meth:`read`.
        """
        with self._database.read() as session:
            places = repository.places(session, self._job_id, 0, end)
        # The line break that ends the last line is none between lines.
        left = count + 1
        for place in reversed(places):
            data = self._content(place)[: end - place.start]
            found = data.count(b"\n")
            if found < left:
                left -= found
                continue
            at = len(data)
            for _ in range(left):
                at = data.rindex(b"\n", 0, at)
            return place.start + at + 1
        return 0

    def _content(self, place: repository.Place) -> bytes:
        with self._database.read() as session:
            data, blob = repository.content(session, self._job_id, place.start)
        if data is not None:
            return data
        if blob is None:
            raise LogGoneError(self._job_id)
        return read_verified(self._store, blob)


DAMAGED = (ChecksumMismatchError, BlobMissingError)
"""What reading raises where the store has lost a part."""
