"""Methods through the service: submitted, watched, paused, resumed to the same bytes and downloaded."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ddclient import Client, Job, ProblemError
from ddcore.spec import METHODS, CoresetConfig
from tests.contract.conftest import until
from tests.ddcore.test_contract import job

pytestmark = pytest.mark.slow
STEPS = 120


def specification(method: str, steps: int) -> dict[str, Any]:
    """The job of the engine's contract, longer, and with less to report."""
    rarely = {"metrics": {"every": 20, "probe": "random"}, "snapshots": {"every": 50}, "checkpoints": {"every": 20}}
    small = job(method, evaluation={"repeats": 0}, **rarely)
    return small | {"method": small["method"] | {"iterations": steps}}


def paused_on_the_way(client: Client, method: str) -> Job:
    """A job that has been paused between its steps, one of more of them where they were over before it was heard."""
    for steps in (STEPS, 6 * STEPS, 36 * STEPS):
        running = until(client.submit(specification(method, steps)), "running", "succeeded", steps=2)
        assert running.metrics(["loss"])["loss"]
        with suppress(ProblemError):  # it has finished
            running.pause()
        reached = until(running, "paused", "succeeded").document.progress
        assert reached is not None
        if reached.step < steps:
            return running
    raise AssertionError(f"{steps} steps of {method} were over before the job could be paused")


@pytest.mark.parametrize("method", [name for name, config in METHODS.items() if not issubclass(config, CoresetConfig)])
def test_a_paused_job_ends_with_the_bytes_of_an_undisturbed_one(client: Client, tmp_path: Path, method: str) -> None:
    disturbed = paused_on_the_way(client, method)
    steps = disturbed.document.spec["method"]["iterations"]
    disturbed.resume()
    bundles = []
    for each in (disturbed, client.submit(specification(method, steps))):
        assert each.wait(timeout=120).status == "succeeded"
        assert [point.step_max for point in each.metrics(["loss"])["loss"]][-1] == steps
        folder = tmp_path / each.id
        each.download(folder)
        bundles.append((folder / "distilled.safetensors").read_bytes())
    assert bundles[0] == bundles[1]
