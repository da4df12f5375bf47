from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from ddcore.data import readers
from ddcore.data.dataset import ImageSet
from ddcore.data.readers import GROUP, Found
from ddcore.spec import discovery


def never_read(_: Sequence[str] | None) -> tuple[ImageSet, ImageSet]:
    raise AssertionError("the test asks only which reader answers")


def theirs(folder: Path) -> Found | None:
    return Found((), never_read) if (folder / "theirs").exists() else None


@pytest.fixture
def offers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[EntryPoint]]:
    points: list[EntryPoint] = []
    monkeypatch.setattr(discovery, "_entry_points", lambda: points)
    monkeypatch.setattr(discovery, "_broken", {})
    readers.readers()
    monkeypatch.setattr(readers, "_READERS", dict(readers._READERS))
    readers.readers.cache_clear()
    yield points
    readers.readers.cache_clear()


def test_ours_are_asked_before_those_of_others(offers: list[EntryPoint], tmp_path: Path) -> None:
    offers.append(EntryPoint("a_layout", f"{__name__}:theirs", GROUP))
    assert next(iter(readers.readers())) == "parquet"
    assert list(readers.readers())[-1] == "a_layout"
    assert readers.find(tmp_path) is None
    (tmp_path / "theirs").touch()
    assert readers.find(tmp_path) is not None


@pytest.mark.parametrize(
    ("layout", "target", "reason"),
    [
        (
            "parquet",
            "theirs",
            "ValueError: the layout 'parquet' is already read by layout of ddcore.data.readers.parquet",
        ),
        ("tape", "GROUP", "TypeError: 'ddservice.datasets' is no function that looks into a folder"),
    ],
)
def test_what_cannot_read_is_left_out_and_named(
    offers: list[EntryPoint], layout: str, target: str, reason: str
) -> None:
    offers.append(EntryPoint(layout, f"{__name__}:{target}", GROUP))
    assert theirs not in readers.readers().values()
    assert [one.reason for one in discovery.broken()] == [reason]
