from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from ddcore import registry
from ddcore.errors import ConfigurationError
from ddcore.registry import GROUP, implementation, implements
from ddcore.spec import NETWORKS, discovery


class Config:
    name = "toy"


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    """Nothing of others has been loaded yet; they offer what a test puts into the list."""
    points: list[EntryPoint] = []
    monkeypatch.setattr(registry, "_IMPLEMENTATIONS", dict(registry._IMPLEMENTATIONS))
    monkeypatch.setattr(discovery, "_entry_points", lambda: points)
    monkeypatch.setattr(discovery, "_broken", {})
    registry.load_others.cache_clear()
    return points


def test_what_implements_a_configuration_is_decorated_with_it() -> None:
    @implements(Config)
    def made(config: Config) -> str:
        return f"made of {config.name}"

    assert implementation(Config(), "ddcore.nets")(Config()) == "made of toy"


def test_a_second_implementation_is_refused_even_of_the_same_name_elsewhere() -> None:
    class Toy:
        pass

    first = implements(Config)(Toy)
    assert implements(Config)(first) is first
    impostor = type("Toy", (), {"__module__": "elsewhere", "__qualname__": Toy.__qualname__})
    with pytest.raises(ValueError, match=r"Config is already implemented by .*Toy of "):
        implements(Config)(impostor)


@pytest.mark.parametrize("network", NETWORKS.values(), ids=list(NETWORKS))
def test_everything_in_the_catalog_has_one(network: type) -> None:
    assert callable(implementation(network(), "ddcore.nets"))


def test_what_nothing_implements_is_a_fault_of_the_job_that_names_what_is_broken(fresh: list[EntryPoint]) -> None:
    fresh.append(EntryPoint("toy", "no_such_module", GROUP))
    message = (
        r"^nothing implements `toy`: decorate its class with @implements\(Config\), in a file of ddcore\.nets or in a "
        r"module that an entry point in ddservice\.implementations names; entry point `toy` in "
        r"`ddservice\.implementations` of an unknown distribution is left out: ModuleNotFoundError"
    )
    with pytest.raises(ConfigurationError, match=message):
        implementation(Config(), "ddcore.nets")
