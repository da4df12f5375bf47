"""HTTP of logs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import StreamingResponse

from app.artifacts.downloads import ASK_AGAIN, Conditions, ConditionsDep, StoreDep
from app.artifacts.ranges import matches
from app.core.dependencies import DatabaseDep
from app.core.errors import ChecksumMismatch, InvalidParameter, NotFound, RangeNotSatisfiable, Unavailable
from app.core.problems import responses
from app.core.storage import StorageError
from app.keys.ownership import OwnJob
from app.logs.service import DAMAGED, LogGoneError, LogReader

router = APIRouter(prefix="/v1", tags=["jobs"])

MEDIA_TYPE = "text/plain; charset=utf-8"
LENGTH = "Log-Length"
"""Header with the bytes of the whole log, where a follower goes on."""
MOST_LINES = 10_000

_TEXT = {"content": {"text/plain": {"schema": {"type": "string"}}}}
_LOG: dict[int | str, dict[str, Any]] = {
    200: {"description": f"The log, or its last lines; `{LENGTH}` is the length of all of it in bytes.", **_TEXT},
    206: {"description": "The range asked for.", **_TEXT},
    304: {"description": "Nothing has been added."},
    **responses(InvalidParameter, NotFound, RangeNotSatisfiable, ChecksumMismatch, Unavailable),
}


async def log_reader(job_id: OwnJob, database: DatabaseDep, store: StoreDep) -> LogReader:
    """The log of one of the principal's jobs."""
    return LogReader(database, store, job_id)


@router.head("/jobs/{job_id}/log", include_in_schema=False, response_class=Response)
@router.get("/jobs/{job_id}/log", response_class=Response, responses=_LOG)
def get_log(
    job_id: OwnJob,
    log: Annotated[LogReader, Depends(log_reader)],
    conditions: ConditionsDep,
    tail: Annotated[int | None, Query(ge=1, le=MOST_LINES, description="Only so many lines, the last ones.")] = None,
) -> Response:
    """Read a job's log: what the engine says and prints, with time and attempt, over all attempts.

    It only ever grows: ask for `Range: bytes=N-` with `If-None-Match` to follow it.
    """
    if tail is not None and conditions.range is not None:
        raise InvalidParameter("`tail` and a `Range` header exclude each other; leave one of them out")
    length = log.length()
    tag = f'"{length}"'
    headers = {
        "ETag": tag,
        LENGTH: str(length),
        "Accept-Ranges": "bytes",
        "Cache-Control": ASK_AGAIN,
        "Content-Disposition": f'inline; filename="{job_id}.log"',
        "X-Content-Type-Options": "nosniff",
    }
    if conditions.if_none_match is not None and matches(conditions.if_none_match, tag):
        return Response(status_code=304, headers=headers)
    span = conditions.span(tag, length)
    if span is not None:
        headers["Content-Range"] = f"bytes {span[0]}-{span[1] - 1}/{length}"
    return _answer(log, span, (0, length), tail, conditions, headers)


def _answer(
    log: LogReader,
    span: tuple[int, int] | None,
    whole: tuple[int, int],
    tail: int | None,
    conditions: Conditions,
    headers: dict[str, str],
) -> Response:
    status = 200 if span is None else 206
    try:
        start, end = span or whole
        if tail is not None:
            start = log.last_lines(tail, end)
        headers["Content-Length"] = str(end - start)
        if conditions.head:
            return Response(None, status, headers, MEDIA_TYPE)
        return StreamingResponse(_begun(log.read(start, end)), status, headers, MEDIA_TYPE)
    except DAMAGED as error:
        raise ChecksumMismatch("a stored part of the log is damaged; `Range` reaches the others") from error
    except LogGoneError as error:
        raise NotFound(f"you have no job {error}") from error
    except StorageError as error:
        raise Unavailable("the artifact store cannot be reached; try again shortly") from error


def _begun(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The same chunks, the first of which has been read: until then a problem can be told."""
    first = next(chunks, b"")
    return chain((first,), chunks)
