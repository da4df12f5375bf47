"""What is wrong with a specification, said so that the reader can mend it."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

_ECHOED = 200


@dataclass(frozen=True)
class Problem:
    """One fault: where it is (JSON pointer), a stable code, and what to do about it."""

    pointer: str
    code: str
    detail: str


class SpecError(ValueError):
    """A specification that cannot be run; carries every fault found, not only the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        if not problems:
            raise ValueError("a SpecError needs at least one problem")
        self.problems = tuple(problems)
        super().__init__("\n".join(f"{p.pointer or '/'}: {p.detail}" for p in problems))


def did_you_mean(name: str, known: Iterable[str], quote: str = "'") -> str:
    """The known names closest in spelling to ``name``, three at most, as the end of a sentence; empty if none is close.

    >>> did_you_mean("cifar_10", ["mnist", "cifar10", "cifar100", "digits"])
    ", did you mean 'cifar10'? Others: 'cifar100'"
    >>> did_you_mean("zzz", ["mnist"])
    ''
    """
    matches = difflib.get_close_matches(name.lower(), list(known), n=3, cutoff=0.5)
    if not matches:
        return ""
    best, *others = (f"{quote}{match}{quote}" for match in matches)
    return f", did you mean {best}?" + (f" Others: {', '.join(others)}" if others else "")


def echo(value: object) -> str:
    """A value as it is repeated to whoever gave it: of a long one the beginning, which tells which it was.

    >>> echo("dm"), len(echo("a" * 100_000))
    ("'dm'", 221)
    """
    text = repr(value)
    return text if len(text) <= _ECHOED else f"{text[:_ECHOED]}… ({len(text)} characters)"


def problems(error: ValidationError, fields: Sequence[str], model: type[BaseModel] | None = None) -> list[Problem]:
    """Every fault of a pydantic error, with the faults of nested components unfolded.

    Args:
        error: what pydantic raised.
        fields: names of the fields of the model that was validated, for spelling hints.
        model: that model, for spelling hints inside the models that are its fields.
    """
    return [p for item in error.errors() for p in _unfold(item, (), fields, model)]


def _unfold(
    item: Mapping[str, Any], prefix: tuple[int | str, ...], fields: Sequence[str], model: type[BaseModel] | None
) -> list[Problem]:
    location = (*prefix, *item["loc"])
    context: Mapping[str, Any] = item.get("ctx", {})
    if item["type"] == "component_fields":
        inner: type[BaseModel] = context["model"]
        return [p for fault in context["errors"] for p in _unfold(fault, location, list(inner.model_fields), inner)]
    if model is not None and len(item["loc"]) > 1:
        fields = _fields_at(model, item["loc"][:-1])
    return [Problem(pointer(location), str(item["type"]), _explain(item, location, fields))]


def _fields_at(model: type[BaseModel], path: Iterable[int | str]) -> list[str]:
    """Names of the fields of the model that lies at ``path`` inside ``model``."""
    for step in path:
        field = model.model_fields.get(str(step))
        kinds = () if field is None else (field.annotation, *get_args(field.annotation))  # `Inner`, or `Inner | None`
        model = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), model)
    return list(model.model_fields)


def _explain(item: Mapping[str, Any], location: Sequence[int | str], fields: Sequence[str]) -> str:
    kind, value = item["type"], item.get("input")
    name = _field_name(location)
    context: Mapping[str, Any] = item.get("ctx", {})
    bounds = {"greater_than": "gt", "greater_than_equal": "ge", "less_than": "lt", "less_than_equal": "le"}
    if kind == "extra_forbidden":
        return f"unknown field `{name}`" + (did_you_mean(name, fields, "`") or f"; known fields: {', '.join(fields)}")
    if kind == "missing":
        return f"`{name}` is required"
    if kind in bounds:
        words = {"gt": "greater than", "ge": "at least", "lt": "less than", "le": "at most"}[bounds[kind]]
        return f"`{name}` is {echo(value)}, but must be {words} {context[bounds[kind]]}"
    if kind == "finite_number" or (isinstance(value, float) and not math.isfinite(value)):
        return f"`{name}` is {echo(value)}, but must be a finite number"
    if kind == "literal_error":
        return f"`{name}` is {echo(value)}, but must be one of {context['expected']}"
    message = str(item["msg"]).removeprefix("Value error, ")
    if kind in {"value_error", "unknown_name", "component_type"} or isinstance(value, (Mapping, BaseModel)):
        return message
    return f"`{name}` is {echo(value)}: {message[0].lower()}{message[1:]}"


def _field_name(location: Sequence[int | str]) -> str:
    """The last field of a location, with the position in it where it is a list."""
    if not location:
        return "specification"
    if isinstance(location[-1], int) and len(location) > 1:
        return f"{location[-2]}[{location[-1]}]"
    return str(location[-1])


def pointer(location: Iterable[int | str]) -> str:
    """JSON pointer (RFC 6901) of a location.

    >>> pointer(("regularizers", 0, "weight"))
    '/regularizers/0/weight'
    """
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)
