"""Pages that begin where the last one ended: signed cursors on the last row, such as (created_at, id)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, Field

from app.core.errors import InvalidCursor
from app.core.security import Signer

T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    """One page of a list."""

    object: str = "list"
    data: list[T]
    next_cursor: str | None = Field(None, description="Pass it as `cursor` for the next page; null on the last.")


@dataclass(frozen=True)
class Position:
    """The last row of a page."""

    created_at: datetime
    id: str


class Cursors:
    """Cursors of one list with one set of filters.

    Args:
        signer: the server's signer.
        filters: the list's filters; a cursor of other filters is refused.
    """

    def __init__(self, signer: Signer, filters: Mapping[str, object]) -> None:
        self._signer = signer
        text = json.dumps(filters, sort_keys=True, default=str)
        self._filters = hashlib.sha256(text.encode()).hexdigest()[:16]

    def encode(self, position: Position) -> str:
        """The cursor of the page after ``position``."""
        return self.seal({"at": position.created_at.isoformat(), "id": position.id})

    def decode(self, cursor: str) -> Position:
        """The position that a cursor stands for.

        Raises:
            InvalidCursor: it was not made here, or for other filters.
        """
        payload = self.open(cursor)
        return Position(datetime.fromisoformat(payload["at"]), str(payload["id"]))

    def seal(self, payload: Mapping[str, object]) -> str:
        """The cursor of the page after a row that ``payload`` describes, for lists in another order."""
        return self._signer.seal("cursor", {**payload, "filters": self._filters})

    def open(self, cursor: str) -> Mapping[str, Any]:
        """What a cursor of this list was made of.

        Raises:
            InvalidCursor: it was not made here, or for other filters.
        """
        payload = self._signer.open("cursor", cursor)
        if payload is None:
            raise InvalidCursor("`cursor` was not made by this service; leave it out to start from the first page")
        if payload["filters"] != self._filters:
            raise InvalidCursor(
                "`cursor` belongs to a list with other filters; repeat those, or leave it out to start from the "
                "first page"
            )
        return payload
