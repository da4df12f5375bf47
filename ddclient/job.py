"""A handle on one job."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddclient import tables
from ddclient.bundle import Bundle
from ddclient.calls import Call, Page
from ddclient.errors import JobFailedError
from ddclient.handle import Handle
from ddclient.metrics import Metrics
from ddclient.models import Artifact, Event, JobDocument
from ddcore.spec.results import Results

if TYPE_CHECKING:
    from ddclient.client import Client


SHOWN = 20
"""Jobs that a notebook shows of a list."""


class JobHandle(Handle[JobDocument]):
    """One job: its document as last read."""

    def _repr_html_(self) -> str:
        """The job as a table, which notebooks show."""
        return tables.job(self.document)

    @property
    def results(self) -> Results | None:
        """Accuracy and controls, once the job has been scored.

        ``results.accuracy.mean`` reads a field, ``results["accuracy"]["mean"]`` the same from the JSON of the service.
        """
        return self.document.results

    def _require_success(self) -> None:
        if self.status != "succeeded":
            failure = self.document.error
            raise JobFailedError(self.id, self.status, failure.message if failure else None)


class Job(JobHandle):
    """One job: its document as last read, and what can be done with it."""

    def __init__(self, client: Client, document: JobDocument) -> None:
        super().__init__(document)
        self.client = client

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
        waits = self._until_ended(timeout)
        if progress:
            from ddclient.live import watch

            watch(self, timeout=timeout)
        for seconds in waits:
            self.document = self.client.next_document(self, seconds)
            if on_change is not None:
                on_change(self.document)
        self._require_success()
        return self

    def events(self, *, after: int = 0, follow: bool = True) -> Iterator[Event]:
        """The job's events; see :meth:`Client.events`."""
        return self.client.events(self.id, after=after, follow=follow)

    def log(self, *, tail: int | None = None) -> str:
        """The job's log, or its last lines; see :meth:`Client.log`."""
        return self.client.log(self.id, tail=tail)

    def follow_log(self, *, tail: int | None = None) -> Iterator[str]:
        """The job's log as it grows; see :meth:`Client.follow_log`."""
        return self.client.follow_log(self.id, tail=tail)

    def metrics(self, keys: Sequence[str] | None = None, *, max_points: int = 500) -> Metrics:
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

    def retry(self, *, from_scratch: bool = False) -> Job:
        """Queue the job again after it failed or expired; see :meth:`Client.retry`."""
        self.document = self.client.retry(self.id, from_scratch=from_scratch).document
        return self

    def clone(self, overrides: Mapping[str, Any] | None = None) -> Job:
        """Submit a copy with some fields changed, which is another job; see :meth:`Client.clone`."""
        return self.client.clone(self.id, overrides)

    def rerun(self) -> Job:
        """Make the result once more, as another job; see :meth:`Client.rerun`."""
        return self.client.rerun(self.id)

    def extend(self, iterations: int) -> Job:
        """Submit a job that goes on where this one has ended, by so many more steps; see :meth:`Client.extend`."""
        return self.client.extend(self.id, iterations)

    def delete(self) -> None:
        """Remove the job, which has ended, with its log and its files."""
        self.client.delete(self.id)


class Jobs(Iterator[Job]):
    """The jobs of a list, fetched page by page as they are read.

    Args:
        client: whose they are.
        call: for the first page.
    """

    def __init__(self, client: Client, call: Call[Page[JobDocument]]) -> None:
        self._client, self._call = client, call
        self._documents = client.pages(call)

    def __next__(self) -> Job:
        return Job(self._client, next(self._documents))

    def _repr_html_(self) -> str:
        """The first of them as a table, which notebooks show; none counts as read by that."""
        return tables.jobs(islice(self._client.pages(self._call), SHOWN))
