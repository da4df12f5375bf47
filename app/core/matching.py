"""Which routes an address has."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.routing import BaseRoute, Match
from starlette.types import Scope


def has_route(routes: Iterable[BaseRoute], scope: Scope, method: str) -> bool:
    """Whether the address that a request has would be answered for another method."""
    asked = {**scope, "method": method}
    return any(route.matches(asked)[0] is Match.FULL for route in routes)
