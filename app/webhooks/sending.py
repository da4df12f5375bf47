"""One attempt to deliver a message: a request, and what came of it."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import httpcore
import httpx

from app.webhooks.network import Network, Refused, Resolve, Walls
from ddcore.version import __version__

_READ_BYTES = 64 * 1024
"""Of an answer, as many are read."""
_KEPT_CHARACTERS = 2048
_LONGEST_PAUSE_S = 50_400.0
_GONE = 410


@dataclass(frozen=True)
class Outcome:
    """What came of an attempt.

    Attributes:
        seconds: how long it took.
        status: of the answer; ``None`` where there was none.
        error: why it failed, in words; ``None`` where it did not.
        response: the beginning of the answer's body.
        pause_s: seconds that the receiver asks to be left alone.
    """

    seconds: float
    status: int | None = None
    error: str | None = None
    response: str | None = None
    pause_s: float = 0.0

    @property
    def delivered(self) -> bool:
        """Whether the receiver has it."""
        return self.error is None

    @property
    def gone(self) -> bool:
        """Whether the receiver wants no messages any more."""
        return self.status == _GONE


class Post:
    """Sends messages, each on a connection of its own.

    Args:
        inside: networks that the operator allows beside the public internet.
        timeout_s: seconds for the whole of an attempt.
        resolve: how names become addresses.
    """

    def __init__(self, inside: Iterable[Network], timeout_s: float, resolve: Resolve) -> None:
        self._inside = tuple(inside)
        self._timeout_s = timeout_s
        self._resolve = resolve
        self._tls: ssl.SSLContext = httpx.create_ssl_context()

    async def send(self, url: str, body: str, headers: Mapping[str, str]) -> Outcome:
        """Try once. What goes wrong on the way is an outcome, too."""
        begun = time.monotonic()
        answer = _Answer()
        error: str | None
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._exchange(url, body, headers, answer)
            error = _fault(answer.status)
        except Refused as refused:
            error = str(refused)
        except TimeoutError:
            # An answer whose body drips has come all the same.
            error = _fault(answer.status) if answer.status else f"no answer within {self._timeout_s:g} s"
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, ssl.SSLError) as failure:
            error = f"{type(failure).__name__}: {failure}" if str(failure) else type(failure).__name__
        seconds = time.monotonic() - begun
        return Outcome(seconds, answer.status, error, answer.text(), answer.pause_s)

    async def _exchange(self, url: str, body: str, headers: Mapping[str, str], answer: _Answer) -> None:
        walls = Walls(self._inside, secure=url.startswith("https:"), resolve=self._resolve)
        own = {"content-type": "application/json", "user-agent": f"ddservice/{__version__}", "connection": "close"}
        fields = [(name.encode(), value.encode()) for name, value in {**own, **headers}.items()]
        async with (
            httpcore.AsyncConnectionPool(ssl_context=self._tls, network_backend=walls) as pool,
            pool.stream("POST", url, headers=fields, content=body.encode()) as response,
        ):
            answer.status = response.status
            answer.pause_s = _pause(response.headers)
            async for chunk in response.aiter_stream():
                answer.body += chunk
                if len(answer.body) >= _READ_BYTES:
                    return


class _Answer:
    """What has come of an answer so far."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.pause_s = 0.0
        self.body = b""

    def text(self) -> str | None:
        """The beginning of the body, as far as a database keeps it."""
        if self.status is None:
            return None
        return self.body.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")[:_KEPT_CHARACTERS]


def _fault(status: int | None) -> str | None:
    """Why a status is no success; ``None`` where it is one."""
    if status is not None and 200 <= status < 300:
        return None
    if status is not None and 300 <= status < 400:
        return f"answered {status}; redirects are not followed, so give the address that it leads to"
    return f"answered {status}"


def _pause(headers: Iterable[tuple[bytes, bytes]]) -> float:
    """What ``Retry-After`` asks for, in seconds; 0 where it asks for nothing that is understood."""
    for name, value in headers:
        if name.lower() == b"retry-after" and value.isdigit():
            return min(float(value), _LONGEST_PAUSE_S)
    return 0.0
