"""What the form of a job says of a field: its default, its rule, its choices, and the component that it names."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from app.dashboard.job_form.field import About, Option
from app.dashboard.job_form.schema import Shape
from app.dashboard.job_form.spelling import NONE, says_null, words
from ddcore.spec import CATALOGS
from ddcore.spec.catalog import Component

BOUNDLESS = 1e12
"""Bounds from here on are those of a machine's numbers, which nobody reaches by typing."""
_KINDS: Mapping[str, str] = {
    "method": "method", "base": "method", "regularizers": "regulariser", "network": "network",
    "decoder": "decoder", "sampler": "sampler",
}  # fmt: skip


def options(shape: Shape) -> Sequence[Option]:
    """What can be chosen; nothing where a field is free."""
    if shape.kind == "component":
        return [Option(name, _title(shape.name, name)) for name in shape.components]
    words_of = shape.choices if shape.kind != "list" else shape.items.choices or tuple(shape.items.components)
    return [Option(word) for word in words_of]


def default(shape: Shape, resolved: Any) -> str:
    """What holds where nothing is typed, as the rest of the job decides it where that is known."""
    if shape.required or shape.kind in ("group", "terms"):
        return ""
    value = shape.default if resolved is None else resolved
    if shape.kind == "component":
        return str(value.get("name", "")) if isinstance(value, Mapping) else ""
    return "" if value is None else words(value)


def rule(shape: Shape) -> str:
    """Which values a field may have.

    >>> rule(Shape({"type": "number", "exclusiveMinimum": 0, "maximum": 1, "default": 0.5}, nullable=True))
    'more than 0, at most 1; `null` for none'
    """
    limits = {"minimum": "at least", "exclusiveMinimum": "more than", "maximum": "at most",
              "exclusiveMaximum": "less than"}  # fmt: skip
    known = {key: shape.schema[key] for key in limits if key in shape.schema}
    bounds = [f"{limits[key]} {bound:,}" for key, bound in known.items() if abs(bound) < BOUNDLESS]
    found = [", ".join(bounds)] if bounds else []
    if shape.kind == "list":
        offered = [option.word for option in options(shape)]
        found += [f"separated by commas{': ' if offered else ''}{', '.join(offered)}", f"`{NONE}` for an empty list"]
    if says_null(shape) and shape.default is not None:
        found.append("`null` for none")
    return "; ".join(found)


def _class(kind: str, name: str) -> type[Component] | None:
    catalog = next((one for one in CATALOGS if one.kind == _KINDS.get(kind)), None)
    return None if catalog is None else catalog.get(name)


def _title(kind: str, name: str) -> str:
    cls = _class(kind, name)
    return cls.title if cls else ""


def about(kind: str, name: str) -> About | None:
    """What a component is; ``None`` where none of that name is known.

    Args:
        kind: the field that names it, such as ``network``.
        name: its name.
    """
    cls = _class(kind, name)
    return None if cls is None else About(cls.title, inspect.getdoc(cls) or "", cls.citation, cls.cost, cls.departures)
