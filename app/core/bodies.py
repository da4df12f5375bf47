"""A check that every route shares: bodies are JSON whose keys stand once and whose text a database can keep."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute

from app.core.errors import Invalid, MalformedJson
from app.core.text import unkept
from ddcore.spec import Problem
from ddcore.spec.errors import pointer

Path = tuple[int | str, ...]


async def plain_body(request: Request) -> None:
    """Refuse a body of JSON that readers would understand differently, or that no database keeps.

    Raises:
        MalformedJson: a key stands twice in one object, of which most readers silently take the last.
        Invalid: a text holds U+0000, which PostgreSQL does not keep, or half of a surrogate pair, which is no text.
    """
    route = request.scope.get("route")
    if not isinstance(route, APIRoute) or route.body_field is None or not _is_json(request):
        return
    body = await request.body()
    if not body:
        return
    document = json.loads(body, object_pairs_hook=_object)
    problems = [
        Problem(pointer(path), "text", f"{where} holds {what}; leave it out") for path, where, what in _faults(document)
    ]
    if problems:
        raise Invalid(problems)


def _is_json(request: Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind.startswith("application/") and kind.endswith("json")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise MalformedJson(f"the key {json.dumps(name)} stands twice in one object of the body; leave one out")
        found[name] = value
    return found


def _faults(document: Any) -> Iterator[tuple[Path, str, str]]:
    """Where text cannot be kept: its path, what it is, and why. Without recursion: bodies may be deep."""
    ahead: list[tuple[Path, Any]] = [((), document)]
    while ahead:
        path, value = ahead.pop()
        if isinstance(value, str):
            what = unkept(value)
            if what is not None:
                yield path, f"`{path[-1]}`" if path else "the body", what
        elif isinstance(value, dict):
            for name, one in value.items():
                what = unkept(name)
                if what is not None:
                    yield path, "a name" + (f" in `{path[-1]}`" if path else ""), what
                ahead.append(((*path, name), one))
        elif isinstance(value, list):
            ahead.extend(((*path, number), one) for number, one in enumerate(value))
