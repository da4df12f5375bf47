"""Importing without looking for garbage."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from ddcore.machine.imports import uncollected


@pytest.fixture(params=[True, False], ids=["collecting", "not collecting"])
def before(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Whether garbage is looked for before the imports."""
    (gc.enable if request.param else gc.disable)()
    yield request.param
    gc.enable()


def test_garbage_is_looked_for_again_where_it_was_before(before: bool) -> None:
    with uncollected():
        assert not gc.isenabled()
    assert gc.isenabled() == before


def test_an_import_that_fails_changes_nothing_either(before: bool) -> None:
    with pytest.raises(ImportError), uncollected():
        raise ImportError
    assert gc.isenabled() == before
