"""What a user chooses is done or refused, by every reader."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddcore.data.readers import CHOICES, match, readers
from ddcore.data.source import Choices, Source
from ddcore.errors import DataError
from tests.ddcore.data.samples import SAMPLES, pixels, table

OURS = [layout for layout, cls in readers().items() if cls.__module__.startswith("ddcore.")]
MADE = [(layout, make) for layout in OURS for make in SAMPLES[layout]]
ASKED: dict[str, Any] = {
    "image_column": "nowhere",
    "label_column": "nowhere",
    "group_column": "nowhere",
    "group_folders": True,
    "channels": "first",
}
"""Of each choice, a value that none of the samples leaves, but for folders, which there always are."""


class Watched(Choices):
    """Choices that note which of them a reader looks at."""

    def __getattribute__(self, name: str) -> Any:
        if name in CHOICES:
            seen.add(name)
        return super().__getattribute__(name)


seen: set[str] = set()


def read(place: Path, layout: str, **choices: Any) -> Source:
    return match(place, layout).read(Choices(**choices))


@pytest.fixture(scope="module", params=MADE, ids=[make.__name__ for _, make in MADE])
def sample(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A layout, and files of it."""
    layout: str
    make: Callable[[Path], None]
    layout, make = request.param
    place = tmp_path_factory.mktemp(make.__name__)
    make(place)
    return layout, place


def test_there_is_a_value_for_each_choice() -> None:
    assert tuple(ASKED) == CHOICES


def test_a_reader_looks_at_the_choices_that_it_heeds_and_at_no_others(sample: tuple[str, Path]) -> None:
    layout, place = sample
    found = match(place, layout)
    seen.clear()
    found.reader.read(found.place, Watched())
    assert seen == found.reader.heeds


@pytest.mark.parametrize("choice", CHOICES)
def test_a_choice_is_done_or_refused(sample: tuple[str, Path], choice: str) -> None:
    layout, place = sample
    if choice in readers()[layout].heeds and choice == "group_folders":
        assert all(part.groups is not None for part in read(place, layout, group_folders=True).parts)
        return
    with pytest.raises(DataError, match=f"`{choice}`") as caught:
        read(place, layout, **{choice: ASKED[choice]})
    unheeded = f"`{choice}` is {ASKED[choice]!r}, but of files of the layout '{layout}' "
    assert str(caught.value).startswith(unheeded) == (choice not in readers()[layout].heeds)


@pytest.mark.parametrize(
    ("layout", "choices", "said"),
    [
        (
            "cifar",
            {"label_column": "kind"},
            "`label_column` is 'kind', but of files of the layout 'cifar' nothing can be chosen; leave it out",
        ),
        (
            "class folders",
            {"group_folders": True, "channels": "last"},
            "`channels` is 'last', but of files of the layout 'class folders' only `group_folders` can be chosen; "
            "leave it out",
        ),
        (
            "parquet",
            {"group_folders": True, "channels": "last", "label_column": "label"},
            "`group_folders` is True and `channels` is 'last', but of files of the layout 'parquet' only "
            "`image_column`, `label_column`, `group_column` can be chosen; leave them out",
        ),
    ],
)
def test_a_refusal_says_what_can_be_chosen(tmp_path: Path, layout: str, choices: dict[str, Any], said: str) -> None:
    SAMPLES[layout][0](tmp_path)
    with pytest.raises(DataError) as caught:
        read(tmp_path, layout, **choices)
    assert str(caught.value) == said


def test_another_reader_is_named_where_it_would_do(tmp_path: Path) -> None:
    table(tmp_path)
    with pytest.raises(DataError, match=r"leave it out, or read the files by another reader: `layout` = 'table'$"):
        read(tmp_path, "class folders", label_column="label")
    assert len(read(tmp_path, "table", label_column="label").parts) == 1


def test_defaults_are_no_choices(tmp_path: Path) -> None:
    SAMPLES["cifar"][0](tmp_path)
    defaults = {name: field.default for name, field in Choices.model_fields.items()}
    assert len(read(tmp_path, "cifar", **defaults).parts) == 2


def test_a_choice_survives_json(tmp_path: Path) -> None:
    """Whether it was made is told by its value, not by what was set: JSON sets everything."""
    SAMPLES["cifar"][0](tmp_path)
    again = Choices.model_validate_json(Choices().model_dump_json())
    assert again.model_fields_set == set(CHOICES)
    assert len(match(tmp_path, "cifar").read(again).parts) == 2


def test_groups_come_from_a_column_or_from_folders(tmp_path: Path) -> None:
    table(tmp_path)
    said = r"`group_column` is 'file' and `group_folders` is True, .*; leave one of them out"
    with pytest.raises(DataError, match=said):
        read(tmp_path, "table", label_column="label", group_column="file", group_folders=True)


@pytest.mark.parametrize(
    ("images", "channels", "said"),
    [
        (pixels()[..., 0], "first", r"`images` \(20, 6, 6\) uint8 has no axis of channels: its images are grey"),
        (pixels()[..., 0], "last", "has no axis of channels"),
        (pixels(), "first", "has 6 on axis 1, where 1, 3 or 4 channels would be; leave it out"),
        (pixels().transpose(0, 3, 1, 2), "last", "has 6 on axis 3, where 1, 3 or 4 channels would be; leave it out"),
    ],
)
def test_channels_that_an_array_has_not_are_refused(tmp_path: Path, images: Any, channels: str, said: str) -> None:
    np.savez(tmp_path / "set.npz", images=images, labels=np.arange(20) % 2)
    with pytest.raises(DataError, match=f"^set.npz: `channels` is '{channels}', but .*{said}"):
        read(tmp_path, "arrays", channels=channels)
    assert len(read(tmp_path, "arrays").parts[0]) == 20
