"""A submission spelt out in the fields of its form, as :mod:`app.dashboard.job_form.reading` reads them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from app.dashboard.job_form.schema import Shape

ON = "on"
NULL, NONE = "null", "none"
"""How a field says that a value is absent on purpose, and how a list says that it is empty."""


def spell(parts: Mapping[str, Shape], body: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """What the fields of a form hold for an object, in either spelling of the specification; empty ones are left out.

    What the object has and the form has not, as a job of an older version may, is spelt too, for the form to say so.

    Args:
        parts: of the object.
        body: the object.
        above: its path, ending in a dot.
    """
    values: dict[str, str] = {}
    for name, value in body.items():
        if name in parts:
            values |= _spell(parts[name], value, above + name)
        else:
            values[above + name] = words(value)
    return values


def _spell(shape: Shape, value: Any, path: str) -> dict[str, str]:
    match shape.kind:
        case "component" if isinstance(value, Mapping):
            name = str(value.get("name", ""))
            return {path: name, **spell(shape.parts(name), _unnamed(value), f"{path}.")}
        case "terms":
            found: dict[str, str] = {}
            for name, fields in _terms(value).items():
                found[f"{path}.{name}"] = ON
                parts = shape.terms[name].parts() if name in shape.terms else {}
                found |= spell(parts, _unnamed(fields), f"{path}.{name}.")
            return found
        case "group":
            fields = spell(shape.parts(), value or {}, f"{path}.")
            return {path: ON, **fields} if shape.nullable and value is not None else fields
    return {path: words(value)} if value is not None or says_null(shape) else {}


def _unnamed(component: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: one for name, one in component.items() if name != "name"}


def _terms(value: Any) -> Mapping[str, Mapping[str, Any]]:
    if isinstance(value, Mapping):
        return {name: one if isinstance(one, Mapping) else {"weight": one} for name, one in value.items()}
    return {str(one["name"]): one for one in value}


def words(value: Any) -> str:
    """A value as somebody would type it.

    >>> [words(value) for value in (None, True, 1e-05, 20000, "auto", [], ["random", "full"], {"k": "v"})]
    ['null', 'true', '1e-05', '20000', 'auto', 'none', 'random, full', 'k: v']
    """
    if value is None:
        return NULL
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and math.isfinite(value) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, Mapping):
        return "\n".join(f"{name}: {text}" for name, text in value.items())
    if isinstance(value, (list, tuple)):
        if any(isinstance(item, (Mapping, list, tuple)) for item in value):
            return json.dumps(value)
        return ", ".join(words(item) for item in value) if value else NONE
    return str(value)


def says_null(shape: Shape) -> bool:
    """Whether the word for null means that: a name, say, may be any word, and is null where it is empty."""
    return shape.nullable and (shape.kind != "text" or shape.default is not None)
