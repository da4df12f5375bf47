"""Methods through the service: submitted, watched, paused, resumed to the same bytes and downloaded."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ddclient import Client, Job, ProblemError
from ddcore import run
from ddcore.runtime.callback import Callback
from ddcore.spec import parse
from tests.contract.conftest import until
from tests.ddcore.test_contract import job

pytestmark = pytest.mark.slow
PAUSED = {
    "dm": "images and their optimiser alone",
    "dream": "networks that are trained on the way, batches that are chosen, mosaics",
    "mtt": "experts before the first step, a learned learning rate",
    "bptt": "networks trained on the images, an exact adjoint",
    "seqmatch": "stages",
}
"""One method for each kind of state, and what it is. The engine's contract interrupts every method."""
STEPS = 20
"""Steps by which the speed of a method is judged."""
LONG_S = 1.5
"""Seconds that the steps of a job should take, so that it hears of a pause before they are over."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another folder than that of the service, so that all that it trained is trained again."""
    return tmp_path_factory.mktemp("cache")


def specification(method: str, steps: int) -> dict[str, Any]:
    """The job of the engine's contract, longer, and with less to report."""
    rarely = {"metrics": {"every": 20, "probe": "random"}, "snapshots": {"every": 50}, "checkpoints": {"every": 20}}
    small = job(method, evaluation={"repeats": 0, "audit": False}, **rarely)
    return small | {"method": small["method"] | {"iterations": steps}}


class Pace(Callback):
    """Seconds from the first step to the last."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._began = 0.0

    def on_progress(self, done: int, total: int) -> None:
        if done == 0:
            self._began = time.monotonic()
        self.seconds = time.monotonic() - self._began


def long_enough(method: str, folder: Path, cache: Path) -> int:
    """Steps of a job that can be paused on its way, at the speed that the method has here."""
    pace = Pace()
    run(parse(specification(method, STEPS)), folder / "out", run_dir=folder / "run", cache=cache, callback=pace)
    return STEPS * max(1, round(LONG_S / pace.seconds))  # a multiple, which stages can share


def paused_on_the_way(client: Client, method: str, steps: int) -> Job:
    """A job that has been paused between its steps, one of more of them where they were over before it was heard."""
    for longer in (steps, 4 * steps, 16 * steps):
        running = until(client.submit(specification(method, longer)), "running", "succeeded", steps=2)
        assert running.metrics(["loss"])["loss"]
        with suppress(ProblemError):  # it has finished
            running.pause()
        reached = until(running, "paused", "succeeded").document.progress
        assert reached is not None
        if reached.step < longer:
            return running
    raise AssertionError(f"{longer} steps of {method} were over before the job could be paused")


@pytest.mark.parametrize("method", PAUSED)
def test_a_paused_job_ends_with_the_bytes_of_an_undisturbed_one(
    client: Client, tmp_path: Path, cache: Path, method: str
) -> None:
    """The undisturbed one runs here, in the engine as a library: that spares its process, and both have to agree."""
    disturbed = paused_on_the_way(client, method, long_enough(method, tmp_path / "first", cache))
    steps = disturbed.document.spec["method"]["iterations"]
    disturbed.resume()
    assert disturbed.wait(timeout=120).status == "succeeded"
    assert [point.step_max for point in disturbed.metrics(["loss"])["loss"]][-1] == steps
    disturbed.download(tmp_path / "disturbed")

    out = tmp_path / "undisturbed"
    result = run(parse(specification(method, steps)), out, run_dir=tmp_path / "run", cache=cache)
    assert result.steps == steps
    bundles = [folder / "distilled.safetensors" for folder in (tmp_path / "disturbed", out)]
    assert bundles[0].read_bytes() == bundles[1].read_bytes()
