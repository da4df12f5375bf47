"""A function that tells a test what it is called with."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def watched(call: Callable[P, T], note: Callable[P, object]) -> Callable[P, T]:
    """The function as it is, but that ``note`` gets the arguments of every call first."""

    def first_noted(*args: P.args, **kwargs: P.kwargs) -> T:
        note(*args, **kwargs)
        return call(*args, **kwargs)

    return first_noted
