from __future__ import annotations

import pytest

from app.queue import outbox


@pytest.fixture(autouse=True)
def rung(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Doorbells rung after a commit, instead of being sent to a broker."""
    calls: list[float] = []

    def publish(_database: object, _settings: object, *, limit_s: float) -> int:
        calls.append(limit_s)
        return 0

    monkeypatch.setattr(outbox, "publish_pending", publish)
    return calls
