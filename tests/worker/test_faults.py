"""Fault points do what they are told, when they are told."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections import Counter
from collections.abc import Callable

import pytest

from tests.chaos.harness import ROOT
from worker import faults


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def use(text: str) -> None:
        monkeypatch.setattr(faults, "_plan", faults.parse(text))
        monkeypatch.setattr(faults, "_passages", Counter())

    return use


def test_only_the_named_passage_fails(plan: Callable[[str], None]) -> None:
    plan("a:raise:2,b:enospc")
    faults.fault_point("a")
    with pytest.raises(RuntimeError, match="deliberate"):
        faults.fault_point("a")
    faults.fault_point("a")
    with pytest.raises(OSError) as caught:
        faults.fault_point("b")
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize("text", ["a", "a:explode", "a:raise:soon", "a:raise:1:2"])
def test_a_plan_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="point:action"):
        faults.parse(text)


def test_killing_kills() -> None:
    code = "from worker.faults import fault_point; fault_point('a')"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={"DD_FAULT": "a:kill9"}, check=False)
    assert ended.returncode == -9
