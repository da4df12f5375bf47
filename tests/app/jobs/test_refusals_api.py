"""Submissions that cannot be run, and what validation says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from app.models.events import Event
from app.models.jobs import Job, Outbox

if TYPE_CHECKING:
    from tests.app.conftest import Api


def codes(response: Any) -> dict[str, str]:
    """Pointer and code of every fault of a 422."""
    assert response.status_code == 422, response.text
    return {fault["pointer"]: fault["code"] for fault in response.json()["errors"]}


class TestBadSubmissions:
    """Each is refused with its place and a way out, and nothing is queued."""

    @pytest.fixture(autouse=True)
    def nothing_is_queued(self, api: Api) -> Any:
        yield
        assert api.count(Job) == api.count(Event) == api.count(Outbox) == 0

    @pytest.mark.parametrize(
        ("change", "pointer", "words"),
        [
            ({"dataset": "cifar_10"}, "/dataset", "did you mean 'cifar10'"),
            ({"dataset": "../../etc"}, "/dataset", "unknown dataset"),
            ({"method": "dmm"}, "/method", "did you mean 'dm'"),
            ({"method": {"name": "dm", "iteration": 5}}, "/method/iteration", "did you mean `iterations`"),
            ({"regularizers": {"cmii": 1}}, "/regularizers/0", "did you mean 'cmi'"),
            ({"ipcs": 3}, "/ipcs", "did you mean `ipc`"),
            ({"ipc": 0}, "/ipc", "at least 1"),
            ({"ipc": -4}, "/ipc", "at least 1"),
            ({"ipc": 1000}, "/ipc", "smallest class"),
            ({"ipc": 1, "regularizers": {"cmi": 10}}, "/regularizers/0", "one image a class"),
            ({"regularizers": {"mim": float("nan")}}, "/regularizers/0/weight", "finite"),
            ({"regularizers": {"mim": float("inf")}}, "/regularizers/0/weight", "finite"),
            ({"regularizers": {"mim": float("-inf")}}, "/regularizers/0/weight", "finite"),
            ({"preset": "paper/dm-cifar10"}, "/preset", "did you mean"),
            ({"priority": 10}, "/priority", "at most 9"),
            ({"priority": "high"}, "/priority", "'high'"),
            ({"labels": {"bad key!": "x"}}, "/labels/bad key!/[key]", "match"),
            ({"labels": {f"l{n}": "" for n in range(33)}}, "/labels", "32"),
            ({"name": "x" * 201}, "/name", "200"),
            ({"limits": {"max_runtime_s": 0}}, "/limits/max_runtime_s", "greater than 0"),
            ({"limits": {"max_time": 5}}, "/limits/max_time", "unknown field"),
        ],
    )
    def test_is_named(self, api: Api, spec: dict[str, Any], change: dict[str, Any], pointer: str, words: str) -> None:
        body = json.dumps({**spec, **change})
        response = api.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
        assert pointer in codes(response)
        (fault,) = [f for f in response.json()["errors"] if f["pointer"] == pointer]
        assert words in fault["detail"]

    def test_every_fault_is_listed(self, api: Api) -> None:
        response = api.post("/v1/jobs", json={"ipc": 0, "dataset": "digits", "method": "dn", "priority": -1, "x": 1})
        assert set(codes(response)) == {"/ipc", "/method", "/priority", "/x"}
        assert "and 3 more" in response.json()["detail"]

    def test_specification_too_large(self, api: Api, spec: dict[str, Any]) -> None:
        assert codes(api.post("/v1/jobs", json={**spec, "augmentation": "x" * 70_000})) == {
            "": "specification_too_large"
        }


class TestValidate:
    def test_tells_plan_and_cost_and_queues_nothing(self, api: Api) -> None:
        response = api.post("/v1/jobs:validate", json={"preset": "paper/dm-cifar10-ipc10"})
        assert response.status_code == 200
        found = response.json()
        assert [phase["phase"] for phase in found["plan"]] == ["loading", "distilling", "evaluating", "finalizing"]
        assert found["estimate"]["distilled_bytes"] == 10 * 10 * 3072 * 4
        assert found["estimate"]["seconds"]["cuda"]["low"] < found["estimate"]["seconds"]["cpu"]["high"]
        assert api.count(Job) == 0

    def test_refuses_what_submission_refuses(self, api: Api, spec: dict[str, Any]) -> None:
        assert codes(api.post("/v1/jobs:validate", json={**spec, "ipc": 0})) == {"/ipc": "greater_than_equal"}

    def test_warns(self, api: Api, spec: dict[str, Any]) -> None:
        changed = {**spec, "regularizers": {"mim": 0}, "evaluation": {"repeats": 0}, "augmentation": "flip"}
        warnings = " ".join(api.post("/v1/jobs:validate", json=changed).json()["warnings"])
        assert "`mim` has weight 0" in warnings
        assert "not be scored" in warnings
        assert "mirrors" in warnings

    def test_says_what_the_full_training_set_costs(self, api: Api, spec: dict[str, Any]) -> None:
        def said(dataset: str, **evaluation: Any) -> list[str]:
            body = {**spec, "dataset": dataset, "evaluation": evaluation}
            found: list[str] = api.post("/v1/jobs:validate", json=body).json()["warnings"]
            return [warning for warning in found if "real images for" in warning or "all real images" in warning]

        (warning,) = said("cifar10", repeats=2, controls=["full"])
        assert "2 networks are trained on all 50,000 real images for 21 epochs each" in warning
        (warning,) = said("digits", repeats=1, scores=["label_robust"], networks=["mlp", "convnet"])
        assert "1 network is trained on all 1,437 real images for 301 epochs" in warning
        (api.settings.data_root / "my_birds").mkdir(parents=True)
        (warning,) = said("my_birds", controls=["full"])
        assert "3 networks are trained on all real images" in warning
        assert said("cifar10", repeats=0, controls=["full"]) == []

    def test_unknown_size_has_no_estimate(self, api: Api, spec: dict[str, Any]) -> None:
        (api.settings.data_root / "my_birds").mkdir(parents=True)
        found = api.post("/v1/jobs:validate", json={**spec, "dataset": "my_birds"}).json()
        assert found["estimate"] is None
        assert {phase["image_passes"] for phase in found["plan"]} == {None}
