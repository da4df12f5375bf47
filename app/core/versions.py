"""Documents with a version, which is their ETag: how they are answered, and how a client waits for the next one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeVar

import anyio
from fastapi import Header, Query, Response
from starlette.concurrency import run_in_threadpool

from app.core.turns import leave
from app.core.versioned import Versioned

LOOK_EVERY_S = 0.5


D = TypeVar("D", bound=Versioned)

Wait = Annotated[float, Query(ge=0, le=30, description="Seconds to wait for a version other than `version`.")]
KnownVersion = Annotated[int | None, Query(ge=0, description="The version that is already known.")]
IfNoneMatch = Annotated[str | None, Header(description="Send nothing if this is the ETag still.")]


async def changed(read: Callable[[], D], known: int | None, wait: float) -> D:
    """The document, once its version is another one than ``known``, or after ``wait`` seconds, whichever is first.

    Args:
        read: looks at the database; called in a thread.
        known: the version that the client has; ``None`` is no version's name, so that nothing is waited for.
        wait: seconds.
    """
    deadline = anyio.current_time() + wait
    while True:
        # A waiting client costs no thread: only each look at the database takes one.
        document = await run_in_threadpool(read)
        left = deadline - anyio.current_time()
        if document.version != known or left <= 0:
            return document
        leave()  # a request that waits for a change takes no turn of others meanwhile
        await anyio.sleep(min(LOOK_EVERY_S, left))


def answer(document: Versioned, status: int = 200) -> Response:
    """The document with its ETag."""
    return Response(document.model_dump_json(), status, {"ETag": _etag(document)}, "application/json")


def unless_known(document: Versioned, if_none_match: str | None) -> Response:
    """The document, or 304 where ``If-None-Match`` names its ETag."""
    etag = _etag(document)
    if if_none_match is not None and etag in {part.strip().removeprefix("W/") for part in if_none_match.split(",")}:
        return Response(status_code=304, headers={"ETag": etag})
    return answer(document)


def _etag(document: Versioned) -> str:
    return f'"{document.version}"'
