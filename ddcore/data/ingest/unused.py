"""Options that decide something only in a case that did not occur: the report says that they were not used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ddcore.data.ingest.splits import Division
from ddcore.data.source import Part
from ddcore.spec.ingest import IngestOptions

_OF_A_CUT = ("test_split", "seed", "group_column", "group_folders")


def remarks(options: IngestOptions, parts: Sequence[Part], division: Division) -> Iterator[str]:
    """A sentence on each reason why options had nothing to decide.

    They are told by values that are not the defaults. Which fields were set says nothing once options went through
    JSON, which sets them all; and a default that a user spells out changes nothing, used or not.

    Args:
        options: of the user.
        parts: everything that was read.
        division: what became of it.
    """
    if not division.is_cut:
        validation = division.test[0].split == "validation"
        scores = "the validation images score" if validation else "the files have a test split"
        yield from _unused(options, _OF_A_CUT, f"{scores}, so none was cut")
    if not any(part.split == "validation" for part in parts):
        yield from _unused(options, ("validation",), "the files have no validation images")
    if options.size is None or options.size == "keep":
        yield from _unused(options, ("fit",), "no `size` in pixels was given, so the images keep theirs")


def _unused(options: IngestOptions, names: Sequence[str], why: str) -> Iterator[str]:
    fields = IngestOptions.model_fields
    given = [f"`{name}`" for name in names if getattr(options, name) != fields[name].default]
    if given:
        yield f"{' and '.join(given)} {'was' if len(given) == 1 else 'were'} not used: {why}"
