"""Requests that are refused early: before a route is looked for, a body is read or the database is asked."""

from __future__ import annotations

import anyio
from fastapi.security.utils import get_authorization_scheme_param
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.errors import RateLimited
from app.core.problems import document
from app.core.rates import PAUSE_S, Rates
from app.core.security import key_id
from app.keys.service import Keyring

PROTECTED = "/v1/"


class EarlyRefusal:
    """Refuses a client again that was refused a moment ago and has not waited.

    That is a key beyond one of its rates, and anything that cannot be a key from an address with too many wrong ones.
    The first refusal of each second comes from the route, which counts; so a right key is served whatever its address
    has tried, and nobody is refused for longer than their rate says.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        refusal = _refusal(scope) if scope["type"] == "http" and scope["path"].startswith(PROTECTED) else None
        if refusal is None:
            await self._app(scope, receive, send)
            return
        await anyio.sleep(PAUSE_S)
        await document(refusal, scope["state"]["request_id"])(scope, receive, send)


def _refusal(scope: Scope) -> RateLimited | None:
    state = scope["app"].state
    text = _key(Headers(scope=scope))
    if text is None or not state.settings.auth:
        return None
    rates: Rates = state.rates
    if key_id(text) is None:
        return rates.refused_for_failures(scope["client"][0]) if scope["client"] else None
    keyring: Keyring = state.keyring
    found = keyring.remembered(text)
    if found is None or found.key_id is None:
        return None
    return rates.refused(found.key_id, scope["method"], scope["path"])


def _key(headers: Headers) -> str | None:
    """The key that a request carries, read as the routes read it."""
    scheme, credentials = get_authorization_scheme_param(headers.get("authorization"))
    return credentials if scheme.lower() == "bearer" and credentials else headers.get("x-api-key")
