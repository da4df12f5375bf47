from __future__ import annotations

import ast
import json
import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from app.dashboard import snippets
from app.jobs.schemas import JobDocument
from ddcore.spec import parse

if TYPE_CHECKING:
    from tests.app.conftest import Api

SPECS: list[dict[str, Any]] = [
    {"dataset": "digits", "ipc": 1, "method": "dm"},
    {"preset": "quick/dm-mim-cmi-digits"},
    {
        "dataset": "cifar10",
        "ipc": 10,
        "method": {"name": "dm", "iterations": 300, "lr_img": 0.5},
        "regularizers": [{"name": "cmi", "weight": 2000, "teacher": {"pool": 3}}, {"name": "mim", "relative": 0.5}],
        "network": {"name": "resnet18"},
        "evaluation": {"networks": ["convnet", "resnet18"], "repeats": 0},
        "seed": 7,
        "init": "noise",
    },
    {"dataset": "cifar10", "ipc": 1, "method": "idm", "regularizers": {"iid": 1}},
    {
        "dataset": "cifar10",
        "ipc": 1,
        "method": {"name": "idm", "batch_real": 256},
        "regularizers": [{"name": "iid", "weight": 1, "covariance": 0.01}],
    },
    {"dataset": "cifar10", "ipc": 10, "method": "idc", "decoder": "identity"},
]


@pytest.fixture(params=range(len(SPECS)))
def spec(request: pytest.FixtureRequest) -> dict[str, Any]:
    chosen: dict[str, Any] = SPECS[request.param]
    return chosen


@pytest.fixture
def job(api: Api, add_job: Callable[..., str], spec: dict[str, Any]) -> JobDocument:
    job_id = add_job(name="it's $HOME", spec=parse(spec).model_dump(mode="json"))
    return JobDocument.model_validate(api.get(f"/v1/jobs/{job_id}").json())


def resubmitted(body: dict[str, Any]) -> object:
    name = body.pop("name")
    assert name == "it's $HOME"
    return parse(body)


def test_the_short_body_means_the_same_job(job: JobDocument, spec: dict[str, Any]) -> None:
    body = snippets.submission(job)
    assert len(json.dumps(body)) < len(json.dumps(job.spec)) / 2
    assert resubmitted(body) == parse(spec)


def test_a_body_that_leaves_out_too_much_is_filled_up(api: Api, add_job: Callable[..., str]) -> None:
    """The rate of 0.01 is the default of an evaluation, but not of the protocol that stages of `dc` are scored by."""
    spec = parse({"dataset": "digits", "ipc": 4, "method": {"name": "seqmatch", "base": "dc"}})
    job_id = add_job(name="it's $HOME", spec=spec.model_dump(mode="json"))
    body = snippets.submission(JobDocument.model_validate(api.get(f"/v1/jobs/{job_id}").json()))
    assert body["evaluation"]["lr"] == 0.01
    assert "snapshots" not in body
    assert resubmitted(body) == spec


def test_curl(job: JobDocument, spec: dict[str, Any]) -> None:
    words = shlex.split(snippets.curl(snippets.submission(job), "http://test"))
    assert words[:4] == ["curl", "-X", "POST", "http://test/v1/jobs"]
    assert resubmitted(json.loads(words[words.index("-d") + 1])) == parse(spec)


def test_ddctl(job: JobDocument, spec: dict[str, Any]) -> None:
    words = shlex.split(snippets.ddctl(snippets.submission(job)).replace("\\\n", " "))
    assert words[0] == "echo"
    assert words[2:] == ["|", "ddctl", "submit", "--spec", "-", "--watch"]
    assert resubmitted(json.loads(words[1])) == parse(spec)


def test_python(job: JobDocument, spec: dict[str, Any]) -> None:
    call = next(
        node
        for node in ast.walk(ast.parse(snippets.python(snippets.submission(job))))
        if isinstance(node, ast.Call) and node.keywords
    )
    fields = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    assert resubmitted({"dataset": ast.literal_eval(call.args[0]), **fields}) == parse(spec)
