"""The client against the real service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ddclient import BadInputError, Client, JobFailedError, ProblemError
from ddcore.spec import DATASETS, parse
from tests.contract.conftest import TINY, Live, until

pytestmark = pytest.mark.slow
SMALLEST_CLASS = DATASETS["digits"].smallest_class
# Compiling passes of this length takes longer than the test has to wait for.
LONG = TINY | {"method": {"name": "dm", "iterations": 1_000_000, "batch_real": 8}, "compile": "off"}


def test_a_job_from_submission_to_tensors(client: Client, tmp_path: Path) -> None:
    job = client.submit(TINY, name="whole", labels={"suite": "contract"})
    assert parse(job.document.spec) == parse(TINY)
    assert job.wait(timeout=120).status == "succeeded"
    assert job.results is not None
    events = list(job.events())
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert events[0].type == "job.created"
    assert list(job.events(after=events[-2].seq))[-1] == events[-1]
    assert [event.seq for event in job.events(follow=False)] == [event.seq for event in events]
    metrics = job.metrics()
    assert {"loss", "mi_lower_bound", "cmi"} <= set(metrics)
    assert [point.step_max for point in metrics["loss"]] == list(range(1, 21))
    assert len(job.metrics(["loss"], max_points=5)["loss"]) <= 5
    images, labels = job.download(tmp_path / "out").as_torch().tensors
    assert (tuple(images.shape), labels.tolist()) == ((10, 1, 8, 8), list(range(10)))
    assert [found.id for found in client.jobs(status="succeeded", label="suite:contract")] == [job.id]


def test_one_key_makes_one_job(client: Client) -> None:
    first, second = (client.submit(TINY, idempotency_key="contract-once") for _ in range(2))
    assert first.id == second.id
    with pytest.raises(ProblemError) as caught:
        client.submit(TINY | {"seed": 1}, idempotency_key="contract-once")
    assert caught.value.status == 422
    first.cancel()


def test_pause_resume_and_cancel_with_the_result(client: Client, tmp_path: Path) -> None:
    job = until(client.submit(LONG), "running", steps=1)
    job.pause()
    until(job, "paused")
    reached = job.document.progress
    assert reached is not None
    job.resume()
    until(job, "running", steps=reached.step + 1)
    job.cancel(keep_result=True, reason="enough")
    with pytest.raises(JobFailedError, match="cancelled"):
        job.wait(timeout=60)
    assert job.download(tmp_path).manifest["results"]["accuracy"] is None


def test_a_finished_job_cannot_be_cancelled_but_cloned(client: Client) -> None:
    job = client.submit(TINY).wait(timeout=120)
    with pytest.raises(ProblemError) as caught:
        job.cancel()
    assert caught.value.status == 409
    clone = client.clone(job.id, {"seed": 5})
    assert (clone.document.spec["seed"], clone.document.spec["ipc"]) == (5, 1)
    clone.cancel()


@pytest.mark.parametrize(
    ("change", "pointer", "text"),
    [
        ({"dataset": "digts"}, "/dataset", "did you mean 'digits'?"),
        ({"method": "dmm"}, "/method", "did you mean 'dm'?"),
        ({"regularizers": {"cmy": 1}}, "/regularizers/0", "did you mean 'cmi'?"),
        ({"sed": 1}, "/sed", "did you mean `seed`?"),
        ({"ipc": 0}, "/ipc", "at least 1"),
        ({"ipc": -3}, "/ipc", "at least 1"),
        ({"ipc": SMALLEST_CLASS + 1}, "/ipc", f"choose 1 to {SMALLEST_CLASS}"),
        ({"regularizers": {"cmi": 1}}, "/regularizers/0", "identically zero with one image a class"),
    ],
)
def test_bad_input_is_named_with_a_way_out(client: Client, change: dict[str, Any], pointer: str, text: str) -> None:
    for send in (client.submit, client.validate):
        with pytest.raises(ProblemError) as caught:
            send(TINY | change)
        assert (caught.value.status, caught.value.exit_code) == (422, 2)
        assert [problem.pointer for problem in caught.value.problems] == [pointer]
        assert text in str(caught.value)


def test_a_weight_that_is_no_number_never_leaves(client: Client) -> None:
    with pytest.raises(BadInputError, match="finite number"):
        client.submit(TINY | {"regularizers": {"mim": float("nan")}})


def test_validation_plans_without_queueing(client: Client) -> None:
    plan = client.validate(TINY)
    assert parse(plan["spec"]) == parse(TINY)
    assert "estimate" in plan


def test_the_menu(client: Client) -> None:
    assert {"dm", "random"} <= {method["name"] for method in client.methods()}
    assert {"mim", "cmi", "iid"} <= {regularizer["name"] for regularizer in client.regularizers()}
    assert {"identity", "mosaic"} <= {decoder["name"] for decoder in client.decoders()}
    assert {"random", "representative"} <= {sampler["name"] for sampler in client.samplers()}
    assert {"convnet", "resnet18"} <= {network["name"] for network in client.networks()}
    assert "quick/dm-digits" in {preset["name"] for preset in client.presets()}
    assert client.health()["status"] == "ready"


def test_no_key_and_a_wrong_key_are_refused(live: Live, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DD_HOME", str(tmp_path))
    monkeypatch.delenv("DD_API_KEY", raising=False)
    for key in (None, "dd_local_00000000_" + "A" * 43 + "_00000000"):
        with Client(live.service.url, key) as stranger, pytest.raises(ProblemError, match="DD_API_KEY") as caught:
            list(stranger.jobs())
        assert caught.value.status == 401


def test_a_job_that_is_not_there(client: Client) -> None:
    with pytest.raises(ProblemError) as caught:
        client.job("job_" + "0" * 26)
    assert caught.value.status == 404
