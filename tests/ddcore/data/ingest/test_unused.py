from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from ddcore.data.ingest.splits import divide
from ddcore.data.ingest.unused import remarks
from ddcore.data.source import Labels, Part
from ddcore.spec.ingest import IngestOptions

CUT_AWAY = "the files have a test split, so none was cut"
ALL = {"test_split": 0.3, "seed": 1, "group_column": "who", "group_folders": True, "validation": "join", "fit": "pad"}


def part(split: str | None) -> Part:
    return Part(split, str(split), Labels(np.zeros(4, dtype=np.int64)), lambda: iter(()), str)


def said(splits: list[str | None], options: IngestOptions) -> list[str]:
    parts = [part(split) for split in splits]
    return list(remarks(options, parts, divide(parts, options)))


@pytest.mark.parametrize(
    ("splits", "options", "expected"),
    [
        (["train", "test"], {"test_split": 0.3}, [f"`test_split` was not used: {CUT_AWAY}"]),
        (
            ["train", "test"],
            {"seed": 1, "group_column": "who"},
            [f"`seed` and `group_column` were not used: {CUT_AWAY}"],
        ),
        (["train", "test", "validation"], {"group_folders": True}, [f"`group_folders` was not used: {CUT_AWAY}"]),
        (
            ["train", "validation"],
            {"seed": 1},
            ["`seed` was not used: the validation images score, so none was cut"],
        ),
        (["train", "test"], {"validation": "drop"}, ["`validation` was not used: the files have no validation images"]),
        (
            ["train", "test"],
            {"fit": "pad"},
            ["`fit` was not used: no `size` in pixels was given, so the images keep theirs"],
        ),
        (
            ["train", "test"],
            {"fit": "pad", "size": "keep"},
            ["`fit` was not used: no `size` in pixels was given, so the images keep theirs"],
        ),
    ],
)
def test_what_had_nothing_to_decide_is_said(
    splits: list[str | None], options: Mapping[str, Any], expected: list[str]
) -> None:
    assert said(splits, IngestOptions(**options)) == expected


@pytest.mark.parametrize("splits", [[None], ["train"], ["train", "validation"]])
def test_what_was_used_is_not_said(splits: list[str | None]) -> None:
    """Joined validation images leave a cut to be made."""
    names = [name for name in ALL if name != "validation" or "validation" in splits]
    assert said(splits, IngestOptions(**{name: ALL[name] for name in names} | {"size": 8})) == []


@pytest.mark.parametrize("splits", [["train", "test"], ["train", "validation"]])
def test_defaults_are_no_wishes_however_they_come(splits: list[str | None]) -> None:
    options = IngestOptions.model_validate_json(IngestOptions().model_dump_json())
    assert options.model_fields_set == set(IngestOptions.model_fields)
    assert said(splits, options) == []
