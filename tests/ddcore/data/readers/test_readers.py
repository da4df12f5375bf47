from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import ClassVar

import pytest

from ddcore.data import readers
from ddcore.data.readers import GROUP, match
from ddcore.data.source import Choices, Guess, Source
from ddcore.errors import DataError
from ddcore.spec import discovery


class Theirs:
    heeds: ClassVar[frozenset[str]] = frozenset()

    def sniff(self, place: Path) -> Guess | None:
        return Guess(0.5, "it holds theirs") if (place / "theirs").exists() else None

    def read(self, place: Path, choices: Choices) -> Source:
        raise AssertionError("the test asks only which reader answers")


class AsSure(Theirs):
    pass


class Silent:
    sniff, read = Theirs.sniff, Theirs.read


class Misspelt(Theirs):
    heeds = frozenset(("label_colum",))


class Careless(Theirs):
    heeds = "channels"  # type: ignore[assignment]


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


def test_ours_come_before_those_of_others(offers: list[EntryPoint]) -> None:
    offers.append(EntryPoint("a_layout", f"{__name__}:Theirs", GROUP))
    assert next(iter(readers.readers())) == "arrays"
    assert list(readers.readers())[-1] == "a_layout"


def test_the_surest_one_is_taken(offers: list[EntryPoint], tmp_path: Path) -> None:
    offers.append(EntryPoint("a_layout", f"{__name__}:Theirs", GROUP))
    (tmp_path / "theirs").touch()
    found = match(tmp_path)
    assert (found.layout, found.place, found.why) == ("a_layout", tmp_path, "it holds theirs")
    (tmp_path / "train.parquet").touch()
    assert match(tmp_path).layout == "parquet"
    assert match(tmp_path, "a_layout").layout == "a_layout"


def test_two_that_are_equally_sure_ask_the_user(offers: list[EntryPoint], tmp_path: Path) -> None:
    offers += [EntryPoint("a_layout", f"{__name__}:Theirs", GROUP), EntryPoint("b_layout", f"{__name__}:AsSure", GROUP)]
    (tmp_path / "theirs").touch()
    with pytest.raises(DataError, match=r"'a_layout' \(it holds theirs\) or 'b_layout' .*; say which with `layout`"):
        match(tmp_path)
    with pytest.raises(DataError, match="there is no layout 'c_layout'; known: arrays"):
        match(tmp_path, "c_layout")


def test_folders_that_hold_nothing_else_are_opened(offers: list[EntryPoint], tmp_path: Path) -> None:
    offers.append(EntryPoint("a_layout", f"{__name__}:Theirs", GROUP))
    inner = tmp_path / "download" / "photos-main"
    inner.mkdir(parents=True)
    (inner / "theirs").touch()
    (tmp_path / ".DS_Store").touch()
    assert match(tmp_path).place == inner


@pytest.mark.parametrize(
    ("name", "said"), [("empty", "present: nothing"), ("absent", "there is no such folder or file")]
)
def test_what_nobody_can_read_is_described(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        DataError, match=rf"{name} holds nothing that can be read as labelled images; {said}\. Known are"
    ):
        match(tmp_path / name)


HEEDS = (
    "but must be a frozenset of the choices that it heeds, some of image_column, label_column, group_column, "
    "group_folders, channels; frozenset() for none"
)


@pytest.mark.parametrize(
    ("layout", "target", "reason"),
    [
        (
            "parquet",
            "Theirs",
            "ValueError: the layout 'parquet' is already read by Parquet of ddcore.data.readers.parquet",
        ),
        ("tape", "GROUP", "TypeError: 'ddservice.datasets' is no class with `sniff` and `read`"),
        ("tape", "EntryPoint", f"TypeError: {EntryPoint!r} is no class with `sniff` and `read`"),
        ("tape", "Silent", f"TypeError: Silent.heeds is None, {HEEDS}"),
        ("tape", "Misspelt", f"TypeError: Misspelt.heeds is frozenset({{'label_colum'}}), {HEEDS}"),
        ("tape", "Careless", f"TypeError: Careless.heeds is 'channels', {HEEDS}"),
    ],
)
def test_what_cannot_read_is_left_out_and_named(
    offers: list[EntryPoint], layout: str, target: str, reason: str
) -> None:
    offers.append(EntryPoint(layout, f"{__name__}:{target}", GROUP))
    assert {cls.__module__ for cls in readers.readers().values()}.isdisjoint((__name__, "importlib.metadata"))
    assert [one.reason for one in discovery.broken()] == [reason]
