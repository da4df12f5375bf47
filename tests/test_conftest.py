"""The order of the suite names files that exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import LONG


@pytest.mark.parametrize("name", LONG)
def test_a_long_file_exists(name: str) -> None:
    assert (Path(__file__).parent / name).is_file()
