"""A job's events as they happen, over connections that may break."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx

from ddclient import sse
from ddclient.errors import ProblemError
from ddclient.models import Event
from ddclient.transport import RETRIED_STATUSES, Transport

SILENCE_S = 45.0
"""Three missed pings of the service mean that the connection is dead."""
PATIENCE_S = 60.0
"""How long the service may be away before the stream gives up."""
PAUSE_S = 0.5


def follow(transport: Transport, job_id: str, after: int) -> Iterator[Event]:
    """Every event of a job with ``seq`` above ``after``, in order, without gap or duplicate, until it ends.

    A broken connection is opened again with ``Last-Event-ID``, and the service goes on where it left off.

    Raises:
        ProblemError: the service refused (no such job, no such key).
        UnreachableError: the service stayed away for a minute.
    """
    away_since: float | None = None
    while True:
        reason: Exception
        try:
            for message in _connection(transport, job_id, after):
                away_since = None
                if message.event == "end":
                    return
                event = Event.model_validate_json(message.data)
                if event.seq > after:
                    after = event.seq
                    yield event
            reason = httpx.RemoteProtocolError("the stream broke off")
        except httpx.TransportError as error:
            reason = error
        except ProblemError as error:
            if error.status not in RETRIED_STATUSES:
                raise
            reason = error
        now = time.monotonic()
        away_since = now if away_since is None else away_since
        if now - away_since > PATIENCE_S:
            raise transport.unreachable(reason) from reason
        time.sleep(PAUSE_S)


def _connection(transport: Transport, job_id: str, after: int) -> Iterator[sse.Message]:
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
    if after:
        headers["Last-Event-ID"] = str(after)
    with transport.stream(f"/v1/jobs/{job_id}/events:stream", headers=headers, read_timeout=SILENCE_S) as answer:
        yield from sse.messages(answer.iter_lines())
