"""What a document with a version has."""

from __future__ import annotations

from typing import Protocol


class Versioned(Protocol):
    """A ``version`` that grows with every change, and the document's own address in ``links``."""

    id: str
    version: int
    links: dict[str, str]

    def model_dump_json(self) -> str:
        """The document as JSON."""
