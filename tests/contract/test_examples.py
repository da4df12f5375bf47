"""The examples run."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.contract.conftest import ROOT, Live

SAYS = {"submit_and_train.py": "a network of our own", "engine_only.py": "(20, 1, 8, 8) images of 10 classes"}


def test_every_example_is_known() -> None:
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == set(SAYS)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SAYS))
def test_an_example_runs(live: Live, name: str) -> None:
    command = [sys.executable, str(ROOT / "examples" / name)]
    done = subprocess.run(command, env=live.environment, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    assert SAYS[name] in done.stdout
