"""What was typed into the fields of a job, parted into the job that all trials share and the space that is searched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from app.dashboard.job_form.field import Field
from app.dashboard.job_form.fields import fields
from app.dashboard.job_form.reading import read
from app.dashboard.job_form.schema import Shape
from ddcore.spec.ranges import is_several, read_values

ITERATIONS, STEPS = "method.iterations", "iterations"
"""Steps of one method, and beside the methods those of all that take any."""


@dataclass(frozen=True)
class Parted:
    """A base and a space.

    Attributes:
        base: the job that all trials share, in its short spelling.
        space: values by path.
        unread: what is wrong with lines that say no values, by path.
    """

    base: Mapping[str, Any]
    space: Mapping[str, Any]
    unread: Mapping[str, str]


def part(parts: Mapping[str, Shape], values: Mapping[str, str]) -> Parted:
    """Part what was typed.

    A field that belongs to one of several components, such as ``method.lr_img`` where two methods are tried, is part of
    the space even where it has one value: the base names no component that it could belong to. Steps alone stay in the
    base, beside the method, where they hold for all methods that take any.

    Args:
        parts: the fields of the job.
        values: what was typed, by path.
    """
    lines = _lines(fields(parts, values, several=True).values())
    space: dict[str, Any] = {}
    unread: dict[str, str] = {}
    for path, line in lines.items():
        try:
            space[path] = read_values(line)
        except ValueError as error:
            unread[path] = str(error)
    base = read(parts, {path: text for path, text in values.items() if path not in lines})
    if "method" in lines and ITERATIONS in space:
        steps = space.pop(ITERATIONS)
        if is_several(lines[ITERATIONS]):
            space[STEPS] = steps
        else:
            base[STEPS] = steps[0]
    return Parted(base, space, unread)


def _lines(form: Iterable[Field]) -> dict[str, str]:
    """What was typed into fields of the space, by path."""
    found: dict[str, str] = {}
    for top in form:
        tried: list[str] = []
        for one in top.all():
            several = one.several and is_several(one.value)
            if several and one.kind == "component":
                tried.append(one.path)
            below = any(one.path.startswith(f"{path}.") for path in tried)
            if several or (below and one.value and one.kind != "group"):
                found[one.path] = one.value
    return found
