"""The names of the library."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import ddcore


@pytest.mark.parametrize("name", ddcore._EXPORTS)
def test_no_module_takes_the_name_of_a_function(name: str) -> None:
    for module in pkgutil.walk_packages(ddcore.__path__, "ddcore."):
        importlib.import_module(module.name)
    assert getattr(ddcore, name) is getattr(importlib.import_module(ddcore._EXPORTS[name]), name)


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'distil'"):
        ddcore.distil  # noqa: B018
