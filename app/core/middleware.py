"""What happens to every request before and after its route: pure ASGI, so that streams pass untouched."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping, Sequence

import anyio
import structlog
from anyio import BrokenResourceError
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core import errors, turns
from app.core.matching import has_route
from app.core.problems import document
from app.core.rates import STATE as RATES

REQUEST_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
POLICY = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'; object-src 'none'"
SECURITY_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
STAY_ENCRYPTED = ("Strict-Transport-Security", "max-age=31536000")
"""Sent over TLS alone; without ``includeSubDomains``, since other names of the domain are not ours to judge."""
QUIET = frozenset({"/healthz", "/readyz", "/metrics"})

log = structlog.get_logger("app.access")


class RequestContext:
    """Gives the request an id, the response its security headers, and the log its line.

    An error that nobody foresaw ends here: it is logged whole and answered without a word about it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                turns.leave()
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                if scope["scheme"] == "https":
                    headers.setdefault(*STAY_ENCRYPTED)
                for name, value in scope["state"].get(RATES, {}).items():
                    headers.setdefault(name, value)
            await send(message)

        structlog.contextvars.bind_contextvars(request_id=request_id)
        started = time.perf_counter()
        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:
            if status and _left(error):
                return
            log.exception("unforeseen error", method=scope["method"], path=scope["path"])
            if status:
                # The answer has begun; cutting the connection is the only way left to say that it failed.
                raise
            failure = errors.InternalError("the service failed on this request; its log says why")
            await document(failure, request_id)(scope, receive, send_with_headers)
        finally:
            turns.leave()
            if scope["path"] not in QUIET:
                seconds = round(time.perf_counter() - started, 4)
                log.info("request", method=scope["method"], path=scope["path"], status=status, seconds=seconds)
            structlog.contextvars.unbind_contextvars("request_id")


def _left(error: BaseException) -> bool:
    """Whether all that went wrong is that nobody reads the answer any more, as when somebody leaves a stream."""
    if isinstance(error, BaseExceptionGroup):
        return all(_left(one) for one in error.exceptions)
    return isinstance(error, BrokenResourceError)


class HeadAsGet:
    """Answers HEAD with the headers of GET, where an address has no HEAD of its own.

    Args:
        app: what is asked.
        routes: all routes of the application.
    """

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute]) -> None:
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD" or has_route(self._routes, scope, "HEAD"):
            await self._app(scope, receive, send)
            return

        async def send_without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        await self._app({**scope, "method": "GET"}, receive, send_without_body)


class BodyLimit:
    """Refuses a request whose body is too large: by its announced length, or else by counting what comes.

    Args:
        app: what is protected.
        limit: bytes.
        uploads: paths whose ``PUT`` counts for itself what it takes, and keeps none of it in memory.
    """

    def __init__(self, app: ASGIApp, limit: int, uploads: re.Pattern[str]) -> None:
        self._app = app
        self._limit = limit
        self._uploads = uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "http" or (scope["method"] == "PUT" and self._uploads.fullmatch(scope["path"])):
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        if announced.isdigit() and int(announced) > self._limit:
            detail = f"the body has {announced} bytes, the limit is {self._limit}"
            refusal = errors.BodyTooLarge(detail, headers={"Connection": "close"})
            await document(refusal, scope["state"]["request_id"])(scope, receive, send)
            return
        received = 0

        async def receive_counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limit:
                # The framework lets only its own kind of error pass through its reading of bodies.
                raise HTTPException(413)
            return message

        await self._app(scope, receive_counted, send)


class BodyPace:
    """Gives up on a body that stops coming, or comes at less than a KiB a second for long.

    An upload then ends as if its sender had gone, so that what came is kept; any other request is refused.

    Args:
        app: what is protected.
        seconds: that a body may keep the service waiting; each KiB that comes gives one more.
        uploads: paths whose ``PUT`` is an upload.
    """

    def __init__(self, app: ASGIApp, seconds: float, uploads: re.Pattern[str]) -> None:
        self._app = app
        self._seconds = seconds
        self._uploads = uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, as long as its body comes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        left, whole = self._seconds, False

        async def receive_in_time() -> Message:
            nonlocal left, whole
            if whole:
                return await receive()
            before = time.monotonic()
            with anyio.move_on_after(left):
                message = await receive()
                left += len(message.get("body", b"")) / 1024 - (time.monotonic() - before)
                whole = not message.get("more_body", False)
                return message
            if scope["method"] == "PUT" and self._uploads.fullmatch(scope["path"]):
                return {"type": "http.disconnect"}
            # The framework lets only its own kind of error pass through its reading of bodies.
            raise HTTPException(408)

        await self._app(scope, receive_in_time, send)


class HostCheck:
    """Refuses requests for other host names, by which another site's page could reach a local service."""

    def __init__(self, app: ASGIApp, allowed: Sequence[str]) -> None:
        self._app = app
        self._allowed = frozenset(name.lower() for name in allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] == "http" and "*" not in self._allowed:
            host = Headers(scope=scope).get("host", "")
            if host_name(host) not in self._allowed:
                names = ", ".join(sorted(self._allowed))
                wrong = errors.WrongHost(f"this service does not answer for the host {host!r}, but for {names}")
                await document(wrong, scope["state"]["request_id"])(scope, receive, send)
                return
        await self._app(scope, receive, send)


def host_name(header: str) -> str:
    """Host of a ``Host`` header, without the port and an IPv6 address's brackets.

    >>> [host_name(h) for h in ("LOCALHOST:8000", "[::1]:8000", "::1", "example.org")]
    ['localhost', '::1', '::1', 'example.org']
    """
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    name, _, port = header.rpartition(":")
    return (name if name and ":" not in name and port.isdigit() else header).lower()
