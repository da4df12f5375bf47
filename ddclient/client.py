"""The typed client of the REST API."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any

import httpx

from ddclient import calls, comparison, events
from ddclient.calls import Call
from ddclient.comparison import Bands, Comparison
from ddclient.discovery import locate
from ddclient.files import Files
from ddclient.job import Job, Jobs
from ddclient.menus import Menus
from ddclient.metrics import Metrics
from ddclient.models import Alert, Event, JobDocument
from ddclient.score import Score
from ddclient.study_client import StudyClient
from ddclient.teams import Teams
from ddclient.transport import Transport
from ddclient.webhooks import Webhooks
from ddcore.spec import JobSpec


class Client(Files, Menus, StudyClient, Teams, Webhooks):
    """A connection to one service.

    Without arguments it finds the service and the key of this machine by itself: ``DD_URL`` and
    ``DD_API_KEY``, else what ``ddctl up`` left in ``DD_HOME``.

    Args:
        url: address of the service.
        api_key: key to use.
        timeout: seconds to wait for an answer.
        transport: how requests travel; for tests.

    Every method may raise :class:`~ddclient.errors.ProblemError` (the service refused, and says why)
    and :class:`~ddclient.errors.UnreachableError`.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        super().__init__(Transport(locate(url, api_key), timeout=timeout, transport=transport))

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; the jobs go on."""
        self._transport.close()

    @property
    def url(self) -> str:
        """Address of the service."""
        return self._transport.endpoint.url

    def distill(
        self,
        dataset: str | os.PathLike[str],
        *,
        method: str | Mapping[str, Any] = "dm",
        ipc: int = 1,
        regularizers: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        ingest: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> Job:
        """Submit a job in its short spelling.

        Args:
            dataset: name of the dataset; or a path of images, which are sent first: a ``Path``, or text with a ``/``,
                such as ``"./photos"``. A word by itself always is a name.
            method: name of the method, or its configuration with a ``name``.
            ipc: synthetic images per class.
            regularizers: weight by name, such as ``{"cmi": 2000}`` or ``{"mim": {"relative": 1.0}}``.
            ingest: how images are taken in, such as ``{"size": 64}``; see :meth:`Datasets.add`.
            fields: any other field of the specification (``seed``, ``network``, ``evaluation``, …).

        Raises:
            DatasetFailedError: the images could not be taken in.
        """
        spec = {"dataset": dataset, "ipc": ipc, "method": method, **fields}
        if regularizers is not None:
            spec["regularizers"] = regularizers
        return self.submit(spec, ingest=ingest)

    def submit(
        self,
        spec: Mapping[str, Any] | JobSpec,
        *,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        priority: int | None = None,
        limits: Mapping[str, int] | None = None,
        idempotency_key: str | None = None,
        ingest: Mapping[str, Any] | None = None,
        extends: Job | str | None = None,
    ) -> Job:
        """Submit a job.

        Args:
            spec: the specification, in either spelling, or ``{"preset": …}`` with overrides. Where its ``dataset`` is a
                path, as :meth:`distill` says, the images are sent first, and the job is on that very version of them.
            name: what to call the job.
            labels: names and values to find it by.
            priority: 0 (last) to 9 (first).
            limits: ``max_runtime_s``, ``max_queue_s``, and ``ignore_estimate`` to queue a job that should not fit them.
            idempotency_key: submitting twice with one key makes one job. Default: a fresh key, so that
                only the repeats of this very call are one.
            ingest: how images are taken in.
            extends: a finished job, or its identifier, whose images of unchanged classes are kept byte for byte; only
                new and changed classes of ``dataset`` are distilled.

        Raises:
            DatasetFailedError: the images could not be taken in.
        """
        envelope = {"name": name, "labels": labels, "priority": priority, "limits": limits}
        if extends is not None:
            envelope["extends"] = extends if isinstance(extends, str) else extends.id
        return self._handle(calls.submit(self._with_images(spec, ingest), envelope, idempotency_key))

    def score(
        self, file: str | os.PathLike[str], dataset: str, recipe: Mapping[str, Any] | None = None, **options: Any
    ) -> Score:
        """Send a distilled set that others made and wait until it is scored; see :meth:`Scores.add`.

        Raises:
            ScoreFailedError: it could not be scored.
        """
        return self.scores.add(file, dataset, recipe, **options)

    def validate(self, spec: Mapping[str, Any] | JobSpec) -> dict[str, Any]:
        """Check a job without submitting it.

        Args:
            spec: as for :meth:`submit`; beside it, ``limits`` may stand.

        Returns:
            ``spec`` in the full spelling, ``warnings``, ``plan`` and ``estimate``: seconds and bytes by device
            class, and what they rest on.
        """
        return self._transport.send(calls.validate(spec))

    def job(self, job_id: str) -> Job:
        """One job."""
        return self._handle(calls.job(job_id))

    def jobs(
        self,
        *,
        status: str | Sequence[str] | None = None,
        method: str | None = None,
        dataset: str | None = None,
        label: str | Sequence[str] | None = None,
        search: str | None = None,
        sort: str | None = None,
    ) -> Jobs:
        """All jobs that match, newest first unless sorted otherwise, fetched page by page as they are read.

        Args:
            status: one status or several.
            method: name of the method.
            dataset: name of the dataset.
            label: ``name:value``, one or several that a job must all have.
            search: words that each stand in the job's name, identifier, dataset, method or labels.
            sort: a column, such as ``accuracy``; with ``-`` before it the largest first. Default: ``-created``.
        """
        labels = [label] if isinstance(label, str) else label
        filters = {"method": method, "dataset": dataset, "label": labels, "search": search, "sort": sort}
        return Jobs(self, calls.jobs(status, filters))

    def amend(
        self,
        job_id: str,
        *,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        priority: int | None = None,
    ) -> Job:
        """Change a job's name, all its labels, or its priority; what is not given stays."""
        given = {"name": name, "labels": labels, "priority": priority}
        return self._handle(calls.amend(job_id, {field: v for field, v in given.items() if v is not None}))

    def cancel(self, job_id: str, *, keep_result: bool = False, reason: str | None = None) -> Job:
        """Stop a job for good; ``keep_result`` makes a bundle of the images as they are, unscored."""
        return self._handle(calls.cancel(job_id, keep_result, reason))

    def pause(self, job_id: str) -> Job:
        """Save a job's state and free its worker."""
        return self._handle(calls.verb(job_id, "pause"))

    def resume(self, job_id: str) -> Job:
        """Queue a paused job again; it goes on from its checkpoint."""
        return self._handle(calls.verb(job_id, "resume"))

    def retry(self, job_id: str, *, from_scratch: bool = False) -> Job:
        """Queue a failed or expired job again, from its last good checkpoint unless ``from_scratch``."""
        return self._handle(calls.verb(job_id, "retry", {"from_scratch": from_scratch}))

    def clone(self, job_id: str, overrides: Mapping[str, Any] | None = None) -> Job:
        """Submit a copy of a job with some fields changed."""
        return self._handle(calls.verb(job_id, "clone", {"overrides": dict(overrides or {})}))

    def rerun(self, job_id: str, *, idempotency_key: str | None = None) -> Job:
        """Make the result of an ended job once more, as a new job of the same specification, seed, set and limits.

        Args:
            job_id: a job that has ended, its result damaged or not.
            idempotency_key: as for :meth:`submit`.
        """
        return self._handle(calls.rerun(job_id, idempotency_key))

    def extend(self, job_id: str, iterations: int, *, idempotency_key: str | None = None) -> Job:
        """Submit a job that goes on where a finished one has ended, by ``iterations`` more steps.

        Args:
            job_id: a job that has succeeded.
            iterations: steps to take beyond its own.
            idempotency_key: as for :meth:`submit`.
        """
        return self._handle(calls.extend(job_id, iterations, idempotency_key))

    def delete(self, job_id: str) -> None:
        """Remove a job that has ended, with its log and its files."""
        self._transport.send(calls.delete(job_id))

    def events(self, job_id: str, *, after: int = 0, follow: bool = True) -> Iterator[Event]:
        """The events of a job with ``seq`` above ``after``, in order.

        Args:
            job_id: the job.
            after: the last event already seen.
            follow: wait for new events until the job ends, over connections that may break; otherwise
                stop after those that exist.
        """
        if follow:
            return events.follow(self._transport, job_id, after)
        return self.pages(calls.events(job_id, after))

    def all_events(self) -> Iterator[Event]:
        """New events of all jobs of the tenant as they come, over connections that may break; it does not end."""
        return events.follow_all(self._transport)

    def alerts(self, since: datetime | None = None) -> list[Alert]:
        """What the user should hear of in all jobs, once for each rule and job, in order of time.

        Args:
            since: with its time zone. Default: a day ago.
        """
        return self._transport.send(calls.alerts(since))

    def log(self, job_id: str, *, tail: int | None = None) -> str:
        """A job's log over all attempts: what its engine said and printed, each line with time and attempt.

        Args:
            job_id: the job.
            tail: only so many lines, the last ones (1 to 10,000).
        """
        return self._transport.send(calls.log(job_id, tail)).text

    def follow_log(self, job_id: str, *, tail: int | None = None) -> Iterator[str]:
        """A job's log piece by piece, as it grows, until the job has ended; a piece is one line or several.

        Args:
            job_id: the job.
            tail: begin with so many lines, the last ones. Default: at the beginning.
        """
        document = self._transport.send(calls.job(job_id))
        found = self._transport.send(calls.log(job_id, tail))
        while True:
            if found.text:
                yield found.text
            if document.finished:  # read before the log was, which then is complete
                return
            document = self._transport.send(calls.news(document, calls.LONG_POLL_S))
            found = self._transport.send(calls.log_from(job_id, found.length))

    def metrics(self, job_id: str, keys: Sequence[str] | None = None, *, max_points: int = 500) -> Metrics:
        """The readings of a job, at most ``max_points`` (2 to 5000) a metric, as a dictionary of series.

        Args:
            job_id: the job.
            keys: names such as ``loss``, ``mi_lower_bound``, ``cmi``. Default: all there are.
            max_points: beyond it, neighbouring steps are joined to their minimum, maximum, mean and last.
        """
        names: Sequence[str] = self._transport.send(calls.metric_names(job_id)) if keys is None else keys
        found = Metrics()
        for call in calls.readings(job_id, names, max_points):
            found.update(self._transport.send(call))
        return found

    def compare(self, job_ids: Sequence[str]) -> Comparison:
        """Put jobs side by side: what differs, scores and costs over seeds, and which curves compare.

        Args:
            job_ids: 1 to 50 jobs. Those that differ in the seed only are one kind.
        """
        return comparison.compare(self._transport, job_ids)

    def compare_csv(self, job_ids: Sequence[str]) -> str:
        """The same as CSV, a row for each job."""
        return comparison.as_csv(self._transport, job_ids)

    def bands(self, job_ids: Sequence[str], key: str, *, max_points: int = 300) -> Bands:
        """One metric of several jobs, those that differ in the seed only joined.

        Args:
            job_ids: 1 to 50 jobs.
            key: a metric such as ``loss``; see ``curves`` of :meth:`compare`.
            max_points: of each band, 2 to 5000; beyond it, neighbouring steps are joined.
        """
        return comparison.bands(self._transport, job_ids, key, max_points)

    def next_document(self, job: Job, seconds: float) -> JobDocument:
        """The job's document once its version changes, or after ``seconds``, whichever is first."""
        return self._transport.send(calls.news(job.document, seconds))

    def _handle(self, call: Call[JobDocument]) -> Job:
        return Job(self, self._transport.send(call))
