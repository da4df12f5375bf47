"""Turns: whoever sends many costly requests at once waits for itself, and nobody else does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary


class Turns:
    """One costly request of each key at a time, in each process.

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
