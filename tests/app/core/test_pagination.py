from __future__ import annotations

from datetime import UTC, datetime

import pytest

from app.core.errors import InvalidCursor
from app.core.pagination import Cursors, Position
from app.core.security import Signer

SIGNER = Signer(b"p" * 32)
POSITION = Position(datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC), "job_1")


def test_round_trip() -> None:
    cursors = Cursors(SIGNER, {"status": ("queued",), "method": None})
    assert cursors.decode(cursors.encode(POSITION)) == POSITION


@pytest.mark.parametrize(
    "filters", [{}, {"status": ("paused",), "method": None}, {"status": ("queued",), "method": "dm"}]
)
def test_other_filters_are_refused(filters: dict[str, object]) -> None:
    cursor = Cursors(SIGNER, {"status": ("queued",), "method": None}).encode(POSITION)
    with pytest.raises(InvalidCursor, match="other filters"):
        Cursors(SIGNER, filters).decode(cursor)


def test_cursor_of_another_service_is_refused() -> None:
    cursor = Cursors(Signer(b"q" * 32), {}).encode(POSITION)
    with pytest.raises(InvalidCursor, match="not made by this service"):
        Cursors(SIGNER, {}).decode(cursor)


def test_other_sealed_text_is_no_cursor() -> None:
    with pytest.raises(InvalidCursor):
        Cursors(SIGNER, {}).decode(SIGNER.seal("session", {"at": "2026-01-01", "id": "job_1", "filters": ""}))
