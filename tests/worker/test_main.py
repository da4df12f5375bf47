from __future__ import annotations

import pytest

from app.core import logging as log
from ddcore.spec.discovery import Broken
from worker import __main__ as worker


def test_what_others_offer_in_vain_is_named_at_the_start(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Broken("ddservice.methods", "toy", "dd-toys 1.0", "ImportError: no")
    monkeypatch.setattr(log, "broken_offers", lambda: (broken,))
    monkeypatch.setattr(log, "configure", lambda settings: None)
    monkeypatch.setattr(worker.Main, "run", lambda self: 0)
    assert worker.main() == 0
    assert [(r.levelname, r.message) for r in caplog.records if "toy" in r.message] == [("WARNING", str(broken))]
