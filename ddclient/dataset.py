"""Handles on one dataset of the service."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ddclient import bundle, set_calls
from ddclient.bundle import Remote
from ddclient.errors import BadInputError, DatasetFailedError
from ddclient.handle import Awaited
from ddclient.models import DatasetDocument
from ddclient.options import options_of
from ddclient.progress import nothing
from ddclient.transport import Transport
from ddclient.uploads import Tell
from ddcore.spec.ingest import DatasetReport


class DatasetHandle(Awaited):
    """One dataset: its document as last read."""

    def __init__(self, document: DatasetDocument) -> None:
        self.document = document

    @property
    def id(self) -> str:
        """Identifier, ``set_…``.

        Raises:
            BadInputError: it is no set of the user's own.
        """
        if self.document.id is None:
            raise BadInputError(
                f"{self.reference} is built in or lies in the service's data root; only sets of your own have a "
                "report and files, and can be taken in again or removed"
            )
        return self.document.id

    @property
    def name(self) -> str:
        """Name; the newest version that is ready has it in jobs."""
        return self.document.name

    @property
    def reference(self) -> str:
        """What a job calls it for good, such as ``photos@2``."""
        return self.document.reference

    @property
    def state(self) -> str:
        """State as last read (``ready``, ``ingesting``, ``failed``, …); :meth:`refresh` reads it again."""
        return self.document.state

    @property
    def finished(self) -> bool:
        """Whether it stays in its state by itself, as last read."""
        return self.document.finished

    @property
    def _how_far(self) -> tuple[str, str]:
        return self.reference, self.state

    @property
    def exact(self) -> str:
        """A reference that no other set shares."""
        return self.reference if self.document.version is not None else f"{self.id} ({self.state})"

    def _waits(self, timeout: float | None, tell: Tell) -> Iterator[float]:
        """Seconds to wait before the document is read again, until it says that the set is finished.

        Raises:
            DatasetFailedError: it could not be taken in, or that was cancelled.
            BadInputError: bytes of its upload are missing.
            TimeoutError: the time is up.
        """
        for pause in self._pauses(timeout):
            if not self.document.complete:
                raise BadInputError(f"{self.reference} is not complete; send it with `datasets.add` before waiting")
            self._tell(tell)
            yield pause
        self._tell(tell)
        if self.state != "ready":
            failure = self.document.error
            raise DatasetFailedError(self.id, self.name, self.state, failure.message if failure else None)

    def _tell(self, tell: Tell) -> None:
        job = self.document.job
        tell(self.state, job.done if job else 0, job.total if job else None)


class Dataset(DatasetHandle):
    """One dataset: its document as last read, and what can be done with it."""

    def __init__(self, transport: Transport, document: DatasetDocument) -> None:
        super().__init__(document)
        self._transport = transport

    def refresh(self) -> Dataset:
        """Read the document again."""
        self.document = self._transport.send(set_calls.one(self.id))
        return self

    def wait(self, timeout: float | None = None, *, tell: Tell = nothing) -> Dataset:
        """Block until the set is ready.

        Args:
            timeout: give up after this many seconds; the service goes on.
            tell: told how far it is, in images.

        Raises:
            DatasetFailedError: it could not be taken in, or that was cancelled.
            BadInputError: bytes of its upload are missing.
            TimeoutError: the time is up.
        """
        for pause in self._waits(timeout, tell):
            time.sleep(pause)
            self.refresh()
        return self

    def ingest(self, *, wait: bool = True, tell: Tell = nothing, **options: Any) -> Dataset:
        """Take the upload in once more with other options; its bytes are not sent again.

        Args:
            wait: block until it is ready.
            tell: told how far it is.
            options: fields of :class:`~ddcore.spec.ingest.IngestOptions`. All of them: those that are not named have
                their defaults, whatever they were before.

        Raises:
            DatasetFailedError: it could not be taken in this time either.
            ProblemError: it is ready already, or its upload is gone.
        """
        self.document = self._transport.send(set_calls.ingest(self.id, options_of(options)))
        return self.wait(tell=tell) if wait else self

    def report(self) -> DatasetReport:
        """What was found in the images: counts, sizes, duplicates, leaks, what was converted or left out."""
        return self._transport.send(set_calls.report(self.id))

    def export(self, out: str | Path) -> Path:
        """Fetch the set as the engine reads it into the folder ``out``, and check every digest.

        It holds ``train-images.npy`` (uint8, N x C x H x W), ``train-labels.npy`` (int64, N), the same of ``test``,
        and ``dataset.json`` with the report. A fetch that broke off goes on when it is called again.

        Raises:
            BadInputError: the set is not ready.
            DownloadError: what arrived is not what the service promised.
        """
        files = self._transport.send(set_calls.files(self.id))
        if not files:
            raise BadInputError(f"{self.reference} is {self.state}; it can be exported once it is ready")
        for name, facts in files.items():
            remote = Remote(f"/v1/datasets/{self.id}/files/{name}", facts["size"], facts["sha256"])
            target = Path(out) / Path(name).name
            if not (target.is_file() and bundle.sha256_of(target) == remote.sha256):
                bundle.fetch(self._transport, remote, target)
        return Path(out)

    def cancel(self) -> Dataset:
        """Stop taking it in; its upload is kept for a while."""
        job = self.refresh().document.job
        if job is not None and not self.document.finished:
            self._transport.send(set_calls.stop(job.id))
        return self.refresh()

    def remove(self) -> None:
        """Delete the set.

        Raises:
            ProblemError: jobs that have not ended use it.
        """
        self._transport.send(set_calls.remove(self.id))
