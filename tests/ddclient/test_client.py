from __future__ import annotations

import math
from typing import Any

import httpx
import pytest

from ddclient import BadInputError, Client, ClientError, JobFailedError
from ddcore.spec import parse
from tests.ddclient.conftest import JOB_ID, FakeService, job_document

PATH = f"/v1/jobs/{JOB_ID}"


def test_distill_sends_the_short_spelling(client: Client, service: FakeService) -> None:
    service.on("POST", "/v1/jobs", job_document("queued"))
    job = client.distill("digits", method="dm", ipc=2, regularizers={"cmi": 10}, seed=3)
    assert job.id == JOB_ID
    assert service.bodies("POST", "/v1/jobs") == [
        {"dataset": "digits", "ipc": 2, "method": "dm", "regularizers": {"cmi": 10}, "seed": 3}
    ]


def test_a_parsed_specification_can_be_sent(client: Client, service: FakeService) -> None:
    service.on("POST", "/v1/jobs", job_document("queued"))
    spec = parse({"dataset": "digits", "ipc": 2, "method": "dm"})
    client.submit(spec, name="mine", labels={"team": "a"}, priority=9, limits={"max_runtime_s": 60})
    [body] = service.bodies("POST", "/v1/jobs")
    extra = {name: body.pop(name) for name in ("name", "labels", "priority", "limits")}
    assert parse(body) == spec
    assert extra == {"name": "mine", "labels": {"team": "a"}, "priority": 9, "limits": {"max_runtime_s": 60}}


def test_a_key_of_the_caller_is_used(client: Client, service: FakeService) -> None:
    service.on("POST", "/v1/jobs", job_document("queued"))
    client.submit({"preset": "quick/dm-digits"}, idempotency_key="mine")
    assert service.requests[0].headers["Idempotency-Key"] == "mine"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_weight_that_json_cannot_carry_is_named(client: Client, service: FakeService, value: float) -> None:
    with pytest.raises(BadInputError, match=r"/regularizers/cmi: `cmi` is .*finite number"):
        client.distill("digits", regularizers={"cmi": value})
    assert service.requests == []


def test_jobs_are_read_page_by_page(client: Client, service: FakeService) -> None:
    pages = {None: {"data": [job_document()] * 2, "next_cursor": "c1"}, "c1": {"data": [job_document()]}}
    service.on("GET", "/v1/jobs", lambda r: httpx.Response(200, json=pages[r.url.params.get("cursor")]))
    jobs = client.jobs(status=["running", "queued"], dataset="digits", label="team:a")
    assert service.requests == []
    assert len(list(jobs)) == 3
    assert dict(service.requests[0].url.params) == {
        "status": "running,queued",
        "dataset": "digits",
        "label": "team:a",
        "limit": "100",
    }


@pytest.mark.parametrize(
    ("verb", "arguments", "body"),
    [
        ("cancel", {"keep_result": True, "reason": "enough"}, {"keep_result": True, "reason": "enough"}),
        ("pause", {}, {}),
        ("resume", {}, {}),
        ("retry", {"from_scratch": True}, {"from_scratch": True}),
        ("clone", {"overrides": {"seed": 1}}, {"overrides": {"seed": 1}}),
        ("extend", {"iterations": 50}, {"iterations": 50}),
    ],
)
def test_each_verb_has_its_path(
    client: Client, service: FakeService, verb: str, arguments: dict[str, Any], body: dict[str, Any]
) -> None:
    service.on("POST", f"{PATH}:{verb}", job_document("queued"))
    assert getattr(client, verb)(JOB_ID, **arguments).status == "queued"
    assert service.bodies("POST", f"{PATH}:{verb}") == [body]


def test_a_job_is_made_again_once_a_key(client: Client, service: FakeService) -> None:
    service.on("POST", f"{PATH}:rerun", job_document("queued"))
    assert client.rerun(JOB_ID, idempotency_key="mine").status == "queued"
    assert client.rerun(JOB_ID).rerun().status == "queued"
    keys = [request.headers["Idempotency-Key"] for request in service.requests]
    assert keys[0] == "mine"
    assert len(set(keys)) == 3


def test_metrics_come_as_points(client: Client, service: FakeService) -> None:
    service.on("GET", f"{PATH}/metrics", {"data": [{"name": "loss"}, {"name": "cmi"}]})
    series = {
        "key": "loss",
        "step_min": [1, 11],
        "step_max": [10, 20],
        "n": [10, 9],
        "min": [1.0, None],
        "last": [2.0, None],
        "nonfinite": [0, 1],
    }
    service.on("GET", f"{PATH}/metrics:query", {"level": 0, "exact": True, "series": [series]})
    points = client.metrics(JOB_ID, max_points=20)["loss"]
    assert [(p.step_min, p.step_max, p.n, p.last, p.nonfinite) for p in points] == [
        (1, 10, 10, 2.0, 0),
        (11, 20, 9, None, 1),
    ]
    query = service.requests[-1].url.params
    assert query.get_list("key") == ["loss", "cmi"]
    assert query["max_points"] == "20"


def test_many_metrics_are_asked_for_in_parts(client: Client, service: FakeService) -> None:
    service.on("GET", f"{PATH}/metrics:query", {"series": []})
    client.metrics(JOB_ID, [f"loss/{n}" for n in range(20)])
    assert [len(request.url.params.get_list("key")) for request in service.requests] == [16, 4]


def test_waiting_follows_the_version_to_the_end(client: Client, service: FakeService) -> None:
    service.on("GET", PATH, job_document(), job_document(version=2), job_document("succeeded", version=3))
    seen: list[str] = []
    job = client.job(JOB_ID).wait(on_change=lambda document: seen.append(document.status))
    assert job.status == "succeeded"
    assert seen == ["running", "succeeded"]
    assert [request.url.params.get("version") for request in service.requests] == [None, "1", "2"]


@pytest.mark.parametrize("status", ["failed", "cancelled", "expired"])
def test_waiting_for_a_job_that_fails_raises(client: Client, service: FakeService, status: str) -> None:
    error = {"code": "diverged", "message": "`loss` became nan at step 3"}
    service.on("GET", PATH, job_document(status, error=error))
    with pytest.raises(JobFailedError, match=f"{status}: `loss` became nan") as caught:
        client.job(JOB_ID).wait()
    assert caught.value.status == status


def test_waiting_can_be_given_up(client: Client, service: FakeService) -> None:
    service.on("GET", PATH, job_document())
    with pytest.raises(TimeoutError, match="still running after 0 seconds"):
        client.job(JOB_ID).wait(timeout=0)


def test_fields_of_a_newer_service_are_kept(client: Client, service: FakeService) -> None:
    service.on("GET", PATH, job_document(colour="blue"))
    assert client.job(JOB_ID).document.model_dump()["colour"] == "blue"


def test_torch_comes_only_when_asked_for(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from ddclient import Bundle

    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(ClientError, match=r"ddservice\[engine\]"):
        Bundle(tmp_path).as_torch()


def test_the_bundle_becomes_a_tensor_dataset(tmp_path: Any) -> None:
    import torch
    from safetensors.torch import save_file

    from ddclient import Bundle

    tensors = {"images": torch.rand(4, 1, 8, 8), "labels": torch.arange(4)}
    save_file(tensors, tmp_path / "distilled.safetensors")
    image, label = Bundle(tmp_path).as_torch()[3]
    assert torch.equal(image, tensors["images"][3])
    assert label == 3


def test_normalised_images_are_those_that_networks_see(tmp_path: Any) -> None:
    import json

    import torch
    from safetensors.torch import save_file

    from ddclient import Bundle

    images, labels = torch.rand(4, 2, 3, 3), torch.arange(4)
    save_file({"images": images, "labels": labels}, tmp_path / "distilled.safetensors")
    facts = {"mean": [0.25, 0.5], "std": [0.5, 2.0], "whitened": False}
    (tmp_path / "manifest.json").write_text(json.dumps({"normalization": facts}))
    found = Bundle(tmp_path).as_torch(normalized=True).tensors[0]
    for channel in range(2):
        expected = (images[:, channel] - (0.25, 0.5)[channel]) / (0.5, 2.0)[channel]
        assert torch.allclose(found[:, channel], expected)
    matrix, mean = torch.rand(18, 18), torch.rand(18)
    whitening = {"whitening_matrix": matrix, "whitening_mean": mean}
    save_file({"images": images, "labels": labels, **whitening}, tmp_path / "distilled.safetensors")
    whitened = Bundle(tmp_path).as_torch(normalized=True).tensors[0]
    expected = torch.stack([((image.flatten() - mean) @ matrix).view(2, 3, 3) for image in images])
    assert torch.allclose(whitened, expected, atol=1e-5)


def test_metrics_become_a_table_of_pandas(
    client: Client, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = {"step_min": [1, 2], "step_max": [1, 2], "n": [1, 0], "last": [0.5, None], "nonfinite": [0, 1]}
    service.on("GET", f"{PATH}/metrics:query", {"series": [{"key": "loss", **columns}]})
    found = client.metrics(JOB_ID, ["loss"])
    table = found.to_pandas()
    assert table["last"].dtype == "float64"
    assert table[["key", "step_min", "n"]].to_numpy().tolist() == [["loss", 1, 1], ["loss", 2, 0]]
    assert table["last"].isna().tolist() == [False, True]
    assert found.to_csv().splitlines()[1:] == ["loss,1,1,1,,,,0.5,0", "loss,2,2,0,,,,,1"]
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(ClientError, match="pip install pandas"):
        found.to_pandas()


def test_notebooks_show_jobs_as_tables(client: Client, service: FakeService) -> None:
    document = job_document(name="<script>", progress={"step": 3, "total_steps": 9})
    service.on("GET", PATH, document)
    service.on("GET", "/v1/jobs", {"data": [document] * 3})
    shown = client.job(JOB_ID)._repr_html_()
    assert "&lt;script&gt;" in shown
    assert "running, step 3 of 9" in shown
    jobs = client.jobs()
    assert jobs._repr_html_().count(JOB_ID) == 3
    assert len(list(jobs)) == 3
