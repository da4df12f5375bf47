"""Small studies."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def study() -> dict[str, Any]:
    """A small valid request: six points, each of 9 steps."""
    return {
        "base": {"dataset": "digits", "method": {"name": "dm", "iterations": 9}},
        "space": {"ipc": [1, 2, 3], "method.lr_img": {"from": 0.5, "to": 1.5, "count": 2}},
        "budget": {"jobs": 6},
    }
