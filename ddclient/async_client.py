"""The client for ``asyncio``: the same calls, documents and errors."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from ddclient import bundle, calls, events
from ddclient.async_study import AsyncStudyClient
from ddclient.bundle import Bundle, Remote
from ddclient.calls import Call
from ddclient.discovery import locate
from ddclient.job import JobHandle
from ddclient.metrics import Metrics
from ddclient.models import Artifact, Event, JobDocument
from ddclient.score import AsyncScore
from ddclient.transport import AsyncTransport
from ddcore.spec import JobSpec


class AsyncClient(AsyncStudyClient):
    """A connection to one service, for ``async with``; it finds service and key as :class:`~ddclient.Client` does.

    Args:
        url: address of the service.
        api_key: key to use.
        timeout: seconds to wait for an answer.
        transport: how requests travel; for tests.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 30.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__(AsyncTransport(locate(url, api_key), timeout=timeout, transport=transport))

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; the jobs go on."""
        await self._transport.close()

    async def submit(
        self,
        spec: Mapping[str, Any] | JobSpec,
        *,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        priority: int | None = None,
        limits: Mapping[str, int] | None = None,
        idempotency_key: str | None = None,
        ingest: Mapping[str, Any] | None = None,
        extends: AsyncJob | str | None = None,
    ) -> AsyncJob:
        """Submit a job; see :meth:`Client.submit`. Images whose path it names are sent first.

        Raises:
            DatasetFailedError: the images could not be taken in.
        """
        envelope = {"name": name, "labels": labels, "priority": priority, "limits": limits}
        if extends is not None:
            envelope["extends"] = extends if isinstance(extends, str) else extends.id
        return await self._handle(calls.submit(await self._with_images(spec, ingest), envelope, idempotency_key))

    async def score(
        self, file: str | os.PathLike[str], dataset: str, recipe: Mapping[str, Any] | None = None, **options: Any
    ) -> AsyncScore:
        """Send a distilled set that others made and wait until it is scored; see :meth:`Client.score`."""
        return await self.scores.add(file, dataset, recipe, **options)

    async def job(self, job_id: str) -> AsyncJob:
        """One job."""
        return await self._handle(calls.job(job_id))

    async def jobs(
        self,
        *,
        status: str | Sequence[str] | None = None,
        method: str | None = None,
        dataset: str | None = None,
        label: Sequence[str] | None = None,
        search: str | None = None,
        sort: str | None = None,
    ) -> AsyncIterator[AsyncJob]:
        """All jobs that match; ``label`` is a list here, else see :meth:`Client.jobs`."""
        filters = {"method": method, "dataset": dataset, "label": label, "search": search, "sort": sort}
        async for document in self.pages(calls.jobs(status, filters)):
            yield AsyncJob(self, document)

    async def cancel(self, job_id: str, *, keep_result: bool = False, reason: str | None = None) -> AsyncJob:
        """Stop a job for good; see :meth:`Client.cancel`."""
        return await self._handle(calls.cancel(job_id, keep_result, reason))

    async def pause(self, job_id: str) -> AsyncJob:
        """Save a job's state and free its worker."""
        return await self._handle(calls.verb(job_id, "pause"))

    async def resume(self, job_id: str) -> AsyncJob:
        """Queue a paused job again."""
        return await self._handle(calls.verb(job_id, "resume"))

    async def retry(self, job_id: str, *, from_scratch: bool = False) -> AsyncJob:
        """Queue a failed or expired job again."""
        return await self._handle(calls.verb(job_id, "retry", {"from_scratch": from_scratch}))

    async def clone(self, job_id: str, overrides: Mapping[str, Any] | None = None) -> AsyncJob:
        """Submit a copy of a job with some fields changed."""
        return await self._handle(calls.verb(job_id, "clone", {"overrides": dict(overrides or {})}))

    async def rerun(self, job_id: str, *, idempotency_key: str | None = None) -> AsyncJob:
        """Make the result of an ended job once more; see :meth:`Client.rerun`."""
        return await self._handle(calls.rerun(job_id, idempotency_key))

    async def extend(self, job_id: str, iterations: int, *, idempotency_key: str | None = None) -> AsyncJob:
        """Submit a job that goes on where a finished one has ended; see :meth:`Client.extend`."""
        return await self._handle(calls.extend(job_id, iterations, idempotency_key))

    async def delete(self, job_id: str) -> None:
        """Remove a job that has ended, with its log and its files."""
        await self.send(calls.delete(job_id))

    def events(self, job_id: str, *, after: int = 0, follow: bool = True) -> AsyncIterator[Event]:
        """The events of a job, in order; see :meth:`Client.events`."""
        if follow:
            return events.follow_async(self._transport, job_id, after)
        return self.pages(calls.events(job_id, after))

    async def log(self, job_id: str, *, tail: int | None = None) -> str:
        """A job's log, or its last lines; see :meth:`Client.log`."""
        return (await self.send(calls.log(job_id, tail))).text

    async def metrics(self, job_id: str, keys: Sequence[str] | None = None, *, max_points: int = 500) -> Metrics:
        """The readings of a job; see :meth:`Client.metrics`."""
        names: Sequence[str] = await self.send(calls.metric_names(job_id)) if keys is None else keys
        found = Metrics()
        for call in calls.readings(job_id, names, max_points):
            found.update(await self.send(call))
        return found

    async def artifacts(self, job_id: str) -> list[Artifact]:
        """The files that a job has made so far."""
        return await self.send(calls.artifacts(job_id))

    async def download(self, job_id: str, out: str | Path) -> Bundle:
        """Fetch a job's bundle, check it and unpack it into a folder; see :meth:`Client.download`."""
        found = bundle.newest(await self.artifacts(job_id), job_id)
        folder = Path(out)
        archive = await bundle.fetch_async(self._transport, Remote.of(found), folder / f".{job_id}.zip")
        try:
            return await asyncio.to_thread(bundle.unpack, archive, folder)
        finally:
            archive.unlink()

    async def _handle(self, call: Call[JobDocument]) -> AsyncJob:
        return AsyncJob(self, await self.send(call))


class AsyncJob(JobHandle):
    """One job: its document as last read, and what is waited for."""

    def __init__(self, client: AsyncClient, document: JobDocument) -> None:
        super().__init__(document)
        self.client = client

    async def refresh(self) -> AsyncJob:
        """Read the document again."""
        self.document = await self.client.send(calls.job(self.id))
        return self

    async def wait(
        self, timeout: float | None = None, *, on_change: Callable[[JobDocument], None] | None = None
    ) -> AsyncJob:
        """Return once the job has succeeded; see :meth:`Job.wait`.

        Raises:
            JobFailedError: the job failed, expired or was cancelled.
            TimeoutError: the time is up; the job goes on.
        """
        for seconds in self._until_ended(timeout):
            self.document = await self.client.send(calls.news(self.document, seconds))
            if on_change is not None:
                on_change(self.document)
        self._require_success()
        return self

    def events(self, *, after: int = 0, follow: bool = True) -> AsyncIterator[Event]:
        """The job's events; see :meth:`AsyncClient.events`."""
        return self.client.events(self.id, after=after, follow=follow)

    async def metrics(self, keys: Sequence[str] | None = None, *, max_points: int = 500) -> Metrics:
        """The job's readings; see :meth:`AsyncClient.metrics`."""
        return await self.client.metrics(self.id, keys, max_points=max_points)

    async def download(self, out: str | Path) -> Bundle:
        """Fetch, check and unpack the bundle; see :meth:`AsyncClient.download`."""
        return await self.client.download(self.id, out)

    async def cancel(self, *, keep_result: bool = False, reason: str | None = None) -> AsyncJob:
        """Stop the job for good; see :meth:`AsyncClient.cancel`."""
        self.document = (await self.client.cancel(self.id, keep_result=keep_result, reason=reason)).document
        return self
