"""Costly requests take turns: a tenant that sends many at once waits, and those of tenants that send fewer go first."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import partial
from weakref import WeakValueDictionary

LONGEST_S = 0.025
"""How long a costly request lets others go first, at most."""
GAP_S = 0.005
"""A tenant that was answered less than this ago is taken for one that asks on."""
_LOOK_S = 0.002

_leaving: ContextVar[Callable[[], None] | None] = ContextVar("leaving", default=None)
_giving_way: ContextVar[_GivingWay | None] = ContextVar("giving_way", default=None)


class Turns:
    """One costly request of each tenant, or of each address without a key, at a time in each process.

    A submission takes tens of milliseconds of the interpreter, which answers one request at a time whatever the number
    of threads. Of one that sends many, all but one wait here, where they cost nothing.
    """

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def of(self, who: str) -> AsyncIterator[None]:
        """Wait for the turn of ``who``, and keep it until the block ends; first come, first served."""
        lock = self._locks.get(who)
        if lock is None:
            lock = self._locks[who] = asyncio.Lock()
        async with lock:
            yield


class InFlight:
    """How many requests of each tenant are being served in this process.

    While one of several threads computes, the others wait for the interpreter. So a costly request of somebody who has
    many under way stands still, between its transactions, while somebody is served who has fewer.

    Args:
        clock: seconds that only go forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._under_way: Counter[str] = Counter()
        self._seen_at: dict[str, float] = {}

    def enter(self, who: str) -> None:
        """Count the request of this context as one of ``who``, until :func:`leave`; in the event loop alone."""
        self._under_way[who] += 1
        self._seen_at[who] = self._clock()
        _leaving.set(partial(self._leave, [who]))

    async def begin_costly(self, who: str) -> None:
        """Let those be served who go first; :func:`give_way` does so later on in the request of this context."""
        giving_way = _GivingWay(self, who)
        while giving_way.waits():
            await asyncio.sleep(_LOOK_S)
        _giving_way.set(giving_way)

    def goes_first(self, who: str) -> bool:
        """Whether somebody else is being served who has fewer requests under way than ``who``."""
        now, mine = self._clock(), self._under_way[who]
        return any(
            max(self._under_way[other], 1) < mine
            for other, at in list(self._seen_at.items())
            if other != who and (self._under_way[other] or now - at < GAP_S)
        )

    def _leave(self, here: list[str]) -> None:
        # Several contexts of one request may know it: a stream is sent by a task of its own.
        while here:
            who = here.pop()
            self._under_way[who] -= 1
            self._seen_at[who] = self._clock()


class _GivingWay:
    """How long one costly request has let others go first, where it stands."""

    def __init__(self, in_flight: InFlight, who: str) -> None:
        self._in_flight, self._who = in_flight, who
        self.stop()

    def stop(self) -> None:
        """Come to the next place at which it can stand still."""
        self._looks = round(LONGEST_S / _LOOK_S)

    def waits(self) -> bool:
        """Whether to look again in a moment."""
        self._looks -= 1
        return self._looks >= 0 and self._in_flight.goes_first(self._who)


def give_way() -> None:
    """Let others go first, if this is a costly request; to be called in its thread while it holds no transaction."""
    giving_way = _giving_way.get()
    if giving_way is not None:
        giving_way.stop()
        while giving_way.waits():
            time.sleep(_LOOK_S)


def leave() -> None:
    """Count the request of this context no longer: it is answered, or waits for something that is not our work."""
    leaving = _leaving.get()
    if leaving is not None:
        leaving()
