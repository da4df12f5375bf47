"""What is wrong with a specification, said so that the reader can mend it."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError


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


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name closest in spelling to ``name``, if any is close.

    >>> nearest("cifar_10", ["mnist", "cifar10", "cifar100"])
    'cifar10'
    """
    matches = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.5)
    return matches[0] if matches else None


def problems(error: ValidationError, fields: Sequence[str]) -> list[Problem]:
    """Every fault of a pydantic error, with the faults of nested components unfolded.

    Args:
        error: what pydantic raised.
        fields: names of the fields of the model that was validated, for spelling hints.
    """
    return [p for item in error.errors() for p in _unfold(item, (), fields)]


def _unfold(item: Mapping[str, Any], prefix: tuple[int | str, ...], fields: Sequence[str]) -> list[Problem]:
    location = (*prefix, *item["loc"])
    context: Mapping[str, Any] = item.get("ctx", {})
    if item["type"] == "component_fields":
        return [p for inner in context["errors"] for p in _unfold(inner, location, context["fields"])]
    return [Problem(pointer(location), str(item["type"]), _explain(item, location, fields))]


def _explain(item: Mapping[str, Any], location: Sequence[int | str], fields: Sequence[str]) -> str:
    kind, value = item["type"], item.get("input")
    name = str(location[-1]) if location else "specification"
    context: Mapping[str, Any] = item.get("ctx", {})
    bounds = {"greater_than": "gt", "greater_than_equal": "ge", "less_than": "lt", "less_than_equal": "le"}
    if kind == "extra_forbidden":
        guess = nearest(name, fields)
        hint = f"did you mean `{guess}`?" if guess else f"known fields: {', '.join(fields)}"
        return f"unknown field `{name}`; {hint}"
    if kind == "missing":
        return f"`{name}` is required"
    if kind in bounds:
        words = {"gt": "greater than", "ge": "at least", "lt": "less than", "le": "at most"}[bounds[kind]]
        return f"`{name}` is {value!r}, but must be {words} {context[bounds[kind]]}"
    if kind == "finite_number" or (isinstance(value, float) and not math.isfinite(value)):
        return f"`{name}` is {value!r}, but must be a finite number"
    if kind == "literal_error":
        return f"`{name}` is {value!r}, but must be one of {context['expected']}"
    message = str(item["msg"]).removeprefix("Value error, ")
    if kind in {"value_error", "unknown_name", "component_type"} or isinstance(value, (Mapping, BaseModel)):
        return message
    return f"`{name}` is {value!r}: {message[0].lower()}{message[1:]}"


def pointer(location: Iterable[int | str]) -> str:
    """JSON pointer (RFC 6901) of a location.

    >>> pointer(("regularizers", 0, "weight"))
    '/regularizers/0/weight'
    """
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)
