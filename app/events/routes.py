"""HTTP of events: lists and server-sent streams."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Depends, Header, Query, Request

from app.core.dependencies import DatabaseDep
from app.core.errors import InvalidParameter, NotFound, RateLimited
from app.core.problems import responses
from app.events import queries
from app.events.schemas import EventPage, Level, document
from app.events.sse import RESPONSE, EventStream
from app.events.stream import Start, Tailer
from app.keys.ownership import OwnJob
from app.keys.principals import JobReader, StreamPlace

router = APIRouter(prefix="/v1", tags=["events"])

LastEventId = Annotated[
    str | None, Header(alias="Last-Event-ID", description="The last message that the client has; browsers send it.")
]
LastEventIdQuery = Annotated[
    str | None, Query(alias="last_event_id", description="The same, for clients that cannot set headers.")
]


async def get_tailer(request: Request) -> Tailer:
    """The process's follower of events."""
    return cast(Tailer, request.app.state.tailer)


TailerDep = Annotated[Tailer, Depends(get_tailer)]


async def after_seq(header: LastEventId = None, query: LastEventIdQuery = None) -> int:
    """Number of the last event that the client has; 0 for none.

    Raises:
        InvalidParameter: it is no number.
    """
    text = header if header is not None else query
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise InvalidParameter(f"`Last-Event-ID` is {text[:40]!r}; it must be the `id` of a message of this stream")
    return int(text)


def stream_start(
    principal: JobReader, tailer: TailerDep, header: LastEventId = None, query: LastEventIdQuery = None
) -> Start:
    """Where the stream of all jobs begins for this client, fixed before the answer does."""
    return tailer.start(principal.tenant_id, header or query)


@router.get("/jobs/{job_id}/events", responses=responses(InvalidParameter, NotFound))
def list_events(
    job_id: OwnJob,
    principal: JobReader,
    database: DatabaseDep,
    after_seq: Annotated[int, Query(ge=0, le=2**62, description="Only events after this one.")] = 0,
    level: Annotated[list[Level] | None, Query(description="Only events of these levels; repeat it.")] = None,
    type: Annotated[
        list[str] | None, Query(max_length=20, description="Only events of these types; repeat it.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Events at most.")] = 200,
) -> EventPage:
    """List what happened to a job, in order."""
    with database.read() as session:
        found = queries.of_job(
            session,
            principal.tenant_id,
            job_id,
            after_seq=after_seq,
            levels=level,
            types=type,
            limit=limit + 1,
        )
    shown = found[:limit]
    return EventPage(
        data=[document(event) for event in shown], next_after_seq=shown[-1].seq if len(found) > limit else None
    )


@router.get(
    "/jobs/{job_id}/events:stream",
    status_code=200,
    response_class=EventStream,
    dependencies=[StreamPlace],
    responses={**RESPONSE, **responses(InvalidParameter, NotFound, RateLimited)},
)
async def stream_job_events(
    job_id: OwnJob,
    principal: JobReader,
    tailer: TailerDep,
    after: Annotated[int, Depends(after_seq)],
    progress: Annotated[
        bool, Query(description="Also send a message `progress`, without `id`, when the job document has changed.")
    ] = False,
) -> EventStream:
    """Follow a job: every event since `Last-Event-ID`, then new ones, then one message `end` once the job has ended."""
    return EventStream(tailer.job(principal.tenant_id, job_id, after, progress=progress))


@router.get(
    "/events:stream",
    status_code=200,
    response_class=EventStream,
    dependencies=[StreamPlace],
    responses={**RESPONSE, **responses(RateLimited)},
)
async def stream_events(
    principal: JobReader, tailer: TailerDep, start: Annotated[Start, Depends(stream_start)]
) -> EventStream:
    """Follow all jobs: new events as they come; one may come twice around a reconnection, which its `id` tells."""
    return EventStream(tailer.tenant(principal.tenant_id, start))
