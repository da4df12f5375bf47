"""Events as they happen: one reader of the database for each process, any number of clients.

The reader looks twice a second, in a thread, at the jobs that somebody follows, and hands new events to
everybody who waits for them; what that costs depends on the jobs followed, not on the clients.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Collection,
    Iterable,
    Mapping,
    MutableMapping,
    Sequence,
)
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.core.database import Database, now
from app.core.ids import made_at
from app.events import queries
from app.events.repository import PROGRESS
from app.events.schemas import document
from app.events.sse import Batch, Item
from app.models.events import Event
from app.models.states import TERMINAL

POLL_S = 0.5
QUEUE = 256
PAGE = 200
REPLAY = 1000
"""Events of all of a tenant's jobs that a client which comes back is sent at most."""
LIVE = 10_000
OVERLAP = timedelta(seconds=10)
"""An event may be recorded this long before its transaction becomes visible."""
PING_S = 15.0
"""Silence after which something is sent all the same, so that no proxy ends the connection."""

log = structlog.get_logger(__name__)


class Client:
    """What waits to be sent to one client.

    A client that reads too slowly loses events about progress first; when that is not enough it is closed,
    and goes on from its last event when it connects again.
    """

    def __init__(self, limit: int = QUEUE) -> None:
        self._limit = limit
        self._items: deque[Item] = deque()
        self._progress: Item | None = None
        self._ready = asyncio.Event()
        self.closed = False

    def offer(self, item: Item) -> None:
        """Queue an item, unless the client is closed."""
        if self.closed:
            return
        if item.kind == "progress":
            self._progress = item
        else:
            if len(self._items) >= self._limit:
                self._items = deque(waiting for waiting in self._items if not waiting.droppable)
            if len(self._items) >= self._limit:
                self.close()
                return
            self._items.append(item)
        self._ready.set()

    def close(self) -> None:
        """Send nothing more."""
        self.closed = True
        self._items.clear()
        self._progress = None
        self._ready.set()

    async def batches(self, ping_s: float = PING_S) -> AsyncIterator[Batch]:
        """What was offered, all that waits at a time, until the client is closed or an item ``end`` has come.

        Args:
            ping_s: seconds without an item after which an empty batch comes.
        """
        ended = False
        while not ended:
            try:
                async with asyncio.timeout(ping_s):
                    await self._ready.wait()
            except TimeoutError:
                yield ()
                continue
            self._ready.clear()
            batch = list(self._items)
            self._items.clear()
            ended = self.closed or any(item.kind == "end" for item in batch)
            if self._progress is not None and not ended:
                batch.append(self._progress)
            self._progress = None
            if batch:
                yield batch


@dataclass(frozen=True)
class Start:
    """Where a client begins in the events of a tenant: at a moment, without those that it has."""

    moment: datetime
    known: frozenset[str]


@dataclass
class _Followed:
    clients: set[Client] = field(default_factory=set, kw_only=True)


@dataclass
class _FollowedJob(_Followed):
    cursor: int
    version: int


@dataclass
class _FollowedTenant(_Followed):
    moment: datetime
    seen: dict[str, datetime]


F = TypeVar("F", bound=_Followed)


@dataclass
class _News:
    states: dict[str, queries.JobState]
    events: dict[str, Sequence[Event]]
    of_tenants: dict[str, Sequence[Event]]


class Tailer:
    """Follows jobs on behalf of clients; it reads only while there are any.

    Args:
        database: where the events are.
        poll_s: seconds between two looks.
    """

    def __init__(self, database: Database, *, poll_s: float = POLL_S) -> None:
        self._database = database
        self._poll_s = poll_s
        self._jobs: dict[str, _FollowedJob] = {}
        self._tenants: dict[str, _FollowedTenant] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopped = False

    def stop(self) -> None:
        """End every stream, now and from now on; may be called from any thread or a signal handler."""
        self._stopped = True
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed already, and with it every stream
                self._loop.call_soon_threadsafe(self._close_all)

    async def job(
        self, tenant: str, job_id: str, after_seq: int, *, progress: bool = False
    ) -> AsyncGenerator[Batch, None]:
        """A job's events after ``after_seq``, then new ones, until the job has ended.

        Args:
            tenant: owner of the job.
            job_id: a job that the tenant has.
            after_seq: number of the last event that the client has.
            progress: also say, unkept, how the job stands: as soon as it is followed, since a client may have read
                it just before, and whenever anything about it has changed.
        """
        client = Client()
        await self._join_job(job_id, client)

        def wanted(item: Item) -> bool:
            return item.seq > after_seq if item.kind == "event" else progress or item.kind == "end"

        try:
            async for page in self._backlog(tenant, job_id, after_seq):
                after_seq = page[-1].seq
                yield page
            async for batch in _only(wanted, client.batches()):
                yield batch
        finally:
            self._leave(self._jobs, job_id, client)

    def start(self, tenant: str, last_event_id: str | None) -> Start:
        """Where a client of a tenant's stream begins: after its last event, or now.

        Args:
            tenant: whose events.
            last_event_id: the last event that the client has, which may have been removed since: its identifier
                tells when it was made. A client that has none, or something else, begins now.
        """
        with self._database.read() as session:
            at = queries.recorded_at(session, tenant, last_event_id) if last_event_id else None
            at = at or made_at("evt", last_event_id or "")
            if last_event_id and at:
                return Start(at, frozenset({last_event_id}))
            moment = now(session)
            recent = queries.since(session, tenant, moment - OVERLAP, LIVE)
        return Start(moment, frozenset(event.id for event in recent))

    async def tenant(self, tenant: str, start: Start) -> AsyncGenerator[Batch, None]:
        """New events of all of a tenant's jobs, from ``start`` on.

        Events of different jobs have no common order, so one may come twice after a reconnection; its ``id`` tells.
        """
        client = Client()
        await self._join_tenant(tenant, client)
        try:
            before = await asyncio.to_thread(self._since, tenant, start)
            known = start.known.union(item.id for item in before)
            if before:
                yield before
            async for batch in _only(lambda item: item.id not in known, client.batches()):
                yield batch
        finally:
            self._leave(self._tenants, tenant, client)

    async def _join_job(self, job_id: str, client: Client) -> None:
        # The cursor is read before the backlog is, so that no event can fall between the two.
        state = (await asyncio.to_thread(self._read_states, [job_id])).get(job_id)
        start = _FollowedJob(state.event_seq if state else 0, state.version if state else 0)
        self._jobs.setdefault(job_id, start).clients.add(client)
        if state is not None:
            client.offer(_changed(state))
        self._start(client)

    async def _join_tenant(self, tenant: str, client: Client) -> None:
        start = await asyncio.to_thread(self._present, tenant)
        self._tenants.setdefault(tenant, start).clients.add(client)
        self._start(client)

    def _start(self, client: Client) -> None:
        if self._stopped:
            client.close()
        elif self._task is None or self._task.done():
            self._loop = asyncio.get_running_loop()
            self._task = self._loop.create_task(self._follow())

    def _leave(self, followed: MutableMapping[str, F], key: str, client: Client) -> None:
        entry = followed.get(key)
        if entry is not None:
            entry.clients.discard(client)
            if not entry.clients:
                del followed[key]

    def _close_all(self) -> None:
        for entry in (*self._jobs.values(), *self._tenants.values()):
            for client in entry.clients:
                client.close()

    async def _follow(self) -> None:
        try:
            while (self._jobs or self._tenants) and not self._stopped:
                await self._look()
                await asyncio.sleep(self._poll_s)
        finally:
            # Should reading fail for good, clients are told by a closed stream and come back.
            self._close_all()

    async def _look(self) -> None:
        jobs = {job_id: followed.cursor for job_id, followed in self._jobs.items()}
        tenants = {tenant: (followed.moment, followed.seen) for tenant, followed in self._tenants.items()}
        try:
            news = await asyncio.to_thread(self._read, jobs, tenants)
        except (DBAPIError, PoolTimeoutError) as error:
            # Clients stay connected and miss nothing: the cursors have not moved.
            log.warning("events cannot be read", reason=type(error).__name__)
            return
        self._spread_jobs(jobs, news)
        self._spread_tenants(news)

    def _spread_jobs(self, asked: Iterable[str], news: _News) -> None:
        for job_id in asked:
            followed = self._jobs.get(job_id)
            if followed is None:
                continue
            for event in news.events.get(job_id, ()):
                followed.cursor = event.seq
                _offer(followed.clients, _of_job(event))
            state = news.states.get(job_id)
            if state is not None:
                # All up to there was read; the newest of it may have been removed since.
                followed.cursor = max(followed.cursor, state.event_seq)
            if state is not None and state.version != followed.version:
                followed.version = state.version
                _offer(followed.clients, _changed(state))
            if state is None or (state.status in TERMINAL and followed.cursor >= state.event_seq):
                status = state.status if state else None
                _offer(followed.clients, Item("end", json.dumps({"status": status})))

    def _spread_tenants(self, news: _News) -> None:
        for tenant, events in news.of_tenants.items():
            followed = self._tenants.get(tenant)
            if followed is None:
                continue
            for event in events:
                if event.id not in followed.seen:
                    followed.seen[event.id] = event.at
                    followed.moment = max(followed.moment, event.at)
                    _offer(followed.clients, _of_tenant(event))
            horizon = followed.moment - OVERLAP
            followed.seen = {key: at for key, at in followed.seen.items() if at >= horizon}

    async def _backlog(self, tenant: str, job_id: str, after_seq: int) -> AsyncIterator[Batch]:
        page: Batch = await asyncio.to_thread(self._page, tenant, job_id, after_seq)
        while page:
            yield page
            page = await asyncio.to_thread(self._page, tenant, job_id, page[-1].seq) if len(page) == PAGE else ()

    def _page(self, tenant: str, job_id: str, after_seq: int) -> Batch:
        with self._database.read() as session:
            found = queries.of_job(session, tenant, job_id, after_seq=after_seq, limit=PAGE)
        return [_of_job(event) for event in found]

    def _since(self, tenant: str, start: Start) -> Batch:
        with self._database.read() as session:
            events = queries.since(session, tenant, start.moment - OVERLAP, REPLAY)
        return [_of_tenant(event) for event in events if event.id not in start.known]

    def _present(self, tenant: str) -> _FollowedTenant:
        with self._database.read() as session:
            moment = now(session)
            return _FollowedTenant(moment, queries.moments(session, tenant, moment - OVERLAP, LIVE))

    def _read_states(self, job_ids: Sequence[str]) -> dict[str, queries.JobState]:
        with self._database.read() as session:
            return queries.states(session, job_ids)

    def _read(self, jobs: Mapping[str, int], tenants: Mapping[str, tuple[datetime, Collection[str]]]) -> _News:
        with self._database.read() as session:
            states = queries.states(session, list(jobs)) if jobs else {}
            events = {
                job_id: queries.between(session, job_id, jobs[job_id], state.event_seq)
                for job_id, state in states.items()
                if state.event_seq > jobs[job_id]
            }
            of_tenants = {
                tenant: queries.unseen(session, tenant, moment - OVERLAP, seen, LIVE)
                for tenant, (moment, seen) in tenants.items()
            }
        return _News(states, events, of_tenants)


async def _only(wanted: Callable[[Item], bool], batches: AsyncIterator[Batch]) -> AsyncIterator[Batch]:
    """Batches without what is not wanted; one that was empty before stays one."""
    async for batch in batches:
        left = [item for item in batch if wanted(item)]
        if left or not batch:
            yield left


def _offer(clients: Iterable[Client], item: Item) -> None:
    for client in list(clients):
        client.offer(item)


def _of_job(event: Event) -> Item:
    return _item(event, str(event.seq))


def _of_tenant(event: Event) -> Item:
    return _item(event, event.id)


def _item(event: Event, id: str) -> Item:
    return Item("event", document(event).model_dump_json(), event.seq, id, droppable=event.type == PROGRESS)


def _changed(state: queries.JobState) -> Item:
    return Item("progress", json.dumps({"job_id": state.id, "status": state.status, "version": state.version}))
