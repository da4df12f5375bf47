"""Where sets of a user's own are kept: in a service, or in the data root of this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ddcore.spec.ingest import IngestOptions

Row = tuple[str, str, str, str, str, str]
"""Name, where it is, images, shape, classes and the smallest class, for people."""
UNKNOWN = ("?",) * 4


class Shelf(Protocol):
    """A place that keeps sets.

    Attributes:
        where: it, for people.
    """

    @property
    def where(self) -> str:
        """The place, for people."""
        ...

    def add(self, path: Path, name: str, options: IngestOptions, *, replace: bool) -> tuple[Any, str]:
        """Take images in; a document, and text for people."""
        ...

    def list(self) -> tuple[Any, Sequence[Row]]:
        """Every set that a job there can name; a document, and rows for people."""
        ...

    def show(self, name: str) -> tuple[Any, str]:
        """What is known of a set; a document, and text for people."""
        ...

    def remove(self, name: str) -> None:
        """Remove a set."""
        ...

    def export(self, name: str, out: Path) -> int:
        """Write a set as PNG files; how many."""
        ...


def row(name: str, where: str, facts: Mapping[str, Any] | None) -> Row:
    """A line of a list.

    Args:
        name: of the set.
        where: it is, or how it stands.
        facts: what is known of it, by the names of the fields of a set; nothing where nobody has looked.
    """
    if facts is None or facts["shape"] is None:
        return (name, where, *UNKNOWN)
    counts = f"{facts['train_size']:,} + {facts['test_size']:,}"
    shape = " x ".join(map(str, facts["shape"]))
    return name, where, counts, shape, str(len(facts["classes"])), f"{facts['smallest_class']:,}"
