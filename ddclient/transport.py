"""HTTP as the client needs it: retries where they are safe, and readable refusals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import httpx
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)

from ddclient.calls import Call
from ddclient.discovery import Endpoint, is_loopback
from ddclient.errors import ProblemError, UnreachableError
from ddclient.uploads import Attempt, D, Piece, Upload, carried, carried_async
from ddcore.version import __version__

RETRIED_STATUSES = frozenset({502, 503, 504})
ATTEMPTS = 4
LONGEST_PAUSE_S = 5.0
LONGEST_RATE_LIMIT_S = 60.0
"""A rate limit that lasts longer is not waited for. The service's are of a minute."""

SEND_TIMEOUT_S = 120.0
"""The service may take this long to store what was sent."""

Query = Mapping[str, Any]
T = TypeVar("T")


class _Connection:
    """What a transport is, whichever way it waits."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    def unreachable(self, cause: Exception) -> UnreachableError:
        """The error for a service that does not answer."""
        reason = str(cause) or type(cause).__name__
        return UnreachableError(
            f"no answer from {self.endpoint.url} ({self.endpoint.source}): {reason}; "
            "start a service with `ddctl up`, or set DD_URL to the address of one"
        )

    def _options(self, timeout: float) -> dict[str, Any]:
        """How clients of httpx are made."""
        headers = {"User-Agent": f"ddclient/{__version__}", "Accept": "application/json"}
        if self.endpoint.api_key:
            headers["Authorization"] = f"Bearer {self.endpoint.api_key}"
        # a proxy of the environment cannot reach the service of this machine
        trusts = not is_loopback(httpx.URL(self.endpoint.url).host)
        return {"base_url": self.endpoint.url, "headers": headers, "timeout": timeout, "trust_env": trusts}

    @contextmanager
    def _readable_failures(self) -> Iterator[None]:
        try:
            yield
        except httpx.TransportError as error:
            raise self.unreachable(error) from error


class Transport(_Connection):
    """Requests to one service, with its key.

    ``GET`` is tried again when the connection fails or the service is overloaded or away. So is a
    request with an ``Idempotency-Key``, which the service carries out once however often it arrives.
    Nothing else is repeated, unless its sender does it by :meth:`persist`.
    """

    def __init__(self, endpoint: Endpoint, *, timeout: float, transport: httpx.BaseTransport | None = None) -> None:
        super().__init__(endpoint)
        self._http = httpx.Client(transport=transport, **self._options(timeout))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        json: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Send a request and return its answer, whose status is below 400.

        Raises:
            ProblemError: the service refused.
            UnreachableError: the service does not answer.
            UnreadableAnswerError: its answer is not understood.
        """
        return self.send(Call(method, path, lambda answer: answer, query or {}, json, headers or {}))

    def send(self, call: Call[T]) -> T:
        """Make a call.

        Raises:
            ProblemError: the service refused.
            UnreachableError: the service does not answer.
            UnreadableAnswerError: its answer is not understood.
        """

        def once() -> httpx.Response:
            return _accepted(self._http.request(call.method, call.path, **_content(call)))

        if _repeatable(call):
            return call.understood(self.persist(once))
        with self._readable_failures():
            return call.understood(once())

    def get(self, path: str, **query: Any) -> Any:
        """The JSON document at ``path``."""
        return self.send(Call("GET", path, _document, query))

    def post(self, path: str, json: object = None) -> Any:
        """The JSON document that posting ``json`` to ``path`` answers."""
        return self.send(Call("POST", path, _document, json={} if json is None else json))

    def persist(self, send: Callable[[], T]) -> T:
        """Call ``send`` until it returns; for what may be done more than once.

        Raises:
            ProblemError: the service refused for good, or is overloaded or away.
            UnreachableError: the service does not answer, however often it is asked.
        """
        with self._readable_failures():
            return Retrying(**_patience())(send)

    def upload(self, upload: Upload[D]) -> D:
        """Send the bytes of a file, going on where the connection broke; the document as it is afterwards.

        Raises:
            BadInputError: a file changed meanwhile.
            ProblemError: the service refused.
            UnreachableError: the service does not answer, however often it is asked.
        """
        return carried(upload.run(), lambda attempt: self.persist(lambda: carried(attempt(), self._send_part)))

    def _send_part(self, part: Call[D] | Piece[D]) -> D:
        if isinstance(part, Call):
            return self.send(part)

        def body() -> Iterator[bytes]:
            for chunk in part.chunks():
                yield chunk.read()
                chunk.sent()

        options = _sending(self._http)
        answer = self._http.put(part.path, content=body(), headers=part.headers(), timeout=options)
        return part.upload.ask.understood(_accepted(answer))

    @contextmanager
    def stream(
        self, path: str, *, headers: Mapping[str, str], query: Query | None = None, read_timeout: float
    ) -> Iterator[httpx.Response]:
        """Open ``path`` and read its body as it arrives; ``read_timeout`` bounds the silence in seconds.

        Connection failures come out as ``httpx.TransportError``: only the reader knows how to go on.

        Raises:
            ProblemError: the service refused.
        """
        timeout = httpx.Timeout(self._http.timeout.connect, read=read_timeout)
        with self._http.stream("GET", path, params=_query(query), headers=dict(headers), timeout=timeout) as answer:
            if answer.status_code >= 400:
                answer.read()
                raise problem(answer)
            yield answer


class AsyncTransport(_Connection):
    """The same for ``asyncio``."""

    def __init__(
        self, endpoint: Endpoint, *, timeout: float, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        super().__init__(endpoint)
        self._http = httpx.AsyncClient(transport=transport, **self._options(timeout))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def send(self, call: Call[T]) -> T:
        """Make a call; see :meth:`Transport.send`."""

        async def once() -> httpx.Response:
            return _accepted(await self._http.request(call.method, call.path, **_content(call)))

        if _repeatable(call):
            return call.understood(await self.persist(once))
        with self._readable_failures():
            return call.understood(await once())

    async def persist(self, send: Callable[[], Awaitable[T]]) -> T:
        """Await ``send`` until it returns; see :meth:`Transport.persist`."""
        with self._readable_failures():
            return await AsyncRetrying(**_patience())(send)

    async def upload(self, upload: Upload[D]) -> D:
        """Send the bytes of a file; see :meth:`Transport.upload`. Files are read in another thread."""

        async def attempted(attempt: Attempt[D]) -> D:
            async def once() -> D:
                return await carried_async(attempt(), self._send_part)

            return await self.persist(once)

        return await carried_async(upload.run(), attempted)

    async def _send_part(self, part: Call[D] | Piece[D]) -> D:
        if isinstance(part, Call):
            return await self.send(part)

        async def body() -> AsyncIterator[bytes]:
            for chunk in part.chunks():
                yield await asyncio.to_thread(chunk.read)
                chunk.sent()

        headers = await asyncio.to_thread(part.headers)
        answer = await self._http.put(part.path, content=body(), headers=headers, timeout=_sending(self._http))
        return part.upload.ask.understood(_accepted(answer))

    @asynccontextmanager
    async def stream(
        self, path: str, *, headers: Mapping[str, str], read_timeout: float
    ) -> AsyncIterator[httpx.Response]:
        """Open ``path`` and read its body as it arrives; see :meth:`Transport.stream`."""
        timeout = httpx.Timeout(self._http.timeout.connect, read=read_timeout)
        async with self._http.stream("GET", path, headers=dict(headers), timeout=timeout) as answer:
            if answer.status_code >= 400:
                await answer.aread()
            yield _accepted(answer)


def problem(answer: httpx.Response) -> ProblemError:
    """The error that an answer with status 400 or above stands for."""
    try:
        document = answer.json()
    except ValueError:
        document = None
    if not isinstance(document, dict):
        document = {"title": f"HTTP {answer.status_code} {answer.reason_phrase}".strip()}
    return ProblemError(answer.status_code, document, _retry_after(answer))


def _sending(http: httpx.Client | httpx.AsyncClient) -> httpx.Timeout:
    return httpx.Timeout(http.timeout.connect, read=SEND_TIMEOUT_S, write=SEND_TIMEOUT_S)


def _document(answer: httpx.Response) -> Any:
    return answer.json()


def _accepted(answer: httpx.Response) -> httpx.Response:
    if answer.status_code >= 400:
        raise problem(answer)
    return answer


def _content(call: Call[Any]) -> dict[str, Any]:
    return {"params": _query(call.query), "json": call.json, "headers": dict(call.headers)}


def _repeatable(call: Call[Any]) -> bool:
    return call.method == "GET" or "Idempotency-Key" in call.headers


def _patience() -> dict[str, Any]:
    return {
        "retry": retry_if_exception(may_pass), "stop": stop_after_attempt(ATTEMPTS), "wait": _pause, "reraise": True,
    }  # fmt: skip


def _retry_after(answer: httpx.Response) -> float | None:
    value = answer.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else None


def _query(query: Query | None) -> dict[str, Any] | None:
    return {name: value for name, value in query.items() if value is not None} if query else None


def may_pass(error: BaseException) -> bool:
    """Whether the same request may succeed in a while."""
    if isinstance(error, ProblemError):
        in_progress = error.status == 409 and error.retry_after is not None
        bearable = error.rate_limited and (error.retry_after or 0) <= LONGEST_RATE_LIMIT_S
        return error.status in RETRIED_STATUSES or in_progress or bearable
    return isinstance(error, httpx.TransportError)


_backoff = wait_exponential(multiplier=0.2, max=LONGEST_PAUSE_S) + wait_random(0, 0.1)


def _pause(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome is not None else None
    if isinstance(error, ProblemError) and error.retry_after is not None:
        # Whoever comes back before a rate limit is over is refused again.
        return error.retry_after if error.rate_limited else min(error.retry_after, LONGEST_PAUSE_S)
    return _backoff(state)
