"""The form by which a user says how images are taken in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from app.core.errors import Invalid
from app.dashboard.job_form.reading import number
from ddcore.spec import Problem
from ddcore.spec.errors import problems
from ddcore.spec.ingest import IngestOptions

_SIZE = re.compile(r"(\d{1,5})(?:\s*[x×]\s*(\d{1,5}))?", re.IGNORECASE)
_LARGEST = 4096


@dataclass(frozen=True)
class Field:
    """One option on the form."""

    name: str
    label: str
    kind: Literal["size", "text", "number", "choice", "flag"]
    choices: tuple[tuple[str, str], ...] = ()

    @property
    def help(self) -> str:
        """What the schema says of it."""
        return IngestOptions.model_fields[self.name].description or ""

    def shown(self, options: IngestOptions | None) -> str:
        """Its value as a person writes it; that of the default where no options are given."""
        value = getattr(options or IngestOptions(), self.name)
        if isinstance(value, tuple):
            return "x".join(map(str, value))
        return "" if value is None or value is False else str(value)


MAIN = (
    Field("size", "Size", "size"),
    Field("fit", "Fit", "choice", (("crop", "Cut out the middle"), ("pad", "Add black bars"), ("stretch", "Stretch"))),
    Field("test_split", "Share for scoring", "number"),
    Field("skip_unreadable", "Skip unreadable images", "flag"),
    Field("drop_leaks", "Drop test images that are training images too", "flag"),
    Field("drop_unlabelled", "Drop images without a label", "flag"),
    Field("drop_empty_classes", "Drop classes without an image", "flag"),
)
"""What most users decide."""
MORE = (
    Field("image_column", "Column of the images", "text"),
    Field("label_column", "Column of the labels", "text"),
    Field("group_column", "Column of groups", "text"),
    Field("layout", "Reader", "text"),
    Field(
        "validation",
        "Validation images",
        "choice",
        (("auto", "Decide by the splits"), ("join", "Join"), ("drop", "Drop")),
    ),
    Field(
        "channels",
        "Axis of the channels",
        "choice",
        (("", "Read from the array"), ("first", "First"), ("last", "Last")),
    ),
    Field("seed", "Seed of the cut", "number"),
    Field("group_folders", "Do not part the images of a folder", "flag"),
)
"""What is needed where files could be read in several ways."""


def options_of(form: Mapping[str, str]) -> IngestOptions:
    """The options that a form says; what is empty keeps its default.

    Raises:
        Invalid: a value cannot be read, or is out of range.
    """
    given: dict[str, Any] = {field.name: form[field.name].strip() for field in (*MAIN, *MORE) if field.name in form}
    given = {name: _value(name, value) for name, value in given.items() if value}
    if given.get("size", "keep") != "keep":
        given["size"] = _sides(given["size"])
    try:
        return IngestOptions.model_validate(given)
    except ValidationError as error:
        raise Invalid(problems(error, tuple(IngestOptions.model_fields))) from error


def _value(name: str, text: str) -> Any:
    """What a text means to the schema; a flag that is ticked is sent as ``true``."""
    kind = next(field.kind for field in (*MAIN, *MORE) if field.name == name)
    return number(text) if kind == "number" else {"true": True}.get(text, text) if kind == "flag" else text


def _sides(text: str) -> int | tuple[int, int]:
    match = _SIZE.fullmatch(text)
    sides = [int(side) for side in match.groups() if side] if match else []
    # The schema would complain of each of its three kinds of sizes by itself.
    if not sides or not all(1 <= side <= _LARGEST for side in sides):
        detail = (
            f"`size` is {text!r}, but must be a number (64), height x width (48x64) or keep, up to {_LARGEST} a side"
        )
        raise Invalid([Problem("/size", "size", detail)])
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])
