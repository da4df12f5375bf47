"""What was typed into the fields of a job, parted into the job that all trials share and the space that is searched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.dashboard.job_form.fields import fields
from app.dashboard.job_form.reading import read
from app.dashboard.job_form.schema import Shape
from ddcore.spec.ranges import is_several, read_values


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

    A field that belongs to one of several components, such as ``method.iterations`` where two methods are tried, is
    part of the space even where it has one value: the base names no component that it could belong to.

    Args:
        parts: the fields of the job.
        values: what was typed, by path.
    """
    form = fields(parts, values, several=True)
    lines: dict[str, str] = {}
    for top in form.values():
        parted_from: list[str] = []
        for one in top.all():
            below = any(one.path.startswith(f"{path}.") for path in parted_from)
            typed = one.value and one.kind != "group"
            if one.several and is_several(one.value):
                lines[one.path] = one.value
                if one.kind == "component":
                    parted_from.append(one.path)
            elif below and typed:
                lines[one.path] = one.value
    space: dict[str, Any] = {}
    unread: dict[str, str] = {}
    for path, line in lines.items():
        try:
            space[path] = read_values(line)
        except ValueError as error:
            unread[path] = str(error)
    return Parted(read(parts, {path: text for path, text in values.items() if path not in lines}), space, unread)
