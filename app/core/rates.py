"""How often somebody may ask: windows that slide, counted in Redis where it is the broker, else by each process.

Where Redis does not answer, every process counts by itself until it does: nobody is let through uncounted, and nobody
is turned away for it.
"""

from __future__ import annotations

import math
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute, WindowStats
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import RateLimiter, SlidingWindowCounterRateLimiter
from redis.exceptions import RedisError

from app.core.errors import RateLimited
from app.core.settings import Settings

WINDOW_S = 60
NOTED_OF_ADDRESS = 10
"""Refused logins from an address that the audit trail tells in a minute."""
NOTED = 200
"""Refused logins that the audit trail tells in an hour, whatever their addresses: nothing removes an entry."""
REDIS_TIMEOUT_S = 0.25
REST_S = 5.0
"""How long a Redis that did not answer is left alone."""
SUBMISSION = re.compile(
    r"/v1/(jobs|studies|jobs/[^/]+:(clone|rerun|retry|extend)|datasets/[^/]+:ingest)"
    r"|/(jobs|studies)/new|/jobs/[^/]+/rerun"
)
"""Paths whose POST makes work for a worker."""
UPLOAD = re.compile(r"/v1/(?:datasets|scores)/[^/]+/content")
"""Paths whose PUT sends files."""
STATE = "rates"
"""Where in the state of a request its answer's headers are kept."""
PAUSE_S = 0.5
"""How long somebody who asks too often waits for the refusal: a program that never pauses is slowed to two requests a
second for each of its connections, and costs the others nothing meanwhile."""
REFUSED_S = 1.0
"""How long somebody who was refused is refused again without being counted."""
REFUSED = 1000
"""Refusals that are remembered at most; where there are more, everybody is counted again."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Rate:
    """What may be done how often.

    Attributes:
        name: in headers and messages.
        most: times a minute; 0 for any number.
        setting: that says so.
    """

    name: str
    most: int
    setting: str

    @property
    def item(self) -> RateLimitItem:
        """The rate as the library knows it."""
        return RateLimitItemPerMinute(self.most)


@dataclass(frozen=True)
class _Refusal:
    """What somebody was told who asked too often, and until when it is told again."""

    until: float
    detail: str
    headers: Mapping[str, str]

    def error(self) -> RateLimited:
        """The refusal, to be raised or answered."""
        return RateLimited(self.detail, headers=self.headers)


class Rates:
    """Counts what keys and addresses do.

    Args:
        settings: the rates, and the broker.
    """

    def __init__(self, settings: Settings) -> None:
        self._requests = Rate("requests", settings.rate_requests, "DD_RATE_REQUESTS")
        self._submissions = Rate("submissions", settings.rate_submissions, "DD_RATE_SUBMISSIONS")
        self._uploads = Rate("uploads", settings.rate_uploads, "DD_RATE_UPLOADS")
        self._failures = Rate("failures", settings.rate_failures, "DD_RATE_FAILURES")
        self._sign_ins = Rate("sign-ins", settings.rate_failures, "DD_RATE_FAILURES")
        self._own = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._shared = _in_redis(settings)
        self._rests_until = 0.0
        self._refused: dict[tuple[str, str], _Refusal] = {}

    @property
    def blocks(self) -> bool:
        """Whether counting asks Redis, which belongs into a thread."""
        return self._shared is not None

    def refused(self, who: str, method: str, path: str) -> RateLimited | None:
        """The refusal that a key has just had and would have again; asks and counts nothing."""
        return next(filter(None, (self._just_refused(rate, who) for rate in self._rates_of(method, path))), None)

    def refused_for_failures(self, address: str) -> RateLimited | None:
        """The refusal that a wrong key from an address has just had and would have again; asks and counts nothing."""
        return self._just_refused(self._failures, address)

    def asked(self, who: str, method: str, path: str, state: MutableMapping[str, object]) -> None:
        """Count a request of a key.

        Args:
            who: the key's identifier, or the address where there are no keys.
            method: of HTTP.
            path: that is asked for.
            state: of the request, where the headers of its answer go.

        Raises:
            RateLimited: it asks too often; says for how long to wait.
        """
        for rate in self._rates_of(method, path):
            self._count(rate, who, state)

    def failed(self, address: str) -> None:
        """Count a key, link or password that was wrong.

        Raises:
            RateLimited: too many of them came from the address.
        """
        self._count(self._failures, address, {})

    def signing_in(self, address: str) -> None:
        """Count an answer of the login provider that is to be looked into, which means asking the provider.

        Raises:
            RateLimited: too many of them came from the address.
        """
        self._count(self._sign_ins, address, {})

    def worth_noting(self, address: str) -> bool:
        """Whether the audit trail tells of one more refused login; the log tells of all."""
        within = ((RateLimitItemPerMinute(NOTED_OF_ADDRESS), address), (RateLimitItemPerHour(NOTED), "all"))
        return all(self._hit(item, "noted", who)[0] for item, who in within)

    def _rates_of(self, method: str, path: str) -> Sequence[Rate]:
        if method == "POST" and SUBMISSION.fullmatch(path):
            return self._requests, self._submissions
        if method == "PUT" and UPLOAD.fullmatch(path):
            return self._requests, self._uploads
        return (self._requests,)

    def _just_refused(self, rate: Rate, who: str) -> RateLimited | None:
        known = self._refused.get((rate.name, who))
        return known.error() if known is not None and time.monotonic() < known.until else None

    def _count(self, rate: Rate, who: str, state: MutableMapping[str, object]) -> None:
        if not rate.most:
            return
        within, stats = self._hit(rate.item, rate.name, who)
        left = max(1, math.ceil(stats.reset_time - time.time()))
        headers = {
            "RateLimit-Policy": f'"{rate.name}";q={rate.most};w={WINDOW_S}',
            "RateLimit": f'"{rate.name}";r={stats.remaining};t={left}',
        }
        state[STATE] = headers
        if not within:
            detail = (
                f"more than {rate.most} {rate.name} a minute; wait {left} s, or have the operator raise {rate.setting}"
            )
            refusal = _Refusal(time.monotonic() + REFUSED_S, detail, {**headers, "Retry-After": str(left)})
            if len(self._refused) >= REFUSED:
                self._refused.clear()
            self._refused[rate.name, who] = refusal
            raise refusal.error()

    def _hit(self, item: RateLimitItem, name: str, who: str) -> tuple[bool, WindowStats]:
        shared = self._shared
        if shared is not None and time.monotonic() >= self._rests_until:
            try:
                return _hit(shared, item, name, who)
            except RedisError as error:
                self._rests_until = time.monotonic() + REST_S
                log.warning("rates are counted by each process", reason=str(error))
        return _hit(self._own, item, name, who)


class Streams:
    """Counts the open event streams of each key in this process, from its event loop alone.

    Args:
        most: that a key may have open at once; 0 for any number.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: Counter[str] = Counter()

    @contextmanager
    def one(self, who: str) -> Iterator[None]:
        """Hold one open.

        Raises:
            RateLimited: there are as many as there may be.
        """
        if self._most and self._open[who] >= self._most:
            raise RateLimited(
                f"{self._open[who]} event streams are open with this key, the most there may be (DD_MAX_STREAMS); "
                "close one, or follow all jobs by one stream, /v1/events:stream",
                headers={"Retry-After": str(WINDOW_S)},
            )
        self._open[who] += 1
        try:
            yield
        finally:
            self._open[who] -= 1
            if not self._open[who]:
                del self._open[who]


def _in_redis(settings: Settings) -> RateLimiter | None:
    if not settings.broker_url.startswith(("redis://", "rediss://")):
        return None
    # Made without asking it: it may be away when the service starts.
    timeouts: Any = {"socket_timeout": REDIS_TIMEOUT_S, "socket_connect_timeout": REDIS_TIMEOUT_S}
    return SlidingWindowCounterRateLimiter(RedisStorage(settings.broker_url, key_prefix="dd-rates", **timeouts))


def _hit(limiter: RateLimiter, item: RateLimitItem, name: str, who: str) -> tuple[bool, WindowStats]:
    within = limiter.hit(item, name, who)
    return within, limiter.get_window_stats(item, name, who)
