"""What a route asks for: who is asking, and whether they may."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Annotated
from urllib.parse import urlsplit

import anyio
from fastapi import Depends, Request
from fastapi.security import APIKeyCookie, APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from starlette.concurrency import run_in_threadpool

from app.core.dependencies import rates_of, settings_of
from app.core.errors import Forbidden, RateLimited, Unauthenticated
from app.core.rates import PAUSE_S, Rates, Streams
from app.core.row_security import act_for
from app.core.security import Principal, Scope, key_id
from app.core.turns import InFlight, Turns
from app.keys.service import ANYBODY, Keyring

SESSION_COOKIE = "dd_session"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

_bearer = HTTPBearer(auto_error=False, description="An API key, as `Authorization: Bearer dd_…`.")
_header = APIKeyHeader(name="X-API-Key", auto_error=False, description="An API key.")
_cookie = APIKeyCookie(name=SESSION_COOKIE, auto_error=False, description="Session of the dashboard.")


async def optional_principal(
    request: Request,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    header: Annotated[str | None, Depends(_header)],
    cookie: Annotated[str | None, Depends(_cookie)],
) -> Principal | None:
    """The principal of the request, or ``None`` where it carries no key and no session.

    Raises:
        Unauthenticated: it carries a key that does not work.
        Forbidden: a session is used from another site's page.
        RateLimited: the key asks too often, or too many wrong ones came from this address.
    """
    try:
        found = await _found(request, bearer.credentials if bearer else header, cookie)
    except Unauthenticated:
        await _counted(request, lambda rates: rates.failed(address(request)))
        raise
    if found is not None:
        who, asked = found.key_id or address(request), (request.method, request.url.path)
        await _counted(request, lambda rates: rates.asked(who, *asked, request.scope["state"]))
        found = replace(found, address=address(request), request_id=request.state.request_id)
        in_flight: InFlight = request.app.state.in_flight
        in_flight.enter(found.tenant_id)
    act_for(None if found is None or found.may(Scope.OPERATOR) else found.tenant_id)
    return found


async def _counted(request: Request, count: Callable[[Rates], None]) -> None:
    """Count something, at once where nobody has to be asked for it: a thread costs more than counting.

    Raises:
        RateLimited: it is too often; after a pause.
    """
    rates = rates_of(request)
    try:
        if rates.blocks:
            await run_in_threadpool(count, rates)
        else:
            count(rates)
    except RateLimited:
        await anyio.sleep(PAUSE_S)
        raise


def address(request: Request) -> str:
    """Address that the request comes from; behind trusted proxies, the one that they name."""
    return request.client.host if request.client else "unknown"


async def _found(request: Request, text: str | None, cookie: str | None) -> Principal | None:
    if not settings_of(request).auth:
        _check_origin(request, required=False)
        return ANYBODY
    if text is not None:
        found = await _by_key(request, text)
        if found is None:
            raise Unauthenticated("the API key is wrong, expired or revoked")
        return found
    keyring: Keyring = request.app.state.keyring
    found = await run_in_threadpool(keyring.by_session, cookie) if cookie else None
    if found is not None:
        _check_origin(request, required=True)
    return found


async def _by_key(request: Request, text: str) -> Principal | None:
    """The principal of a key, in the event loop where the database need not be asked.

    Of keys that were never right here, an address has one looked up at a time: somebody who guesses keys that are well
    formed takes one thread, however many connections they open, and delays no key that has worked.
    """
    keyring: Keyring = request.app.state.keyring
    identifier = key_id(text)
    if identifier is None:
        return None
    found = keyring.remembered(text)
    if found is not None:
        return found
    if keyring.knows(identifier):
        return await run_in_threadpool(keyring.by_key, text)
    guesses: Turns = request.app.state.guesses
    async with guesses.of(address(request)):
        return await run_in_threadpool(keyring.by_key, text)


async def principal(found: Annotated[Principal | None, Depends(optional_principal)]) -> Principal:
    """The principal of the request.

    Raises:
        Unauthenticated: nobody.
    """
    if found is None:
        raise Unauthenticated(
            "this needs an API key: send `Authorization: Bearer <key>` or `X-API-Key: <key>`; "
            "a local service leaves one in its state folder, in the file `api-key`"
        )
    return found


def require(scope: Scope) -> Callable[[Principal], Awaitable[Principal]]:
    """A dependency that gives the principal where it has ``scope``."""

    async def granted(found: Annotated[Principal, Depends(principal)]) -> Principal:
        if not found.may(scope):
            held = ", ".join(sorted(found.scopes)) or "none"
            raise Forbidden(f"this needs the scope `{scope}`; the key has {held}")
        return found

    return granted


def _check_origin(request: Request, *, required: bool) -> None:
    """Refuse what another site's page asks in the name of the user who looks at it.

    A cookie is sent with every request, and a service without keys asks for none. Browsers name the page that asks in
    ``Origin`` on every unsafe request; only programs leave it out.
    """
    if request.method in SAFE_METHODS:
        return
    origin = request.headers.get("origin")
    if origin is None and not required:
        return
    if urlsplit(origin or "").netloc != request.headers.get("host"):
        raise Forbidden(
            f"a page of {origin or 'an unknown origin'} may not act here; only the dashboard's own pages may"
        )


async def stream_place(request: Request, found: Annotated[Principal, Depends(principal)]) -> AsyncIterator[None]:
    """Hold one of the key's streams open until the answer has ended.

    Raises:
        RateLimited: the key has as many open as it may.
    """
    streams: Streams = request.app.state.streams
    with streams.one(found.key_id or address(request)):
        yield


async def turn(
    request: Request, found: Annotated[Principal | None, Depends(optional_principal)]
) -> AsyncIterator[None]:
    """Let a tenant have one costly request at a time, which lets those go first who have fewer under way."""
    if found is None:
        yield  # the route refuses strangers, at once
        return
    turns: Turns = request.app.state.turns
    in_flight: InFlight = request.app.state.in_flight
    who = address(request) if found.key_id is None else found.tenant_id
    async with turns.of(who):
        await in_flight.begin_costly(found.tenant_id)
        yield


OptionalPrincipal = Annotated[Principal | None, Depends(optional_principal)]
AnyPrincipal = Annotated[Principal, Depends(principal)]
JobReader = Annotated[Principal, Depends(require(Scope.JOBS_READ))]
JobWriter = Annotated[Principal, Depends(require(Scope.JOBS_WRITE))]
ArtifactReader = Annotated[Principal, Depends(require(Scope.ARTIFACTS_READ))]
Admin = Annotated[Principal, Depends(require(Scope.ADMIN))]
Operator = Annotated[Principal, Depends(require(Scope.OPERATOR))]
StreamPlace = Depends(stream_place)
Turn = Depends(turn)
