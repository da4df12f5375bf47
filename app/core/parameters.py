"""A check that every route shares: query parameters that it does not have are refused, not ignored."""

from __future__ import annotations

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from app.core.errors import InvalidParameter, UnknownParameter
from ddcore.spec import did_you_mean


async def known_parameters(request: Request) -> None:
    """Refuse a misspelt query parameter, whose filter would otherwise silently not apply.

    Raises:
        UnknownParameter: naming the nearest parameters of the route.
        InvalidParameter: a value holds the character U+0000.
    """
    route = request.scope.get("route")
    if not request.query_params or not isinstance(route, APIRoute):
        return
    known = _names(route.dependant)
    for name, value in request.query_params.multi_items():
        if name not in known:
            hint = did_you_mean(name, known, "`") or f"; known: {', '.join(sorted(known)) or 'none'}"
            raise UnknownParameter(f"{request.url.path} has no query parameter `{name}`{hint}")
        if "\0" in value:
            # No database has text with it, and PostgreSQL refuses to look for it.
            raise InvalidParameter(f"`{name}` holds the character U+0000, which no text can have; leave it out")


def _names(dependant: Dependant) -> set[str]:
    own = {field.alias for field in dependant.query_params}
    return own.union(*(_names(child) for child in dependant.dependencies))
