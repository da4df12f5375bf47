"""What is found without being listed; whole distributions are in tests/contract/test_extensions.py."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Literal

import pytest

from ddcore.spec import CATALOGS, METHODS, DMConfig, MethodConfig, discovery
from ddcore.spec.catalog import Catalog

GROUP = "ddservice.toys"


class GoodConfig(DMConfig):
    name: Literal["good"] = "good"  # type: ignore[assignment] # a component of its own, under its own name


class NamelessConfig(MethodConfig):
    iterations: int = 1


@pytest.fixture
def offers(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    """What other distributions offer: what a test puts into the list."""
    points: list[EntryPoint] = []
    monkeypatch.setattr(discovery, "_entry_points", lambda: points)
    monkeypatch.setattr(discovery, "_broken", {})
    return points


@pytest.fixture
def catalog(offers: list[EntryPoint]) -> Catalog[MethodConfig]:
    made: Catalog[MethodConfig] = Catalog("toy", GROUP, MethodConfig)
    made.admit_others()
    return made


def point(name: str, target: str, group: str = GROUP) -> EntryPoint:
    return EntryPoint(name, f"{__name__}:{target}", group)


def test_an_offer_joins_at_the_first_look_up(catalog: Catalog[MethodConfig], offers: list[EntryPoint]) -> None:
    offers.append(point("good", "GoodConfig"))
    assert catalog["good"].__name__ == "GoodConfig"
    assert list(catalog) == ["good"]
    assert discovery.broken() == ()


def test_other_groups_are_left_alone(catalog: Catalog[MethodConfig], offers: list[EntryPoint]) -> None:
    offers.append(point("good", "GoodConfig", "ddservice.others"))
    assert len(catalog) == 0


def test_nothing_is_asked_for_before_our_own_modules_can_be_imported(offers: list[EntryPoint]) -> None:
    early: Catalog[MethodConfig] = Catalog("toy", GROUP, MethodConfig)
    offers.append(point("good", "GoodConfig"))
    assert "good" not in early
    early.admit_others()
    assert "good" in early


@pytest.mark.parametrize(
    ("name", "target", "reason"),
    [
        ("good", "NowhereConfig", "AttributeError: "),
        ("better", "GoodConfig", "ValueError: the `name` of GoodConfig is not 'better' by default"),
        ("good", "NamelessConfig", "ValueError: the `name` of NamelessConfig is not 'good' by default"),
        ("good", "GROUP", "TypeError: 'ddservice.toys' is no subclass of MethodConfig"),
    ],
)
def test_what_cannot_be_used_is_left_out_and_named(
    catalog: Catalog[MethodConfig], offers: list[EntryPoint], name: str, target: str, reason: str
) -> None:
    offers.append(point(name, target))
    assert len(catalog) == 0
    (broken,) = discovery.broken()
    assert str(broken).startswith(f"entry point `{name}` in `{GROUP}` of an unknown distribution is left out: {reason}")
    why = discovery.why_missing(GROUP, name)
    assert why is not None
    assert reason in why
    assert discovery.why_missing(GROUP, "another") is None


def test_what_a_broken_module_registered_is_forgotten(
    catalog: Catalog[MethodConfig], offers: list[EntryPoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    def register_and_fail(_: EntryPoint) -> None:
        catalog.register(GoodConfig)
        raise SystemExit("in the middle")

    monkeypatch.setattr(EntryPoint, "load", register_and_fail)
    offers.append(point("good", "GoodConfig"))
    assert "good" not in catalog
    assert [one.reason for one in discovery.broken()] == ["SystemExit: in the middle"]


def test_a_class_of_the_same_name_in_another_module_is_another_class(catalog: Catalog[MethodConfig]) -> None:
    catalog.register(GoodConfig)
    catalog.register(GoodConfig)
    impostor = type("GoodConfig", (GoodConfig,), {"__module__": "elsewhere", "__qualname__": "GoodConfig"})
    with pytest.raises(ValueError, match="'good' is already registered by GoodConfig of "):
        catalog.register(impostor)
    assert catalog["good"] is GoodConfig


def test_modules_of_a_package_are_imported_in_the_order_of_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "found_package"
    package.mkdir()
    (package / "__init__.py").write_text("seen = []\n")
    for name in ("b", "a", "c"):
        (package / f"{name}.py").write_text(f"import found_package\nfound_package.seen.append({name!r})\n")
    monkeypatch.syspath_prepend(tmp_path)
    discovery.import_modules("found_package", [str(package)])
    assert sys.modules["found_package"].seen == ["a", "b", "c"]


@pytest.fixture
def unread() -> Iterator[None]:
    """Entry points that have not been read yet, before and after a test."""
    discovery._entry_points.cache_clear()
    yield
    discovery._entry_points.cache_clear()


def test_the_first_distribution_of_a_name_prevails(
    unread: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("second", "first"):
        folder = tmp_path / place / "dd_found-1.0.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: dd-found\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[{GROUP}]\ngood = {place}:GoodConfig\n[other]\nx = y\n")
        monkeypatch.syspath_prepend(tmp_path / place)
    ours = [found for found in discovery._entry_points() if found.group == GROUP]
    assert [found.value for found in ours] == ["first:GoodConfig"]
    assert (GROUP, "good", "dd-found 1.0") in discovery.offered()


def test_every_catalog_has_a_group_of_its_own() -> None:
    groups = [catalog.group for catalog in CATALOGS]
    assert groups == [f"ddservice.{kind}" for kind in ("methods", "regularizers", "networks", "decoders", "samplers")]
    assert METHODS in CATALOGS
