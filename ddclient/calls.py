"""The requests of the REST API, each with what its answer means; how they travel is another's business.

The client and the asynchronous client send the same calls, so that neither knows a path or a document by itself.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from json import JSONDecodeError
from typing import Any, Generic, TypeVar

import httpx
from pydantic import ValidationError

from ddclient.errors import BadInputError, UnreadableAnswerError
from ddclient.models import Alert, Artifact, Event, JobDocument, MetricPoint, Series
from ddcore.spec import JobSpec
from ddcore.spec.errors import pointer

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

PAGE = 100
KEYS_PER_QUERY = 16
"""The service answers for this many metrics at a time."""
LONG_POLL_S = 20
"""The service holds a request for news at most this long."""


@dataclass(frozen=True)
class Call(Generic[T_co]):
    """One request, and how its answer is read.

    Attributes:
        method: of HTTP.
        path: on the service.
        read: what the answer means.
        query: parameters; those that are ``None`` are left out.
        json: the body, if there is one.
        headers: beside those of every request.
    """

    method: str
    path: str
    read: Callable[[httpx.Response], T_co]
    query: Mapping[str, Any] = field(default_factory=dict)
    json: object = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def understood(self, answer: httpx.Response) -> T_co:
        """What an answer of success means.

        Raises:
            UnreadableAnswerError: it is not what this version of the client expects.
        """
        try:
            return self.read(answer)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        except KeyError as error:
            reason = f"{error} is missing"
        except JSONDecodeError:
            reason = f"it is no JSON but {answer.headers.get('Content-Type', 'of no type')}"
        raise UnreadableAnswerError(f"{self.method} {self.path}", reason)


@dataclass(frozen=True)
class Page(Generic[T_co]):
    """Some entries of a list, and the call for those that follow."""

    entries: Sequence[T_co]
    following: Call[Page[T_co]] | None


@dataclass(frozen=True)
class LogText:
    """Some of a job's log.

    Attributes:
        text: whole lines.
        length: bytes of the whole log, where a follower goes on.
    """

    text: str
    length: int


def submit(
    spec: Mapping[str, Any] | JobSpec, envelope: Mapping[str, Any], idempotency_key: str | None
) -> Call[JobDocument]:
    """Queue a job; without a key of the caller's, only the repeats of this very call are one job."""
    body = body_of(spec) | {name: value for name, value in envelope.items() if value is not None}
    headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
    return Call("POST", "/v1/jobs", _job, json=body, headers=headers)


def validate(spec: Mapping[str, Any] | JobSpec) -> Call[dict[str, Any]]:
    """Check a specification."""
    return Call("POST", "/v1/jobs:validate", _document, json=body_of(spec))


def job(job_id: str) -> Call[JobDocument]:
    """One job."""
    return Call("GET", f"/v1/jobs/{job_id}", _job)


def news(document: JobDocument, seconds: float) -> Call[JobDocument]:
    """A job once its version changes, or after some seconds."""
    query = {"wait": min(int(seconds) or 1, LONG_POLL_S), "version": document.version}
    return Call("GET", f"/v1/jobs/{document.id}", _job, query)


def jobs(status: str | Sequence[str] | None, filters: Mapping[str, Any]) -> Call[Page[JobDocument]]:
    """Jobs that match, newest first unless they are sorted otherwise."""
    statuses = status if status is None or isinstance(status, str) else ",".join(status)
    return listed("/v1/jobs", JobDocument.model_validate, {"status": statuses, **filters, "limit": PAGE})


def amend(job_id: str, changes: Mapping[str, Any]) -> Call[JobDocument]:
    """Change what may be changed of a job at any time."""
    return Call("PATCH", f"/v1/jobs/{job_id}", _job, json=dict(changes))


def verb(job_id: str, name: str, body: Mapping[str, Any] | None = None) -> Call[JobDocument]:
    """Tell a job to do something."""
    return Call("POST", f"/v1/jobs/{job_id}:{name}", _job, json=dict(body or {}))


def extend(job_id: str, iterations: int, idempotency_key: str | None) -> Call[JobDocument]:
    """Queue a job that goes on where a finished one has ended; see :func:`submit` for its key."""
    headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
    return Call("POST", f"/v1/jobs/{job_id}:extend", _job, json={"iterations": iterations}, headers=headers)


def rerun(job_id: str, idempotency_key: str | None) -> Call[JobDocument]:
    """Queue a job that makes the result of an ended one once more; see :func:`submit` for its key."""
    headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
    return Call("POST", f"/v1/jobs/{job_id}:rerun", _job, headers=headers)


def cancel(job_id: str, keep_result: bool, reason: str | None) -> Call[JobDocument]:
    """Stop a job for good."""
    return verb(job_id, "cancel", {"keep_result": keep_result} | ({} if reason is None else {"reason": reason}))


def delete(job_id: str) -> Call[None]:
    """Remove an ended job."""
    return Call("DELETE", f"/v1/jobs/{job_id}", nothing)


def events(job_id: str, after: int) -> Call[Page[Event]]:
    """Events of a job after a number, in order."""

    def read(answer: httpx.Response) -> Page[Event]:
        found = [Event.model_validate(one) for one in answer.json()["data"]]
        return Page(found, events(job_id, found[-1].seq) if len(found) == PAGE else None)

    return Call("GET", f"/v1/jobs/{job_id}/events", read, {"after_seq": after, "limit": PAGE})


def alerts(since: datetime | None) -> Call[list[Alert]]:
    """Alerts of all jobs since a moment."""
    query = {"since": None if since is None else since.isoformat()}
    return Call("GET", "/v1/alerts", lambda answer: [Alert.model_validate(one) for one in answer.json()["data"]], query)


def log(job_id: str, tail: int | None = None) -> Call[LogText]:
    """A job's log, or its last lines."""
    return Call("GET", f"/v1/jobs/{job_id}/log", _log, {"tail": tail}, headers={"Accept": "text/plain"})


def log_from(job_id: str, start: int) -> Call[LogText]:
    """What was added to a job's log since it had ``start`` bytes."""
    headers = {"Accept": "text/plain", "Range": f"bytes={start}-", "If-None-Match": f'"{start}"'}
    return Call("GET", f"/v1/jobs/{job_id}/log", _log, headers=headers)


def metric_names(job_id: str) -> Call[list[str]]:
    """Names of the metrics that a job has reported."""
    return Call("GET", f"/v1/jobs/{job_id}/metrics", lambda answer: [one["name"] for one in answer.json()["data"]])


def readings(job_id: str, keys: Sequence[str], max_points: int) -> list[Call[dict[str, Series]]]:
    """The readings of some metrics, in as many calls as it takes."""
    parts = [list(keys[start : start + KEYS_PER_QUERY]) for start in range(0, len(keys), KEYS_PER_QUERY)]
    path = f"/v1/jobs/{job_id}/metrics:query"
    return [Call("GET", path, _series, {"key": part, "max_points": max_points}) for part in parts]


def artifacts(job_id: str) -> Call[list[Artifact]]:
    """The files that a job has made so far."""
    path = f"/v1/jobs/{job_id}/artifacts"
    return Call("GET", path, lambda answer: [Artifact.model_validate(one) for one in answer.json()["data"]])


def menu(kind: str) -> Call[list[dict[str, Any]]]:
    """What can be asked for, of one kind: ``methods``, ``presets``, ``readings``, ``workers``, ``api-keys``."""
    return Call("GET", f"/v1/{kind}", lambda answer: list(answer.json()["data"]))


def preset(name: str) -> Call[dict[str, Any]]:
    """One preset, with its specification."""
    return Call("GET", f"/v1/presets/{name}", _document)


def health() -> Call[dict[str, Any]]:
    """Whether the service is ready."""
    return Call("GET", "/readyz", _document)


def me() -> Call[dict[str, Any]]:
    """Tenant and rights of the key."""
    return Call("GET", "/v1/me", _document)


def create_key(
    name: str, scopes: Sequence[str] | None, expires_at: datetime | None, member_id: str | None
) -> Call[dict[str, Any]]:
    """Make an API key."""
    body: dict[str, Any] = {"name": name}
    body |= {} if scopes is None else {"scopes": list(scopes)}
    body |= {} if expires_at is None else {"expires_at": expires_at.isoformat()}
    body |= {} if member_id is None else {"member_id": member_id}
    return Call("POST", "/v1/api-keys", _document, json=body)


def one(kind: str, identifier: str) -> Call[dict[str, Any]]:
    """A thing of some kind: ``tenants``, ``members``."""
    return Call("GET", f"/v1/{kind}/{identifier}", _document)


def make(kind: str, fields: Mapping[str, Any]) -> Call[dict[str, Any]]:
    """Make a thing of some kind."""
    return Call("POST", f"/v1/{kind}", _document, json=dict(fields))


def change(kind: str, identifier: str, fields: Mapping[str, Any]) -> Call[dict[str, Any]]:
    """Change fields of a thing of some kind."""
    return Call("PATCH", f"/v1/{kind}/{identifier}", _document, json=dict(fields))


def remove(kind: str, identifier: str) -> Call[None]:
    """Remove a thing of some kind, or make it useless: ``api-keys``, ``webhooks``."""
    return Call("DELETE", f"/v1/{kind}/{identifier}", nothing)


def page(kind: str, query: Mapping[str, Any]) -> Call[dict[str, Any]]:
    """A page of a list of some kind, with the cursor of the next one."""
    return Call("GET", f"/v1/{kind}", _document, query)


def usage(tenant_id: str | None) -> Call[dict[str, Any]]:
    """What a tenant uses, and may use: that of the key, or another one."""
    return Call("GET", "/v1/usage" if tenant_id is None else f"/v1/tenants/{tenant_id}/usage", _document)


def login_link() -> Call[str]:
    """An address that opens the dashboard once."""
    return Call("POST", "/v1/login-links", lambda answer: str(answer.json()["url"]), json={})


def problems() -> Call[list[dict[str, Any]]]:
    """The kinds of refusals."""
    return Call("GET", "/problems", lambda answer: list(answer.json()["data"]))


def body_of(spec: Mapping[str, Any] | JobSpec) -> dict[str, Any]:
    """The specification as JSON can carry it, which has no NaN and no infinity.

    Raises:
        BadInputError: it holds a number that is not finite.
    """
    body = spec.model_dump(mode="json") if isinstance(spec, JobSpec) else dict(spec)
    for place, value in _leaves(body, ()):
        if isinstance(value, float) and not math.isfinite(value):
            raise BadInputError(f"{pointer(place)}: `{place[-1]}` is {value!r}, but must be a finite number")
    return body


def listed(path: str, read: Callable[[Any], T], query: Mapping[str, Any]) -> Call[Page[T]]:
    """The first page of a list; each page leads to the next."""

    def page(answer: httpx.Response) -> Page[T]:
        document = answer.json()
        cursor = document.get("next_cursor")
        following = None if cursor is None else listed(path, read, {**query, "cursor": cursor})
        return Page([read(entry) for entry in document["data"]], following)

    return Call("GET", path, page, query)


def _job(answer: httpx.Response) -> JobDocument:
    return JobDocument.model_validate(answer.json())


def _document(answer: httpx.Response) -> dict[str, Any]:
    return dict(answer.json())


def nothing(answer: httpx.Response) -> None:  # noqa: ARG001 - one signature for all readers
    """The answer of a call that has none."""
    return


def _log(answer: httpx.Response) -> LogText:
    return LogText(answer.content.decode(), int(answer.headers["Log-Length"]))


def _series(answer: httpx.Response) -> dict[str, Series]:
    return {series["key"]: _rows(series) for series in answer.json()["series"]}


def _rows(series: Mapping[str, Any]) -> Series:
    """Turn the columns of the wire into points."""
    columns = {name: series[name] for name in MetricPoint.model_fields if series.get(name) is not None}
    return [
        MetricPoint.model_validate(dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)
    ]


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
