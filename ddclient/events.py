"""A job's events as they happen, over connections that may break."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator

import httpx

from ddclient import sse
from ddclient.errors import ProblemError
from ddclient.models import Event
from ddclient.sse import Message
from ddclient.transport import AsyncTransport, Transport, may_pass

SILENCE_S = 45.0
"""Three missed pings of the service mean that the connection is dead."""
PATIENCE_S = 60.0
"""How long the service may be away before the stream gives up."""
PAUSE_S = 0.5
REMEMBERED = 1000
"""Events of all jobs by which those that come twice are told."""


class Follower:
    """Where a reader of a job's stream is: what to ask for, what is news, and when to give up.

    Args:
        connection: whose service it is.
        job_id: the job.
        after: the last event already seen.
    """

    def __init__(self, connection: Transport | AsyncTransport, job_id: str, after: int) -> None:
        self._connection = connection
        self._after = after
        self._away_since: float | None = None
        self.path = f"/v1/jobs/{job_id}/events:stream"

    @property
    def headers(self) -> dict[str, str]:
        """By which the service goes on where it left off."""
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        return headers | ({"Last-Event-ID": self._last_id} if self._last_id else {})

    @property
    def _last_id(self) -> str:
        return str(self._after or "")

    def take(self, message: Message) -> Event | None:
        """The event of a message, unless it has been seen."""
        self._away_since = None
        event = Event.model_validate_json(message.data)
        return event if self._is_news(event) else None

    def _is_news(self, event: Event) -> bool:
        news = event.seq > self._after
        self._after = max(self._after, event.seq)
        return news

    def broke(self, reason: Exception) -> float:
        """Seconds to wait before the next connection, after one broke off.

        Raises:
            ProblemError: the service refused for good, or for more than a minute because of a rate limit.
            UnreachableError: it stayed away for a minute.
        """
        if isinstance(reason, ProblemError) and not may_pass(reason):
            raise reason
        now = time.monotonic()
        self._away_since = now if self._away_since is None else self._away_since
        patient = now - self._away_since <= PATIENCE_S
        if isinstance(reason, ProblemError) and reason.rate_limited:
            if not patient:
                raise reason
            return reason.retry_after or PAUSE_S
        if not patient:
            raise self._connection.unreachable(reason) from reason
        return PAUSE_S


class TenantFollower(Follower):
    """The same of the stream of all jobs, in which an event may come twice around a reconnection."""

    def __init__(self, connection: Transport | AsyncTransport) -> None:
        super().__init__(connection, "", 0)
        self.path = "/v1/events:stream"
        self._newest = ""
        self._seen: deque[tuple[str, int]] = deque(maxlen=REMEMBERED)

    @property
    def _last_id(self) -> str:
        return self._newest

    def take(self, message: Message) -> Event | None:
        """The event of a message, unless it has been seen."""
        self._newest = message.id or self._newest
        return super().take(message)

    def _is_news(self, event: Event) -> bool:
        name = (event.job_id, event.seq)
        news = name not in self._seen
        self._seen.append(name)
        return news


def follow(transport: Transport, job_id: str, after: int) -> Iterator[Event]:
    """Every event of a job with ``seq`` above ``after``, in order, without gap or duplicate, until it ends.

    A broken connection is opened again with ``Last-Event-ID``, and the service goes on where it left off.

    Raises:
        ProblemError: the service refused (no such job, no such key).
        UnreachableError: the service stayed away for a minute.
    """
    return _follow(transport, Follower(transport, job_id, after))


def follow_all(transport: Transport) -> Iterator[Event]:
    """New events of all jobs of the tenant, until the reader stops; errors are those of :func:`follow`."""
    return _follow(transport, TenantFollower(transport))


def _follow(transport: Transport, reader: Follower) -> Iterator[Event]:
    while True:
        try:
            with transport.stream(reader.path, headers=reader.headers, read_timeout=SILENCE_S) as answer:
                for message in sse.messages(answer.iter_lines()):
                    if message.event == "end":
                        return
                    if (event := reader.take(message)) is not None:
                        yield event
            reason: Exception = httpx.RemoteProtocolError("the stream broke off")
        except (httpx.TransportError, ProblemError) as error:
            reason = error
        time.sleep(reader.broke(reason))


async def follow_async(transport: AsyncTransport, job_id: str, after: int) -> AsyncIterator[Event]:
    """The same for ``asyncio``; see :func:`follow`."""
    reader = Follower(transport, job_id, after)
    while True:
        try:
            async with transport.stream(reader.path, headers=reader.headers, read_timeout=SILENCE_S) as answer:
                assembler = sse.Assembler()
                async for line in answer.aiter_lines():
                    message = assembler.feed(line)
                    if message is None:
                        continue
                    if message.event == "end":
                        return
                    if (event := reader.take(message)) is not None:
                        yield event
            reason: Exception = httpx.RemoteProtocolError("the stream broke off")
        except (httpx.TransportError, ProblemError) as error:
            reason = error
        await asyncio.sleep(reader.broke(reason))
