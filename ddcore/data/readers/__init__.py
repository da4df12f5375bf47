"""Readers of dataset folders, one layout a file.

A file here that decorates a function with :func:`reader` is found; nothing lists it. Another distribution names such a
function by an entry point in the group ``ddservice.datasets``, under the name of its layout. Readers are asked in the
order of the names of their layouts, ours before those of others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from ddcore.data.dataset import ImageSet
from ddcore.spec import discovery

GROUP = "ddservice.datasets"
"""Entry points that name the readers of other distributions."""


@dataclass(frozen=True)
class Found:
    """A dataset that a reader knows how to read.

    Attributes:
        files: what it is made of; it is decoded again when one of them changes.
        read: gives the training and the test split; its argument names the classes, where they are known, for files
            that do not.
    """

    files: Sequence[Path]
    read: Callable[[Sequence[str] | None], tuple[ImageSet, ImageSet]]


Reader = Callable[[Path], Found | None]
"""Looks into a folder: what it can read there, nothing where the layout is another, or ``DataError``."""

R = TypeVar("R", bound=Reader)

_READERS: dict[str, Reader] = {}


def reader(layout: str) -> Callable[[R], R]:
    """Decorator: this function reads folders of a layout.

    Raises:
        ValueError: another one already does.
    """

    def register(function: R) -> R:
        known = _READERS.get(layout)
        if known is not None and (known.__module__, known.__qualname__) != (function.__module__, function.__qualname__):
            raise ValueError(f"the layout {layout!r} is already read by {known.__qualname__} of {known.__module__}")
        _READERS[layout] = function
        return function

    return register


def find(folder: Path) -> Found | None:
    """What the first reader that knows the layout of a folder finds there; nothing where none does.

    Raises:
        DataError: the layout is known, but something is missing.
    """
    return next((found for read in readers().values() if (found := read(folder)) is not None), None)


@cache
def readers() -> dict[str, Reader]:
    """Every reader by the name of its layout; those of others that cannot be loaded are in ``discovery.broken()``."""
    discovery.import_modules(__name__, __path__)
    ours = {layout: _READERS[layout] for layout in sorted(_READERS)}
    discovery.load_offers(GROUP, _admit)
    return ours | _READERS


def _admit(layout: str, load: Callable[[], Any]) -> None:
    """Take in the reader that an entry point offers."""
    function = load()
    if not callable(function):
        raise TypeError(f"{function!r} is no function that looks into a folder")
    reader(layout)(function)
