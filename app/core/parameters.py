"""Query parameters: those that a route does not have are refused, not ignored, and lists of states are read."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import TypeVar

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from app.core.errors import InvalidParameter, UnknownParameter
from ddcore.spec import did_you_mean

S = TypeVar("S", bound=StrEnum)


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


def chosen(states: Iterable[S], text: str | None) -> tuple[S, ...]:
    """The states that ``status`` names, separated by commas; none where it is not given.

    Raises:
        InvalidParameter: naming one that does not exist.
    """
    known = {str(state): state for state in states}
    names = sorted({name.strip() for name in text.split(",")}) if text is not None else []
    for name in names:
        if name not in known:
            raise InvalidParameter(f"unknown status '{name}'{did_you_mean(name, known)}; known: {', '.join(known)}")
    return tuple(known[name] for name in names)


def _names(dependant: Dependant) -> set[str]:
    own = {field.alias for field in dependant.query_params}
    return own.union(*(_names(child) for child in dependant.dependencies))
