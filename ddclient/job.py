"""A handle on one job."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ddclient.bundle import Bundle
from ddclient.errors import JobFailedError
from ddclient.models import Artifact, Event, JobDocument, Series
from ddcore.spec.results import Results

if TYPE_CHECKING:
    from ddclient.client import Client

LONG_POLL_S = 20
"""The service holds a request for news at most this long."""


class Job:
    """One job: its document as last read, and what can be done with it."""

    def __init__(self, client: Client, document: JobDocument) -> None:
        self.client = client
        self.document = document

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.status}>"

    @property
    def id(self) -> str:
        """Identifier, ``job_…``."""
        return self.document.id

    @property
    def status(self) -> str:
        """Status as last read; :meth:`refresh` reads it again."""
        return self.document.status

    @property
    def results(self) -> Results | None:
        """Accuracy and controls, once the job has been scored.

        ``results.accuracy.mean`` reads a field, ``results["accuracy"]["mean"]`` the same from the JSON of the service.
        """
        return self.document.results

    def refresh(self) -> Job:
        """Read the document again."""
        self.document = self.client.job(self.id).document
        return self

    def wait(
        self,
        timeout: float | None = None,
        *,
        progress: bool = False,
        on_change: Callable[[JobDocument], None] | None = None,
    ) -> Job:
        """Block until the job ends.

        Args:
            timeout: give up after this many seconds; the job goes on.
            progress: show a live panel on standard error.
            on_change: called with each new document.

        Raises:
            JobFailedError: the job failed, expired or was cancelled.
            TimeoutError: the time is up.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        if progress:
            from ddclient.live import watch

            watch(self, timeout=timeout)
        while not self.document.finished:
            left = LONG_POLL_S if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"{self.id} is still {self.status} after {timeout:g} seconds")
            self.document = self.client.next_document(self, left)
            if on_change is not None:
                on_change(self.document)
        if self.status != "succeeded":
            failure = self.document.error
            raise JobFailedError(self.id, self.status, failure.message if failure else None)
        return self

    def events(self, *, after: int = 0, follow: bool = True) -> Iterator[Event]:
        """The job's events; see :meth:`Client.events`."""
        return self.client.events(self.id, after=after, follow=follow)

    def metrics(self, keys: Sequence[str] | None = None, *, max_points: int = 500) -> dict[str, Series]:
        """The job's readings; see :meth:`Client.metrics`."""
        return self.client.metrics(self.id, keys, max_points=max_points)

    def artifacts(self) -> list[Artifact]:
        """The files that the job has made so far."""
        return self.client.artifacts(self.id)

    def download(self, out: str | Path) -> Bundle:
        """Fetch, check and unpack the bundle; see :meth:`Client.download`."""
        return self.client.download(self.id, out)

    def cancel(self, *, keep_result: bool = False, reason: str | None = None) -> Job:
        """Stop the job for good; see :meth:`Client.cancel`."""
        self.document = self.client.cancel(self.id, keep_result=keep_result, reason=reason).document
        return self

    def pause(self) -> Job:
        """Save the state and free the worker."""
        self.document = self.client.pause(self.id).document
        return self

    def resume(self) -> Job:
        """Queue the job again; it goes on from its checkpoint."""
        self.document = self.client.resume(self.id).document
        return self
