"""When nobody could write: a lease that is over then says nothing about its worker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from app.core.settings import Settings


class Outages:
    """Tells the leases that lapsed because a worker is gone from those that nobody could have renewed.

    A full disk, or a database that is away or locked, keeps every worker from renewing its lease, and the reconciler
    from writing too. So whoever could not write himself trusts no lapsed lease until workers have had time to renew it:
    as long as a lease lasts, counted from the last write that failed. A worker that lives has said so by then.

    Args:
        settings: how long leases last, and how often they are renewed.
        clock: seconds that only go forward.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._lease_s = settings.lease_s
        self._long_s = settings.lease_s - settings.heartbeat_s
        self._clock = clock
        self._trusts_at = clock()

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Do a write, and note whether it works; one that has to wait for most of a lease is an outage as well."""
        asked_at = self._clock()
        try:
            yield
        except SQLAlchemyError:
            self._trusts_at = self._clock() + self._lease_s
            raise
        if self._clock() - asked_at >= self._long_s:
            self._trusts_at = self._clock() + self._lease_s

    @property
    def excuse(self) -> bool:
        """Whether leases may be over because of an outage."""
        return self._clock() < self._trusts_at
