"""The typed client of the REST API."""

from __future__ import annotations

import math
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from ddclient import bundle, comparison, events
from ddclient.bundle import Bundle, Remote
from ddclient.comparison import Bands, Comparison
from ddclient.datasets import Datasets
from ddclient.discovery import locate
from ddclient.errors import BadInputError, ClientError
from ddclient.images import is_path
from ddclient.job import LONG_POLL_S, Job
from ddclient.models import Artifact, Event, JobDocument, MetricPoint, Series
from ddclient.transport import Transport
from ddcore.spec import JobSpec
from ddcore.spec.errors import pointer

PAGE = 100
KEYS_PER_QUERY = 16
"""The service answers for this many metrics at a time."""


class Client:
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
        self._transport = Transport(locate(url, api_key), timeout=timeout, transport=transport)
        self.datasets = Datasets(self._transport)
        """Images of the user's own: sent, listed, fetched, removed."""

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
    ) -> Job:
        """Submit a job.

        Args:
            spec: the specification, in either spelling, or ``{"preset": …}`` with overrides. Where its ``dataset`` is a
                path, as :meth:`distill` says, the images are sent first, and the job is on that very version of them.
            name: what to call the job.
            labels: names and values to find it by.
            priority: 0 (last) to 9 (first).
            limits: ``max_runtime_s`` and ``max_queue_s``.
            idempotency_key: submitting twice with one key makes one job. Default: a fresh key, so that
                only the repeats of this very call are one.
            ingest: how images are taken in.

        Raises:
            DatasetFailedError: the images could not be taken in.
        """
        spec = self._with_images(spec, ingest)
        fields = {"name": name, "labels": labels, "priority": priority, "limits": limits}
        body = _body(spec) | {field: value for field, value in fields.items() if value is not None}
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        answer = self._transport.request("POST", "/v1/jobs", json=body, headers=headers)
        return Job(self, JobDocument.model_validate(answer.json()))

    def validate(self, spec: Mapping[str, Any] | JobSpec) -> dict[str, Any]:
        """Check a specification without submitting it: the full spelling, warnings and an estimate."""
        return dict(self._transport.post("/v1/jobs:validate", _body(spec)))

    def job(self, job_id: str) -> Job:
        """One job."""
        return Job(self, JobDocument.model_validate(self._transport.get(f"/v1/jobs/{job_id}")))

    def jobs(
        self,
        *,
        status: str | Sequence[str] | None = None,
        method: str | None = None,
        dataset: str | None = None,
        label: str | Sequence[str] | None = None,
        search: str | None = None,
        sort: str | None = None,
    ) -> Iterator[Job]:
        """All jobs that match, newest first unless sorted otherwise, fetched page by page as they are read.

        Args:
            status: one status or several.
            method: name of the method.
            dataset: name of the dataset.
            label: ``name:value``, one or several that a job must all have.
            search: words that each stand in the job's name, identifier, dataset, method or labels.
            sort: a column, such as ``accuracy``; with ``-`` before it the largest first. Default: ``-created``.
        """
        statuses = status if status is None or isinstance(status, str) else ",".join(status)
        labels = [label] if isinstance(label, str) else label
        query = {"status": statuses, "method": method, "dataset": dataset, "label": labels, "search": search,
                 "sort": sort, "limit": PAGE}  # fmt: skip
        cursor: str | None = None
        while True:
            page = self._transport.get("/v1/jobs", **query, cursor=cursor)
            for document in page["data"]:
                yield Job(self, JobDocument.model_validate(document))
            cursor = page.get("next_cursor")
            if cursor is None:
                return

    def cancel(self, job_id: str, *, keep_result: bool = False, reason: str | None = None) -> Job:
        """Stop a job for good; ``keep_result`` makes a bundle of the images as they are, unscored."""
        body: dict[str, Any] = {"keep_result": keep_result}
        if reason is not None:
            body["reason"] = reason
        return self._verb(job_id, "cancel", body)

    def pause(self, job_id: str) -> Job:
        """Save a job's state and free its worker."""
        return self._verb(job_id, "pause")

    def resume(self, job_id: str) -> Job:
        """Queue a paused job again; it goes on from its checkpoint."""
        return self._verb(job_id, "resume")

    def retry(self, job_id: str, *, from_scratch: bool = False) -> Job:
        """Queue a failed or expired job again, from its last good checkpoint unless ``from_scratch``."""
        return self._verb(job_id, "retry", {"from_scratch": from_scratch})

    def clone(self, job_id: str, overrides: Mapping[str, Any] | None = None) -> Job:
        """Submit a copy of a job with some fields changed."""
        return self._verb(job_id, "clone", {"overrides": dict(overrides or {})})

    def events(self, job_id: str, *, after: int = 0, follow: bool = True) -> Iterator[Event]:
        """The events of a job with ``seq`` above ``after``, in order.

        Args:
            job_id: the job.
            after: the last event already seen.
            follow: wait for new events until the job ends, over connections that may break; otherwise
                stop after those that exist.
        """
        if follow:
            yield from events.follow(self._transport, job_id, after)
            return
        while True:
            page = self._transport.get(f"/v1/jobs/{job_id}/events", after_seq=after, limit=PAGE)["data"]
            for document in page:
                event = Event.model_validate(document)
                after = event.seq
                yield event
            if len(page) < PAGE:
                return

    def metrics(self, job_id: str, keys: Sequence[str] | None = None, *, max_points: int = 500) -> dict[str, Series]:
        """The readings of a job, at most ``max_points`` (2 to 5000) a metric.

        Args:
            job_id: the job.
            keys: names such as ``loss``, ``mi_lower_bound``, ``cmi``. Default: all there are.
            max_points: beyond it, neighbouring steps are joined to their minimum, maximum, mean and last.
        """
        if keys is None:
            keys = [key["name"] for key in self._transport.get(f"/v1/jobs/{job_id}/metrics")["data"]]
        found: dict[str, Series] = {}
        for start in range(0, len(keys), KEYS_PER_QUERY):
            part = list(keys[start : start + KEYS_PER_QUERY])
            answer = self._transport.get(f"/v1/jobs/{job_id}/metrics:query", key=part, max_points=max_points)
            found |= {series["key"]: _rows(series) for series in answer["series"]}
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

    def artifacts(self, job_id: str) -> list[Artifact]:
        """The files that a job has made so far."""
        answer = self._transport.get(f"/v1/jobs/{job_id}/artifacts")
        return [Artifact.model_validate(document) for document in answer["data"]]

    def download(self, job_id: str, out: str | Path) -> Bundle:
        """Fetch a job's bundle, check it and unpack it into the folder ``out``.

        A download that broke off goes on where it stopped when it is called again.

        Raises:
            ClientError: the job has no bundle (yet).
            DownloadError: what arrived is not what the service promised.
        """
        bundles = [
            artifact for artifact in self.artifacts(job_id) if artifact.kind == "bundle" and artifact.state == "ready"
        ]
        if not bundles:
            raise ClientError(f"{job_id} has no bundle; wait until it has succeeded (`ddctl watch {job_id}`)")
        folder = Path(out)
        archive = bundle.fetch(self._transport, Remote.of(bundles[-1]), folder / f".{job_id}.zip")
        try:
            return bundle.unpack(archive, folder)
        finally:
            archive.unlink()

    def methods(self) -> list[dict[str, Any]]:
        """What can be asked for: methods with their JSON Schema, defaults and source."""
        return list(self._transport.get("/v1/methods")["data"])

    def regularizers(self) -> list[dict[str, Any]]:
        """What can be added to a method, likewise."""
        return list(self._transport.get("/v1/regularizers")["data"])

    def decoders(self) -> list[dict[str, Any]]:
        """What makes training images of stored ones, likewise."""
        return list(self._transport.get("/v1/decoders")["data"])

    def samplers(self) -> list[dict[str, Any]]:
        """What chooses the real images of a step, likewise."""
        return list(self._transport.get("/v1/samplers")["data"])

    def networks(self) -> list[dict[str, Any]]:
        """Networks to match with, train and score with, likewise."""
        return list(self._transport.get("/v1/networks")["data"])

    def presets(self) -> list[dict[str, Any]]:
        """Named starting points, with the score to expect."""
        return list(self._transport.get("/v1/presets")["data"])

    def health(self) -> dict[str, Any]:
        """Whether the service and what it depends on are ready."""
        return dict(self._transport.get("/readyz"))

    def workers(self) -> list[dict[str, Any]]:
        """The workers that are alive, and what they run."""
        return list(self._transport.get("/v1/workers")["data"])

    def login_link(self) -> str:
        """An address that opens the dashboard once, without a key."""
        return str(self._transport.post("/v1/login-links")["url"])

    def next_document(self, job: Job, seconds: float) -> JobDocument:
        """The job's document once its version changes, or after ``seconds``, whichever is first."""
        query = {"wait": min(int(seconds) or 1, LONG_POLL_S), "version": job.document.version}
        return JobDocument.model_validate(self._transport.get(f"/v1/jobs/{job.id}", **query))

    def _with_images(
        self, spec: Mapping[str, Any] | JobSpec, ingest: Mapping[str, Any] | None
    ) -> Mapping[str, Any] | JobSpec:
        """A specification that names a set, which was a path of images before."""
        dataset = None if isinstance(spec, JobSpec) else spec.get("dataset")
        if isinstance(spec, JobSpec) or not is_path(dataset):
            if ingest:
                raise BadInputError(
                    f"`ingest` says how images are taken in, but `dataset` is {dataset!r}, which is no path of images; "
                    "write ./photos for a folder here"
                )
            return spec
        return dict(spec) | {"dataset": self.datasets.add(dataset, **ingest or {}).reference}

    def _verb(self, job_id: str, verb: str, body: Mapping[str, Any] | None = None) -> Job:
        return Job(self, JobDocument.model_validate(self._transport.post(f"/v1/jobs/{job_id}:{verb}", body)))


def _body(spec: Mapping[str, Any] | JobSpec) -> dict[str, Any]:
    """The specification as JSON can carry it, which has no NaN and no infinity."""
    body = spec.model_dump(mode="json") if isinstance(spec, JobSpec) else dict(spec)
    for place, value in _leaves(body, ()):
        if isinstance(value, float) and not math.isfinite(value):
            raise BadInputError(f"{pointer(place)}: `{place[-1]}` is {value!r}, but must be a finite number")
    return body


def _leaves(value: object, place: tuple[int | str, ...]) -> Iterator[tuple[tuple[int | str, ...], object]]:
    if isinstance(value, Mapping):
        children: Iterable[tuple[int | str, object]] = value.items()
    elif isinstance(value, (list, tuple)):
        children = enumerate(value)
    else:
        yield place, value
        return
    for key, child in children:
        yield from _leaves(child, (*place, key))


def _rows(series: Mapping[str, Any]) -> Series:
    """Turn the columns of the wire into points."""
    columns = {name: series[name] for name in MetricPoint.model_fields if series.get(name) is not None}
    return [
        MetricPoint.model_validate(dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)
    ]
